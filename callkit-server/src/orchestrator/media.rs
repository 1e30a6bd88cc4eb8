//! [`MediaLines`]: the order of media commands. Commands of one call run one after the other, calls run
//! side by side; nothing waits for media in the orchestrator's own task.
//!
//! Without this, the join of a page that reloads could overtake the leave of its predecessor, or a join
//! could reopen a room that was closed meanwhile.

use std::collections::{BTreeMap, VecDeque};

use callkit_core::id::{CallId, ParticipantId};
use callkit_sfu::media::Grant;
use callkit_signal::hub::RequestReply;

/// A command to the media plane.
#[derive(Debug)]
pub(super) enum MediaOp {
    /// Bring a participant's media up, heard by whom the grant says.
    Join(Join, Grant),
    /// Find the path of a participant's running media anew.
    Restart(Join),
    /// Change whom a participant is heard by.
    Grant {
        /// Who.
        participant: ParticipantId,
        /// By whom.
        grant: Grant,
        /// Who waits until it is in force.
        replies: Vec<RequestReply>,
    },
    /// Take a participant's transports away.
    Leave(ParticipantId),
    /// Close the room of the call.
    Close,
}

/// A participant's wish to bring media up, or to find its path anew, and whom to answer.
#[derive(Debug)]
pub(super) struct Join {
    /// Who.
    pub(super) participant: ParticipantId,
    /// Whether running media is meant, by an ICE restart.
    pub(super) restart: bool,
    /// The SDP offer.
    pub(super) sdp: String,
    /// Where the answer goes.
    pub(super) reply: RequestReply,
}

/// The commands of all calls that have any. Bounded: at most one waiting join and one restart per participant, and one
/// grant, leave or close per transition of the call.
#[derive(Debug, Default)]
pub(super) struct MediaLines {
    /// Present while a command of the call runs; holds those that wait for it.
    lines: BTreeMap<CallId, VecDeque<MediaOp>>,
}

impl MediaLines {
    /// Adds a command. Gives the command to start, if none of the call runs, and the join that this one
    /// makes pointless.
    pub(super) fn push(&mut self, call: CallId, op: MediaOp) -> (Option<MediaOp>, Vec<Join>) {
        let Some(waiting) = self.lines.get_mut(&call) else {
            self.lines.insert(call, VecDeque::new());
            return (Some(op), Vec::new());
        };
        let is_overtaken = |join: &Join| match &op {
            MediaOp::Join(newer, _) => newer.participant == join.participant,
            MediaOp::Restart(newer) => join.restart && newer.participant == join.participant,
            MediaOp::Grant { .. } => false,
            MediaOp::Leave(participant) => *participant == join.participant,
            MediaOp::Close => true,
        };
        let mut overtaken = Vec::new();
        for earlier in std::mem::take(waiting) {
            match earlier {
                MediaOp::Join(join, _) | MediaOp::Restart(join) if is_overtaken(&join) => {
                    overtaken.push(join)
                }
                other => waiting.push_back(other),
            }
        }
        waiting.push_back(op);
        (None, overtaken)
    }

    /// The running command of the call has ended; gives the next one to start.
    pub(super) fn done(&mut self, call: CallId) -> Option<MediaOp> {
        let next = self.lines.get_mut(&call)?.pop_front();
        if next.is_none() {
            self.lines.remove(&call);
        }
        next
    }
}
