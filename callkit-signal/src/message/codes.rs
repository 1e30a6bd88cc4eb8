//! The codes of `error` answers: stable, for programs. docs/protocol.md has the same table, checked by a test.

/// The server does not know this request type; the connection goes on.
pub const UNKNOWN_TYPE: &str = "unknown_type";
/// The request type is known, its fields are not right.
pub const MALFORMED: &str = "malformed";
/// Too many requests without an answer yet.
pub const RATE_LIMITED: &str = "rate_limited";
/// A request number from so long ago that its answer is not kept: it is not carried out again.
pub const FORGOTTEN: &str = "forgotten";
/// This role may not do that.
pub const FORBIDDEN: &str = "forbidden";
/// No such call, or none that the client may know of.
pub const NOT_FOUND: &str = "not_found";
/// The customer has an open call already.
pub const CALL_OPEN: &str = "call_open";
/// No such queue.
pub const UNKNOWN_QUEUE: &str = "unknown_queue";
/// The queue takes no more calls now.
pub const QUEUE_FULL: &str = "queue_full";
/// The offer rings no longer: accepted, declined, missed or taken back.
pub const OFFER_CLOSED: &str = "offer_closed";
/// The client is not a participant of the call, or the call is over.
pub const NOT_IN_CALL: &str = "not_in_call";
/// The call is not in a phase in which this can be done.
pub const WRONG_PHASE: &str = "wrong_phase";
/// The SDP is not an offer in the documented layout.
pub const SDP_INVALID: &str = "sdp_invalid";
/// There is no transport that could be restarted with this offer: `media.offer` with a new connection helps.
pub const NO_RESTART: &str = "no_restart";
/// The call has as many participants as it may have.
pub const ROOM_FULL: &str = "room_full";
/// The text or the client id of a line of chat is empty or too long.
pub const CHAT_INVALID: &str = "chat_invalid";
/// The server has enough to do with the calls it has and takes no new one now.
pub const OVERLOADED: &str = "overloaded";
/// The server cannot do it now.
pub const UNAVAILABLE: &str = "unavailable";
/// A fault of the server.
pub const INTERNAL: &str = "internal";

/// Every code with whether the same request may succeed later without anything else being changed.
pub const ALL: [(&str, bool); 19] = [
    (UNKNOWN_TYPE, false),
    (MALFORMED, false),
    (RATE_LIMITED, true),
    (FORGOTTEN, false),
    (FORBIDDEN, false),
    (NOT_FOUND, false),
    (CALL_OPEN, false),
    (UNKNOWN_QUEUE, false),
    (QUEUE_FULL, true),
    (OFFER_CLOSED, false),
    (NOT_IN_CALL, false),
    (WRONG_PHASE, false),
    (SDP_INVALID, false),
    (NO_RESTART, false),
    (ROOM_FULL, true),
    (CHAT_INVALID, false),
    (OVERLOADED, true),
    (UNAVAILABLE, true),
    (INTERNAL, true),
];
