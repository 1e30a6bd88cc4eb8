//! [`Change`]: a line that changes the link.

use std::str::FromStr;
use std::time::Duration;

use callkit_sfu::testing::LinkSettings;

/// Which direction a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    Both,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    way: Way,
    values: Vec<(Key, f64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Delay,
    Jitter,
    Reorder,
    Loss,
    BurstStart,
    BurstEnd,
    Rate,
    Queue,
}

impl Change {
    /// Makes the change.
    pub(crate) fn apply(&self, up: &mut LinkSettings, down: &mut LinkSettings) {
        for (key, value) in &self.values {
            if self.way != Way::Down {
                set(up, *key, *value);
            }
            if self.way != Way::Up {
                set(down, *key, *value);
            }
        }
    }
}

fn set(settings: &mut LinkSettings, key: Key, value: f64) {
    let time = Duration::from_secs_f64(value / 1000.0);
    match key {
        Key::Delay => settings.delay = time,
        Key::Jitter => settings.jitter = time,
        Key::Reorder => settings.reorder = value > 0.0,
        Key::Loss => settings.loss = value / 100.0,
        Key::BurstStart => settings.burst_start = value / 100.0,
        Key::BurstEnd => settings.burst_end = value / 100.0,
        Key::Rate => settings.rate = (value * 1000.0) as u64,
        Key::Queue => settings.queue = time,
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let way = match words.next() {
            Some("up") => Way::Up,
            Some("down") => Way::Down,
            Some("both") => Way::Both,
            other => return Err(format!("up, down or both, not {other:?}")),
        };
        let value = |word: &str| {
            let (name, number) = word.split_once('=')?;
            let key = match name {
                "delay" => Key::Delay,
                "jitter" => Key::Jitter,
                "reorder" => Key::Reorder,
                "loss" => Key::Loss,
                "burst_start" => Key::BurstStart,
                "burst_end" => Key::BurstEnd,
                "rate" => Key::Rate,
                "queue" => Key::Queue,
                _ => return None,
            };
            let number: f64 = number.parse().ok()?;
            (0.0..=1e9).contains(&number).then_some((key, number))
        };
        let values = words
            .map(|word| value(word).ok_or_else(|| format!("{word:?} is no setting")))
            .collect::<Result<_, _>>()?;
        Ok(Self { way, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_changes_what_it_names_and_nothing_else() {
        let (mut up, mut down) = (LinkSettings::default(), LinkSettings::default());
        let apply = |line: &str, up: &mut _, down: &mut _| line.parse::<Change>().unwrap().apply(up, down);
        apply("both delay=20 loss=5", &mut up, &mut down);
        apply("up rate=300 queue=100", &mut up, &mut down);
        assert_eq!(up.delay, Duration::from_millis(20));
        assert_eq!((up.rate, down.rate), (300_000, 0));
        assert_eq!((up.loss, down.loss), (0.05, 0.05));
        assert_eq!(up.queue, Duration::from_millis(100));
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for line in [
            "",
            "left loss=1",
            "up los=1",
            "up loss",
            "up loss=-1",
            "up loss=NaN",
        ] {
            assert!(line.parse::<Change>().is_err(), "{line}");
        }
    }
}
