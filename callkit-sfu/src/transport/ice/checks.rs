//! Connectivity checks of our own: to an address that authentic media came from, and to a client that is quiet.
//!
//! A lite agent need not check. But browsers check rarely once they are connected (Chromium every 2.6 s,
//! Firefox every 5 to 6 s), so a client that changed its network is asked itself: an answer proves within one
//! round trip that it is there (RFC 8445 section 7.2). The same question keeps consent (RFC 7675) of a client
//! that sends no media, and tells a pulled cable from a muted microphone.

use std::time::{Duration, Instant};

use super::stun::Transaction;
use crate::transport::{Path, Remote};

/// A client that was not heard for this long is asked whether it is there.
const QUIET: Duration = Duration::from_secs(2);
/// Time between questions to a quiet client, so that one lost datagram does not make it look gone.
const REPEAT: Duration = Duration::from_millis(500);
/// After this much silence a client is asked less often: it will ask itself when it is back.
const PATIENCE: Duration = Duration::from_secs(6);
const SLOW_REPEAT: Duration = Duration::from_millis(2500);
/// Questions right after the connection, to learn whether the client answers at all.
const FIRST_QUESTIONS: u8 = 4;
/// Unanswered questions of consent that are remembered: the round trip may be longer than [`REPEAT`].
const MAX_CONSENT: usize = 6;

/// Addresses under examination at a time: a client has one or two networks.
const MAX_PROBES: usize = 3;
/// Repetitions of a probe; together with the first, at 0, 100, 300 and 700 ms.
const PROBE_SENDS: u32 = 4;
const PROBE_REPEAT: Duration = Duration::from_millis(100);
/// How long an answer to a probe counts.
const PROBE_LIFE: Duration = Duration::from_millis(2500);
/// Time between two new probes: bounds what a copied packet, sent from made-up addresses, makes us send.
const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// What an answer was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Whether the client still agrees to be sent to.
    Consent,
    /// Whether the client is at an address that its media came from.
    Probe,
}

#[derive(Debug)]
struct Question {
    id: Transaction,
    path: Path,
    asked: Instant,
}

#[derive(Debug)]
struct Probe {
    question: Question,
    sends: u32,
    due: Instant,
}

#[derive(Debug)]
struct Consent {
    asked: Option<Instant>,
    questions: Vec<Question>,
    /// Questions that are asked whatever the client sends.
    first: u8,
}

/// An answered question.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) purpose: Purpose,
    pub(super) rtt: Duration,
}

/// The questions of one agent. What is due is asked by the agent, which knows the credentials.
#[derive(Debug, Default)]
pub(super) struct OwnChecks {
    probes: Vec<Probe>,
    last_probe: Option<Instant>,
    consent: Option<Consent>,
    answered: bool,
}

impl OwnChecks {
    /// Starts to keep consent.
    pub(super) fn start(&mut self) {
        self.consent = Some(Consent {
            asked: None,
            questions: Vec::new(),
            first: FIRST_QUESTIONS,
        });
    }

    /// Stops all questions.
    pub(super) fn stop(&mut self) {
        self.consent = None;
        self.probes.clear();
    }

    /// Whether the client has ever answered one of our questions.
    pub(super) fn answered(&self) -> bool {
        self.answered
    }

    /// Whether `remote` should be examined now.
    pub(super) fn wants_probe(&self, now: Instant, remote: Remote) -> bool {
        let paused = self
            .last_probe
            .is_some_and(|last| now.saturating_duration_since(last) < PROBE_PAUSE);
        !paused && self.probes.iter().all(|one| one.question.path.end() != remote)
    }

    /// Notes that the first request of a probe was sent.
    pub(super) fn probing(&mut self, now: Instant, id: Transaction, path: Path) {
        if self.probes.len() == MAX_PROBES {
            self.probes.remove(0);
        }
        self.last_probe = Some(now);
        let question = Question { id, path, asked: now };
        self.probes.push(Probe {
            question,
            sends: 1,
            due: now + PROBE_REPEAT,
        });
    }

    /// Takes an answer that is authentic. It counts only from where the question went
    /// (RFC 8445 section 7.2.5.2.1).
    pub(super) fn answer(&mut self, now: Instant, id: Transaction, path: Path) -> Option<Answered> {
        let is_it = |question: &Question| question.id == id && question.path.end() == path.end();
        let probe = self.probes.iter().position(|one| is_it(&one.question));
        let (purpose, question) = if let Some(place) = probe {
            (Purpose::Probe, self.probes.remove(place).question)
        } else {
            let consent = self.consent.as_mut()?;
            let place = consent.questions.iter().position(is_it)?;
            (Purpose::Consent, consent.questions.remove(place))
        };
        self.answered = true;
        if let Some(consent) = &mut self.consent {
            consent.first = 0;
        }
        Some(Answered {
            purpose,
            rtt: now.saturating_duration_since(question.asked),
        })
    }

    /// Whether a question with `id` waits for its answer.
    pub(super) fn awaits(&self, id: Transaction) -> bool {
        let consent = self.consent.iter().flat_map(|consent| &consent.questions);
        let probes = self.probes.iter().map(|one| &one.question);
        consent.chain(probes).any(|question| question.id == id)
    }

    /// The next probe to repeat, if one is due.
    pub(super) fn due_probe(&mut self, now: Instant) -> Option<(Transaction, Path)> {
        self.probes
            .retain(|one| now.saturating_duration_since(one.question.asked) < PROBE_LIFE);
        let probe = self.probes.iter_mut().find(|one| one.due <= now)?;
        probe.sends += 1;
        probe.due = if probe.sends >= PROBE_SENDS {
            probe.question.asked + PROBE_LIFE
        } else {
            now + PROBE_REPEAT * 2_u32.pow(probe.sends - 1)
        };
        Some((probe.question.id, probe.question.path))
    }

    /// When the client is to be asked next; `heard` is when it was last heard on the selected path.
    fn consent_due(&self, heard: Instant) -> Option<Instant> {
        let consent = self.consent.as_ref()?;
        let Some(asked) = consent.asked else {
            return Some(heard);
        };
        if consent.first > 0 {
            return Some(asked + REPEAT);
        }
        let due = (heard + QUIET).max(asked + REPEAT);
        if due.saturating_duration_since(heard) > PATIENCE {
            return Some((heard + QUIET).max(asked + SLOW_REPEAT));
        }
        Some(due)
    }

    /// Whether to ask now whether the client is there.
    pub(super) fn is_consent_due(&self, now: Instant, heard: Instant) -> bool {
        self.consent_due(heard).is_some_and(|due| due <= now)
    }

    /// Notes a question of consent.
    pub(super) fn asking(&mut self, now: Instant, id: Transaction, path: Path) {
        let Some(consent) = &mut self.consent else { return };
        if consent.questions.len() == MAX_CONSENT {
            consent.questions.remove(0);
        }
        consent.questions.push(Question { id, path, asked: now });
        consent.asked = Some(now);
        consent.first = consent.first.saturating_sub(1);
    }

    /// When something is due; `heard` as above, `None` without a selected path.
    pub(super) fn poll_timeout(&self, heard: Option<Instant>) -> Option<Instant> {
        let consent = heard.and_then(|heard| self.consent_due(heard));
        self.probes.iter().map(|one| one.due).chain(consent).min()
    }
}
