//! The numbered events of a session that its client may still have to be given again.

use std::collections::VecDeque;

use bytes::Bytes;

/// Events that an idle session may keep room for: a burst leaves no memory behind.
const IDLE_CAPACITY: usize = 32;

/// The latest events, without gaps, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Replay {
    kept: VecDeque<Bytes>,
    bytes: usize,
    /// Number of the newest event; 0 before the first.
    newest: u64,
    max_events: usize,
    max_bytes: usize,
}

/// Events after the given number are not kept any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Replay {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            newest: 0,
            max_events,
            max_bytes,
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Number of the last event that is not kept any longer.
    fn forgotten(&self) -> u64 {
        self.newest - self.kept.len() as u64
    }

    /// Keeps an event under the next number, which `frame` gets; the oldest go if a bound is passed.
    pub(super) fn push(&mut self, frame: impl FnOnce(u64) -> Bytes) -> Bytes {
        self.newest += 1;
        let frame = frame(self.newest);
        self.bytes += frame.len();
        self.kept.push_back(frame.clone());
        while self.kept.len() > self.max_events || self.bytes > self.max_bytes {
            self.drop_oldest();
        }
        frame
    }

    /// The client has everything up to `seq`; numbers that were never given are ignored.
    pub(super) fn confirm(&mut self, seq: u64) {
        if seq > self.newest {
            return;
        }
        while self.forgotten() < seq {
            self.drop_oldest();
        }
        if self.kept.is_empty() && self.kept.capacity() > IDLE_CAPACITY {
            self.kept = VecDeque::new();
        }
    }

    /// The events after `seq`, oldest first.
    pub(super) fn after(&self, seq: u64) -> Result<impl Iterator<Item = &Bytes>, Gone> {
        if seq < self.forgotten() || seq > self.newest {
            return Err(Gone);
        }
        let skip = usize::try_from(seq - self.forgotten()).map_err(|_| Gone)?;
        Ok(self.kept.iter().skip(skip))
    }

    fn drop_oldest(&mut self) {
        if let Some(frame) = self.kept.pop_front() {
            self.bytes -= frame.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(events: u64, max_events: usize, max_bytes: usize) -> Replay {
        let mut replay = Replay::new(max_events, max_bytes);
        for _ in 0..events {
            replay.push(|seq| Bytes::from(format!("{seq:04}")));
        }
        replay
    }

    fn after(replay: &Replay, seq: u64) -> Result<Vec<u64>, Gone> {
        Ok(replay
            .after(seq)?
            .map(|frame| std::str::from_utf8(frame).unwrap().parse().unwrap())
            .collect())
    }

    #[test]
    fn events_after_a_number_are_given_in_order() {
        let replay = filled(5, 10, 1000);
        assert_eq!(after(&replay, 0), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(after(&replay, 3), Ok(vec![4, 5]));
        assert_eq!(after(&replay, 5), Ok(vec![]));
        assert_eq!(after(&replay, 6), Err(Gone));
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        assert_eq!(after(&filled(5, 3, 1000), 1), Err(Gone));
        assert_eq!(after(&filled(5, 3, 1000), 2), Ok(vec![3, 4, 5]));
        assert_eq!(after(&filled(5, 10, 8), 3), Ok(vec![4, 5]));
        // An event above the byte bound is delivered to a live connection but cannot be kept.
        assert_eq!(after(&filled(1, 10, 3), 0), Err(Gone));
    }

    #[test]
    fn confirmed_events_are_dropped_and_wild_confirmations_ignored() {
        let mut replay = filled(5, 10, 1000);
        replay.confirm(99);
        assert_eq!(after(&replay, 0), Ok(vec![1, 2, 3, 4, 5]));
        replay.confirm(4);
        replay.confirm(2);
        assert_eq!(after(&replay, 4), Ok(vec![5]));
        assert_eq!(after(&replay, 3), Err(Gone));
    }
}
