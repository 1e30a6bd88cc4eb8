//! [`Journal`]: what happened to calls and people, written by all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callkit_sfu::testing::Histogram;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Notes>);

/// What was noted.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// Calls that customers began.
    pub(super) asked: u64,
    /// Calls whose customer heard (or, without media, was connected to) somebody.
    pub(super) up: u64,
    /// Calls that ended as planned.
    pub(super) ended: u64,
    /// Participants whose media came up.
    pub(super) joined: u64,
    /// Participants who left.
    pub(super) left: u64,
    /// Requests about a call that the plan, or the other side, had just ended.
    pub(super) overtaken: u64,
    /// What was refused or failed, by the server's code.
    pub(super) refused: BTreeMap<String, u64>,
    /// From `media.offer` to the first packet of somebody else.
    pub(super) join: Histogram,
    /// The same of the third participant, who finds the others talking.
    pub(super) third: Histogram,
    /// From `call.start` to the first packet of the operator: sign-in done, queue and offer included.
    pub(super) setup: Histogram,
}

impl Journal {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        // Each note is a single change, so a panic elsewhere leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn so_far(&self) -> Notes {
        self.notes().clone()
    }

    pub(super) fn asked(&self) {
        self.notes().asked += 1;
    }

    pub(super) fn up(&self, setup: Duration) {
        let mut notes = self.notes();
        notes.up += 1;
        notes.setup.note(setup);
    }

    pub(super) fn ended(&self) {
        self.notes().ended += 1;
    }

    pub(super) fn joined(&self, took: Duration, is_third: bool) {
        let mut notes = self.notes();
        notes.joined += 1;
        if is_third {
            notes.third.note(took);
        } else {
            notes.join.note(took);
        }
    }

    pub(super) fn left(&self) {
        self.notes().left += 1;
    }

    pub(super) fn refused(&self, code: &str) {
        if matches!(code, "not_found" | "not_in_call") {
            self.notes().overtaken += 1;
            return;
        }
        *self.notes().refused.entry(code.to_owned()).or_default() += 1;
    }
}

impl Notes {
    /// Everything that was refused or failed.
    pub(super) fn refusals(&self) -> u64 {
        self.refused.values().sum()
    }
}
