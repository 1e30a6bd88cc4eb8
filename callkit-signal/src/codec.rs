//! Bytes to messages and back. Total: whatever comes in, the result is a message or a typed error.
//!
//! [`decode_client`] and [`decode_server`] are what the fuzz target calls.

use std::borrow::Cow;

use bytes::Bytes;
use callkit_core::id::SessionId;
use callkit_core::redact::Secret;
use serde::{Deserialize, Serialize};

use crate::message::{
    ClientInfo, ClientMessage, ErrorBody, Event, MAX_FRAME, MAX_SERVER_FRAME, Request, RequestFrame,
    ServerMessage, codes,
};

/// Deepest nesting of objects and arrays. The catalogue needs 5; the rest is room to grow. A parser that
/// recurses must not be led deeper by a peer.
pub const MAX_DEPTH: usize = 16;

/// Why a frame of a client is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`MAX_FRAME`].
    #[error("the frame is too large")]
    TooLarge,
    /// Not a JSON object with a `type`, nested too deeply, or `auth`, `resume`, `ping` or `ack` with wrong
    /// fields: who sends this does not speak the protocol.
    #[error("not a message of this protocol")]
    Malformed,
    /// A known request with wrong fields; answered, the connection goes on.
    #[error("wrong fields in a request")]
    BadRequest {
        /// The number of the request, if it can be read.
        re: Option<u64>,
    },
    /// A type that this version does not know; answered, the connection goes on.
    #[error("unknown message type")]
    UnknownType {
        /// The number of the request, if it can be read.
        re: Option<u64>,
    },
}

impl DecodeError {
    /// The answer, for the errors that a connection survives.
    #[must_use]
    pub fn answer(self) -> Option<ServerMessage> {
        let (re, error) = match self {
            Self::TooLarge | Self::Malformed => return None,
            Self::BadRequest { re } => (re, ErrorBody::new(codes::MALFORMED, "wrong fields for this type")),
            Self::UnknownType { re } => (re, ErrorBody::new(codes::UNKNOWN_TYPE, "unknown message type")),
        };
        Some(ServerMessage::Error { re, error })
    }
}

/// The part of a client frame that decides how the rest is read.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    /// Any value, so that a wrong one does not hide the type.
    #[serde(default)]
    id: serde_json::Value,
}

#[derive(Deserialize)]
struct Auth {
    token: Secret<String>,
    #[serde(default)]
    client: ClientInfo,
}

#[derive(Deserialize)]
struct Resume {
    session: SessionId,
    resume_token: Secret<String>,
    last_seq: u64,
}

#[derive(Deserialize)]
struct Progress {
    last_seq: u64,
}

/// Reads a frame of a client.
///
/// # Errors
/// [`DecodeError`]; it holds nothing of the frame but the request number.
pub fn decode_client(frame: &[u8]) -> Result<ClientMessage, DecodeError> {
    if frame.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge);
    }
    if !is_shallow_object(frame) {
        return Err(DecodeError::Malformed);
    }
    let head: Head<'_> = serde_json::from_slice(frame).map_err(|_| DecodeError::Malformed)?;
    let malformed = |_| DecodeError::Malformed;
    match head.kind.as_ref() {
        "auth" => {
            let Auth { token, client } = serde_json::from_slice(frame).map_err(malformed)?;
            Ok(ClientMessage::Auth { token, client })
        }
        "resume" => {
            let Resume {
                session,
                resume_token,
                last_seq,
            } = serde_json::from_slice(frame).map_err(malformed)?;
            Ok(ClientMessage::Resume {
                session,
                resume_token,
                last_seq,
            })
        }
        "ping" => {
            let Progress { last_seq } = serde_json::from_slice(frame).map_err(malformed)?;
            Ok(ClientMessage::Ping { last_seq })
        }
        "ack" => {
            let Progress { last_seq } = serde_json::from_slice(frame).map_err(malformed)?;
            Ok(ClientMessage::Ack { last_seq })
        }
        kind if Request::TYPES.contains(&kind) => {
            let re = head.id.as_u64();
            let id = re.ok_or(DecodeError::BadRequest { re })?;
            let request = serde_json::from_slice(frame).map_err(|_| DecodeError::BadRequest { re })?;
            Ok(ClientMessage::Request(RequestFrame { id, request }))
        }
        _ => Err(DecodeError::UnknownType { re: head.id.as_u64() }),
    }
}

/// A frame of the server as a client of this version understands it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    clippy::large_enum_variant,
    reason = "read, looked at and dropped; boxing gains nothing"
)]
pub enum Incoming {
    /// A message of the catalogue.
    Message(ServerMessage),
    /// An event of a kind that this version does not know; it counts all the same.
    UnknownEvent {
        /// Its number.
        seq: u64,
    },
    /// A message of a type that this version does not know.
    Unknown,
}

#[derive(Deserialize)]
struct ServerHead<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    seq: Option<u64>,
}

/// Reads a frame of the server.
///
/// # Errors
/// [`DecodeError::TooLarge`] or [`DecodeError::Malformed`].
pub fn decode_server(frame: &[u8]) -> Result<Incoming, DecodeError> {
    if frame.len() > MAX_SERVER_FRAME {
        return Err(DecodeError::TooLarge);
    }
    if !is_shallow_object(frame) {
        return Err(DecodeError::Malformed);
    }
    let head: ServerHead<'_> = serde_json::from_slice(frame).map_err(|_| DecodeError::Malformed)?;
    match (serde_json::from_slice(frame), head.kind.as_ref()) {
        (Ok(message), _) => Ok(Incoming::Message(message)),
        (Err(_), "event") => match head.seq {
            Some(seq) => Ok(Incoming::UnknownEvent { seq }),
            None => Err(DecodeError::Malformed),
        },
        (Err(_), "hello" | "welcome" | "resumed" | "refused" | "pong" | "ok" | "error" | "closing") => {
            Err(DecodeError::Malformed)
        }
        (Err(_), _) => Ok(Incoming::Unknown),
    }
}

/// Writes a frame of the server.
#[must_use]
pub fn encode_server(message: &ServerMessage) -> Bytes {
    Bytes::from(to_json(message))
}

/// Writes a frame of a client. This is the one place where its secrets become text.
#[must_use]
pub fn encode_client(message: &ClientMessage) -> Bytes {
    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Wire<'a> {
        Auth {
            token: &'a str,
            client: &'a ClientInfo,
        },
        Resume {
            session: SessionId,
            resume_token: &'a str,
            last_seq: u64,
        },
        Ping {
            last_seq: u64,
        },
        Ack {
            last_seq: u64,
        },
    }
    let wire = match message {
        ClientMessage::Auth { token, client } => Wire::Auth {
            token: token.expose(),
            client,
        },
        ClientMessage::Resume {
            session,
            resume_token,
            last_seq,
        } => Wire::Resume {
            session: *session,
            resume_token: resume_token.expose(),
            last_seq: *last_seq,
        },
        ClientMessage::Ping { last_seq } => Wire::Ping { last_seq: *last_seq },
        ClientMessage::Ack { last_seq } => Wire::Ack { last_seq: *last_seq },
        ClientMessage::Request(frame) => return Bytes::from(to_json(frame)),
    };
    Bytes::from(to_json(&wire))
}

/// An event as JSON, before it has a number: made outside the lock that gives the numbers.
#[derive(Debug)]
pub(crate) struct EncodedEvent(Vec<u8>);

impl EncodedEvent {
    pub(crate) fn new(event: &Event) -> Self {
        Self(to_json(event))
    }

    /// The frame with its number: what [`encode_server`] makes of [`ServerMessage::Event`].
    pub(crate) fn frame(&self, seq: u64) -> Bytes {
        let head = format!(r#"{{"type":"event","seq":{seq},"event":"#);
        let mut frame = Vec::with_capacity(head.len() + self.0.len() + 1);
        frame.extend_from_slice(head.as_bytes());
        frame.extend_from_slice(&self.0);
        frame.push(b'}');
        Bytes::from(frame)
    }
}

fn to_json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages have string keys and no failing Serialize")
}

/// Whether `frame` starts as an object and nests at most [`MAX_DEPTH`] deep. Brackets within strings do
/// not count; whether the rest is JSON is not decided here.
fn is_shallow_object(frame: &[u8]) -> bool {
    if frame.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return false;
    }
    let mut depth = 0usize;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in frame {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use callkit_core::id::{CallId, OfferId, QueueId};
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str) -> Result<ClientMessage, DecodeError> {
        decode_client(text.as_bytes())
    }

    #[test]
    fn requests_and_session_frames_are_read() {
        let start = decode(r#"{"id":3,"type":"call.start","queue":"support","new_field":1}"#);
        let Ok(ClientMessage::Request(RequestFrame {
            id: 3,
            request: Request::CallStart { queue },
        })) = start
        else {
            panic!("{start:?}");
        };
        assert_eq!(queue.as_str(), "support");
        assert!(matches!(
            decode(r#"{"type":"ping","last_seq":9}"#),
            Ok(ClientMessage::Ping { last_seq: 9 })
        ));
        assert!(matches!(
            decode(r#" {"type":"auth","token":"t"}"#),
            Ok(ClientMessage::Auth { .. })
        ));
        let away = decode(r#"{"id":1,"type":"presence.set","presence":"away","reason":"lunch"}"#);
        assert!(matches!(away, Ok(ClientMessage::Request(_))), "{away:?}");
    }

    #[test]
    fn an_unknown_type_keeps_its_number() {
        assert_eq!(
            decode(r#"{"type":"call.dance","id":7}"#).unwrap_err(),
            DecodeError::UnknownType { re: Some(7) }
        );
        assert_eq!(
            decode(r#"{"type":"call.dance","id":"x"}"#).unwrap_err(),
            DecodeError::UnknownType { re: None }
        );
    }

    #[test]
    fn a_known_request_with_wrong_fields_is_answered() {
        for (text, re) in [
            (r#"{"type":"call.start","id":7}"#, Some(7)),
            (r#"{"type":"call.start","id":7,"queue":"NO SUCH FORM"}"#, Some(7)),
            (r#"{"type":"call.start","queue":"support"}"#, None),
            (r#"{"type":"call.start","id":-1,"queue":"support"}"#, None),
            (
                r#"{"type":"call.hangup","id":7,"call":"offer_00000000000000000000000000"}"#,
                Some(7),
            ),
        ] {
            assert_eq!(
                decode(text).unwrap_err(),
                DecodeError::BadRequest { re },
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_the_protocol_is_malformed() {
        let deep = format!(
            r#"{{"type":"ping","last_seq":1,"x":{}{}}}"#,
            "[".repeat(16),
            "]".repeat(16)
        );
        for text in [
            "",
            "null",
            "[]",
            r#"["ping",1]"#,
            r#""ping""#,
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"ping","last_seq":-1}"#,
            r#"{"type":"auth"}"#,
            r#"{"type":"auth","type":"ping","token":"t","last_seq":1}"#,
            r#"{"type":"ping","last_seq":1} trailing"#,
            &deep,
        ] {
            assert_eq!(decode(text).unwrap_err(), DecodeError::Malformed, "{text}");
        }
        assert_eq!(
            decode_client(b"{\"type\":\"auth\",\"token\":\"\xff\"}").unwrap_err(),
            DecodeError::Malformed
        );
        assert_eq!(
            decode(&" ".repeat(MAX_FRAME + 1)).unwrap_err(),
            DecodeError::TooLarge
        );
    }

    #[test]
    fn brackets_in_strings_are_not_nesting() {
        let text = format!(
            r#"{{"type":"auth","token":"{}\"{}"}}"#,
            "[".repeat(40),
            "{".repeat(40)
        );
        assert!(matches!(decode(&text), Ok(ClientMessage::Auth { .. })));
    }

    #[test]
    fn every_listed_request_type_is_a_variant_and_the_other_way_round() {
        for kind in Request::TYPES {
            let error = serde_json::from_value::<Request>(serde_json::json!({ "type": kind })).err();
            assert!(
                !error.is_some_and(|error| error.to_string().contains("unknown variant")),
                "{kind}"
            );
        }
        let error = serde_json::from_str::<Request>(r#"{"type":"no such"}"#)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error.matches('`').count(),
            2 * (Request::TYPES.len() + 1),
            "{error}"
        );
    }

    #[test]
    fn an_event_made_in_two_steps_is_the_same_as_in_one() {
        let event = Event::OfferClosed {
            offer: OfferId::from(5),
            outcome: "missed".to_owned(),
            cause: None,
        };
        let two_steps = EncodedEvent::new(&event).frame(12);
        let message = ServerMessage::Event(crate::message::EventFrame { seq: 12, event });
        assert_eq!(two_steps, encode_server(&message));
        assert_eq!(decode_server(&two_steps), Ok(Incoming::Message(message)));
    }

    #[test]
    fn a_client_counts_events_that_it_does_not_know() {
        let frame = br#"{"type":"event","seq":4,"event":{"kind":"weather","rain":true}}"#;
        assert_eq!(decode_server(frame), Ok(Incoming::UnknownEvent { seq: 4 }));
        assert_eq!(decode_server(br#"{"type":"weather"}"#), Ok(Incoming::Unknown));
        assert_eq!(decode_server(br#"{"type":"pong"}"#), Err(DecodeError::Malformed));
    }

    #[test]
    fn limits_of_fields_are_checked_with_a_code() {
        let call = CallId::from(1);
        let line = |client_id: &str, text: String| Request::ChatSend {
            call,
            client_id: client_id.to_owned(),
            text: callkit_core::redact::Private::new(text),
        };
        assert!(line("k", "ы".repeat(4000)).check().is_ok());
        for bad in [
            line("k", String::new()),
            line("k", "ы".repeat(4001)),
            line("", "x".to_owned()),
            line(&"k".repeat(65), "x".to_owned()),
        ] {
            assert_eq!(bad.check().unwrap_err().code, codes::CHAT_INVALID);
        }
        assert!(
            Request::CallStart {
                queue: QueueId::new("support").unwrap()
            }
            .check()
            .is_ok()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(frame in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode_client(&frame);
            let _ = decode_server(&frame);
        }

        /// Bytes that look like the protocol get further into the parser than random ones.
        #[test]
        fn near_messages_are_a_message_or_an_error(
            kind in proptest::sample::select([&Request::TYPES[..], &["auth", "resume", "ping", "ack", "event"]].concat()),
            cut in 0usize..200,
            flip in any::<(u8, u8)>(),
            id in any::<i64>(),
        ) {
            let mut frame = format!(
                r#"{{"type":"{kind}","id":{id},"seq":{id},"call":"call_{:026}","queue":"a","presence":"away","last_seq":{id},"sdp":"\u00e4\\","text":"x","token":"t","client_id":"k"}}"#, 7
            ).into_bytes();
            let at = usize::from(flip.0) % frame.len();
            frame[at] ^= flip.1;
            frame.truncate(frame.len().saturating_sub(cut / 2));
            if let Ok(message) = decode_client(&frame) {
                let again = decode_client(&encode_client(&message));
                prop_assert!(again.is_ok(), "{again:?}");
            }
            let _ = decode_server(&frame);
        }
    }
}
