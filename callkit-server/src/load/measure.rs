//! What processes and the machine used, read from /proc: [`Usage`] at moments, [`Course`] over time.

use std::fs;
use std::time::{Duration, Instant};

/// Length of a clock tick in /proc: USER_HZ, 100 on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a process had used at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    /// Processor time, user and system.
    pub(super) cpu: Duration,
    /// Resident memory, bytes.
    pub(super) rss: u64,
    /// Open descriptors.
    pub(super) files: u64,
    /// Threads.
    pub(super) threads: u64,
    /// Switches from one thread to another.
    pub(super) switches: u64,
}

/// The usage of a process; `None` if it is not there, not ours to look at, or the system has no /proc.
pub(super) fn usage(process: &str) -> Option<Usage> {
    let folder = format!("/proc/{process}");
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let tasks = fs::read_dir(format!("{folder}/task")).ok()?;
    let switches = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok())
        .map(|status| {
            field(&status, "voluntary_ctxt_switches:").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0)
        })
        .sum();
    Some(Usage {
        cpu: cpu_time(&stat)?,
        rss: field(&status, "VmRSS:")? * 1024,
        files: fs::read_dir(format!("{folder}/fd")).map_or(0, |files| files.count() as u64),
        threads: field(&status, "Threads:")?,
        switches,
    })
}

/// The first number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of a line of /proc/pid/stat. The name in brackets may hold anything, also brackets.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_whitespace().skip(11);
    let (user, system): (u32, u32) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(TICK * user.saturating_add(system))
}

/// Busy time of all cores, and how many there are.
pub(super) fn machine() -> Option<(Duration, u32)> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let cores = stat
        .lines()
        .filter(|line| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .count();
    let words: Vec<u64> = stat
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|place| words.get(*place))
        .sum();
    Some((Duration::from_millis(busy * 10), u32::try_from(cores).ok()?))
}

/// Datagrams that the kernel dropped at full UDP sockets of this machine, by everybody.
pub(super) fn udp_drops() -> Option<u64> {
    let snmp = fs::read_to_string("/proc/net/snmp").ok()?;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let place = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "RcvbufErrors")?;
    lines.next()?.split_whitespace().nth(place)?.parse().ok()
}

/// A look at everything, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) server: Option<Usage>,
    pub(super) tester: Option<Usage>,
    pub(super) machine: Option<(Duration, u32)>,
    pub(super) udp_drops: Option<u64>,
}

impl Look {
    /// Looks at the server's process, if it is known, and at the own one.
    pub(super) fn take(at: Instant, server: Option<u32>) -> Self {
        Self {
            at,
            server: server.and_then(|pid| usage(&pid.to_string())),
            tester: usage("self"),
            machine: machine(),
            udp_drops: udp_drops(),
        }
    }
}

/// Percent of one core that was used between two moments.
pub(super) fn cpu_percent(from: (Instant, Duration), to: (Instant, Duration)) -> f64 {
    let wall = to.0.saturating_duration_since(from.0).as_secs_f64();
    if wall <= 0.0 {
        return 0.0;
    }
    to.1.saturating_sub(from.1).as_secs_f64() / wall * 100.0
}

/// Looks over time, of which only what the report needs is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course {
    pub(super) first: Look,
    pub(super) last: Look,
    /// Highest use of the server in any second, percent of one core.
    pub(super) server_peak: f64,
    /// Server memory once a tenth of the time was over.
    pub(super) warm_rss: Option<u64>,
}

impl Course {
    pub(super) fn new(first: Look) -> Self {
        Self {
            first,
            last: first,
            server_peak: 0.0,
            warm_rss: None,
        }
    }

    /// Takes in a look; `warm` says that the first tenth of the measurement is over.
    pub(super) fn add(&mut self, look: Look, warm: bool) {
        if let (Some(before), Some(now)) = (self.last.server, look.server) {
            self.server_peak = self
                .server_peak
                .max(cpu_percent((self.last.at, before.cpu), (look.at, now.cpu)));
        }
        if warm && self.warm_rss.is_none() {
            self.warm_rss = look.server.map(|server| server.rss);
        }
        self.last = look;
    }

    /// Percent of one core, over the whole time, of a process.
    pub(super) fn cpu(&self, of: impl Fn(&Look) -> Option<Usage>) -> Option<f64> {
        let (from, to) = (of(&self.first)?, of(&self.last)?);
        Some(cpu_percent((self.first.at, from.cpu), (self.last.at, to.cpu)))
    }

    /// Share of all cores that anybody used, percent.
    pub(super) fn machine_percent(&self) -> Option<f64> {
        let ((from, _), (to, cores)) = (self.first.machine?, self.last.machine?);
        Some(cpu_percent((self.first.at, from), (self.last.at, to)) / f64::from(cores.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_is_found_behind_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 500 0 0 0 250 50 0 0 20 0 3 0 100 1000 200";
        assert_eq!(cpu_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_time("nonsense"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_own_process_can_be_looked_at() {
        let own = usage("self").unwrap();
        assert!(own.rss > 100_000 && own.files > 2 && own.threads > 0);
        assert!(machine().is_some_and(|(_, cores)| cores > 0));
        assert!(udp_drops().is_some());
        assert_eq!(usage("0"), None);
    }
}
