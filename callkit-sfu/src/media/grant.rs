//! Who may hear and see whom: the rows of the forwarding matrix (R7.2 to R7.5). Enforced here, whatever a
//! browser sends.

use callkit_core::id::ParticipantId;

use crate::layout::Source;

/// What a participant may send to the others. Everyone in a room may receive what others may send to him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// A supervisor who has joined in: voice and picture to everyone.
    Barge,
    /// Customer or operator: everything to everyone.
    Full,
    /// A supervisor who only listens: nothing to anyone.
    Listen,
    /// A supervisor who prompts one person: the voice to that person, nothing to anyone else.
    Whisper {
        /// Who is prompted.
        to: ParticipantId,
    },
}

/// Whether `source` of a sender with grant `from` goes to the participant `to`.
#[must_use]
pub fn allowed(from: Grant, to: ParticipantId, source: Source) -> bool {
    match from {
        Grant::Full => true,
        Grant::Barge => matches!(source, Source::Microphone | Source::Camera),
        Grant::Listen => false,
        Grant::Whisper { to: prompted } => prompted == to && source == Source::Microphone,
    }
}

/// Whether anything at all goes from a sender with grant `from` to the participant `to`.
#[must_use]
pub fn is_received(from: Grant, to: ParticipantId) -> bool {
    Source::ALL.into_iter().any(|source| allowed(from, to, source))
}

/// Whether everybody in the room knows of somebody with this grant.
#[must_use]
pub const fn is_announced(grant: Grant) -> bool {
    match grant {
        Grant::Full | Grant::Barge => true,
        Grant::Listen | Grant::Whisper { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_grant_forwards_exactly_its_row() {
        let (agent, customer) = (ParticipantId::from(1), ParticipantId::from(2));
        let row = |grant, to| Source::ALL.map(|source| allowed(grant, to, source));
        for to in [agent, customer] {
            assert_eq!(row(Grant::Full, to), [true, true, true, true]);
            assert_eq!(row(Grant::Barge, to), [true, true, false, false]);
            assert_eq!(row(Grant::Listen, to), [false, false, false, false]);
        }
        let whisper = Grant::Whisper { to: agent };
        assert_eq!(row(whisper, agent), [true, false, false, false]);
        assert_eq!(row(whisper, customer), [false, false, false, false]);
    }
}
