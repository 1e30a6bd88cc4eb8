//! What became of a session's requests, so that one sent again after a lost connection is carried out once.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// Requests being carried out, and the latest answers, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Answers {
    open: BTreeSet<u64>,
    given: BTreeMap<u64, Bytes>,
    bytes: usize,
    /// Highest number whose answer was dropped: numbers up to it may have been carried out.
    forgotten: Option<u64>,
    max_open: usize,
    max_given: usize,
    max_bytes: usize,
}

/// What to do with a request that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Carry it out.
    New,
    /// It is being carried out already: the answer will come.
    Open,
    /// It was carried out: this was the answer.
    Given(Bytes),
    /// It may have been carried out, the answer is not kept.
    Forgotten,
    /// Too many are open.
    Busy,
}

impl Answers {
    pub(super) fn new(max_open: usize, max_given: usize, max_bytes: usize) -> Self {
        Self {
            open: BTreeSet::new(),
            given: BTreeMap::new(),
            bytes: 0,
            forgotten: None,
            max_open,
            max_given,
            max_bytes,
        }
    }

    pub(super) fn admit(&mut self, id: u64) -> Admission {
        if self.open.contains(&id) {
            return Admission::Open;
        }
        if let Some(answer) = self.given.get(&id) {
            return Admission::Given(answer.clone());
        }
        if self.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return Admission::Forgotten;
        }
        if self.open.len() >= self.max_open {
            return Admission::Busy;
        }
        self.open.insert(id);
        Admission::New
    }

    /// Keeps the answer of an open request; `false` if it was not open.
    pub(super) fn give(&mut self, id: u64, answer: Bytes) -> bool {
        if !self.open.remove(&id) {
            return false;
        }
        self.bytes += answer.len();
        self.given.insert(id, answer);
        while self.given.len() > self.max_given || self.bytes > self.max_bytes {
            let Some((oldest, answer)) = self.given.pop_first() else {
                break;
            };
            self.bytes -= answer.len();
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sent_again_is_carried_out_once() {
        let mut answers = Answers::new(2, 2, 100);
        assert_eq!(answers.admit(1), Admission::New);
        assert_eq!(answers.admit(1), Admission::Open);
        assert!(answers.give(1, Bytes::from_static(b"one")));
        assert!(!answers.give(1, Bytes::from_static(b"other")));
        assert_eq!(answers.admit(1), Admission::Given(Bytes::from_static(b"one")));
    }

    #[test]
    fn a_request_whose_answer_is_not_kept_is_not_carried_out_again() {
        let mut answers = Answers::new(2, 2, 100);
        for id in [0, 1, 2] {
            assert_eq!(answers.admit(id), Admission::New);
            assert!(answers.give(id, Bytes::from_static(b"x")));
        }
        assert_eq!(answers.admit(0), Admission::Forgotten);
        assert_eq!(answers.admit(3), Admission::New);
        assert!(answers.give(3, Bytes::from(vec![0; 101])));
        assert_eq!(answers.admit(3), Admission::Forgotten);
    }

    #[test]
    fn open_requests_are_bounded() {
        let mut answers = Answers::new(2, 2, 100);
        assert_eq!(
            (answers.admit(1), answers.admit(2), answers.admit(3)),
            (Admission::New, Admission::New, Admission::Busy)
        );
        assert!(answers.give(2, Bytes::new()));
        assert_eq!(answers.admit(3), Admission::New);
    }
}
