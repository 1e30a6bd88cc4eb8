//! One example of every message of `callkit.v1`, in the order of a call.

use callkit_core::agent::{Activity, Presence};
use callkit_core::call::{EndReason, SuperviseMode};
use callkit_core::id::{AgentId, CallId, CustomerId, MessageId, OfferId, ParticipantId, QueueId, SessionId};
use callkit_core::redact::{Private, Secret};
use callkit_signal::hub::SessionConfig;
use callkit_signal::message::{
    ActiveCallView, AgentView, CallView, CameraDemand, ChatView, ClientInfo, ClientMessage, DeviceState,
    ErrorBody, Event, EventFrame, IceServer, LimitedBy, LinkCause, LinkView, MediaReport, MediaState,
    OfferView, Outcome, ParticipantView, PathKind, Phase, PresenceChoice, QualityCause, QualityLevel,
    QualityView, QueueView, ReceivedTrack, Refusal, Request, RequestFrame, Role, ScreenDemand, SentTrack,
    ServerMessage, Snapshot, TrackDirection, TrackSource, TrackView, You, codes,
};

const CALL: u128 = 0x0190_a1b2_c3d4_e5f6;

fn call() -> CallId {
    CallId::from(CALL)
}

fn customer() -> CustomerId {
    CustomerId::from(CALL + 1)
}

fn offer() -> OfferId {
    OfferId::from(CALL + 2)
}

fn session() -> SessionId {
    SessionId::from(CALL + 3)
}

fn queue() -> QueueId {
    QueueId::new("support").expect("a queue id")
}

fn agent() -> AgentId {
    AgentId::new("irina").expect("an agent id")
}

fn name(text: &str) -> Option<Private<String>> {
    Some(Private::new(text.to_owned()))
}

fn participants(you: Role) -> Vec<ParticipantView> {
    let other = |role| (role != you).then_some(0);
    vec![
        ParticipantView {
            id: ParticipantId::from(CALL + 4),
            role: Role::Customer,
            you: you == Role::Customer,
            name: name("Anna"),
            slot: other(Role::Customer),
            link: LinkView::Up,
            media: MediaState {
                microphone: true,
                camera: true,
                screen: false,
                ..MediaState::default()
            },
            customer: (you == Role::Operator).then(customer),
            verified: false,
            supervising: None,
        },
        ParticipantView {
            id: ParticipantId::from(CALL + 5),
            role: Role::Operator,
            you: you == Role::Operator,
            name: name("Irina"),
            slot: other(Role::Operator),
            link: LinkView::Reconnecting {
                for_ms: 42_000,
                lost_for_ms: 3_000,
                cause: Some(LinkCause::NoNetwork),
            },
            media: MediaState {
                microphone: true,
                camera: true,
                screen: true,
                ..MediaState::default()
            },
            customer: None,
            verified: true,
            supervising: None,
        },
    ]
}

fn view(phase: Phase, you: Role) -> CallView {
    let mut participants = participants(you);
    match phase {
        Phase::Queued { .. } => participants.truncate(1),
        Phase::Connecting => participants
            .iter_mut()
            .for_each(|one| one.link = LinkView::Connecting),
        Phase::Active { .. } | Phase::Ended { .. } => {}
    }
    CallView {
        id: call(),
        queue: queue(),
        version: 7,
        phase,
        participants,
    }
}

/// A talk with a supervisor in it, as each side sees it: whispering; for the customer, barging.
fn supervised(you: Role) -> CallView {
    let mut view = view(Phase::Active { for_ms: 65_000 }, you);
    view.participants.push(ParticipantView {
        id: ParticipantId::from(CALL + 7),
        role: Role::Supervisor,
        you: you == Role::Supervisor,
        name: name("Maria"),
        slot: (you != Role::Supervisor).then_some(1),
        link: LinkView::Up,
        media: MediaState {
            microphone: true,
            ..MediaState::default()
        },
        customer: None,
        verified: false,
        supervising: (you != Role::Customer).then_some(SuperviseMode::Whisper),
    });
    view
}

fn active_call() -> ActiveCallView {
    ActiveCallView {
        id: call(),
        queue: queue(),
        agent: agent(),
        agent_name: name("Irina"),
        customer: customer(),
        name: name("Anna"),
        for_ms: 65_000,
        supervisor: AgentId::new("maria").ok(),
    }
}

fn line(mine: bool) -> ChatView {
    ChatView {
        id: MessageId::from(CALL + 6),
        call: call(),
        seq: 1,
        from: Role::Customer,
        mine,
        client_id: mine.then(|| "k3-1".to_owned()),
        text: Private::new("Здравствуйте! \"Hello\" 👋".to_owned()),
        at_ms: 1_767_225_600_000,
    }
}

fn agent_view(presence: Presence, activity: Activity) -> AgentView {
    AgentView {
        id: agent(),
        version: 12,
        presence,
        presence_for_ms: 61_000,
        pending_presence: None,
        activity,
        activity_for_ms: 3_500,
    }
}

fn ringing() -> OfferView {
    OfferView {
        id: offer(),
        call: call(),
        queue: queue(),
        customer: customer(),
        name: name("Anna"),
        verified: false,
        waited_ms: 8_200,
        expires_in_ms: 19_400,
        ring_ms: 20_000,
    }
}

fn queue_view() -> QueueView {
    let name = "Support".to_owned();
    QueueView {
        id: queue(),
        name,
        waiting: 3,
        longest_wait_ms: Some(8_200),
        available: 1,
    }
}

fn report() -> MediaReport {
    let microphone = SentTrack {
        source: TrackSource::Microphone,
        bitrate: Some(32_000),
        fps: None,
        width: None,
        height: None,
        codec: Some("opus".to_owned()),
        limited_by: None,
        level: Some(0.125),
        still_ms: Some(0),
        on: true,
    };
    let camera = SentTrack {
        source: TrackSource::Camera,
        bitrate: Some(1_150_000),
        fps: Some(30),
        width: Some(1280),
        height: Some(720),
        codec: Some("VP8".to_owned()),
        limited_by: Some(LimitedBy::None),
        level: None,
        still_ms: None,
        on: true,
    };
    let voice = ReceivedTrack {
        slot: 0,
        source: TrackSource::Microphone,
        bitrate: Some(31_000),
        loss_percent: Some(1.5),
        jitter_ms: Some(12),
        buffer_ms: Some(60),
        concealed_percent: Some(0.5),
        level: Some(0.25),
        fps: None,
        width: None,
        height: None,
        codec: Some("opus".to_owned()),
        freeze_ms: None,
        dropped_percent: None,
    };
    let picture = ReceivedTrack {
        source: TrackSource::Camera,
        bitrate: Some(900_000),
        loss_percent: Some(2.5),
        buffer_ms: Some(80),
        concealed_percent: None,
        level: None,
        fps: Some(28),
        width: Some(960),
        height: Some(540),
        codec: Some("VP8".to_owned()),
        freeze_ms: Some(250),
        dropped_percent: Some(0.0),
        ..voice.clone()
    };
    MediaReport {
        span_ms: 4_000,
        rtt_ms: Some(48),
        available_up: Some(1_600_000),
        path: Some(PathKind::Relay),
        sent: vec![microphone, camera],
        received: vec![voice, picture],
    }
}

fn tracks() -> Vec<TrackView> {
    let camera = TrackView {
        direction: TrackDirection::Up,
        source: TrackSource::Camera,
        from: None,
        score: 71,
        paused: false,
        bitrate: 1_150_000,
        loss_percent: Some(2.5),
        jitter_ms: Some(12),
        fps: Some(30),
        width: Some(1280),
        height: Some(720),
        codec: Some("VP8".to_owned()),
        limited_by: Some(LimitedBy::Bandwidth),
        freeze_ms_per_min: None,
        concealed_percent: None,
    };
    let paused = TrackView {
        direction: TrackDirection::Down,
        from: Some(ParticipantId::from(CALL + 5)),
        score: 30,
        paused: true,
        bitrate: 0,
        loss_percent: None,
        jitter_ms: None,
        fps: None,
        width: None,
        height: None,
        codec: None,
        limited_by: None,
        freeze_ms_per_min: Some(3_750),
        ..camera.clone()
    };
    vec![camera, paused]
}

/// Every frame that a client sends, by name.
pub(crate) fn client() -> Vec<(&'static str, ClientMessage)> {
    let request = |id, request| ClientMessage::Request(RequestFrame { id, request });
    let info = ClientInfo {
        name: "callkit-web".to_owned(),
        version: "0.1.0".to_owned(),
    };
    let line = "Здравствуйте! \"Hello\" 👋".to_owned();
    let media = MediaState {
        microphone: true,
        camera: false,
        screen: false,
        microphone_state: Some(DeviceState::On),
        camera_state: Some(DeviceState::Missing),
    };
    vec![
        (
            "auth",
            ClientMessage::Auth {
                token: Secret::new("v1.eyJ.example".to_owned()),
                client: info,
            },
        ),
        (
            "resume",
            ClientMessage::Resume {
                session: session(),
                resume_token: Secret::new("3f2a9c5e7b1d4f60a8c2e4b6d8f00112".to_owned()),
                last_seq: 41,
            },
        ),
        ("ping", ClientMessage::Ping { last_seq: 41 }),
        ("ack", ClientMessage::Ack { last_seq: 42 }),
        ("call.start", request(1, Request::CallStart { queue: queue() })),
        ("call.hangup", request(2, Request::CallHangup { call: call() })),
        (
            "offer.accept",
            request(3, Request::OfferAccept { offer: offer() }),
        ),
        (
            "offer.decline",
            request(4, Request::OfferDecline { offer: offer() }),
        ),
        (
            "presence.set available",
            request(
                5,
                Request::PresenceSet {
                    presence: PresenceChoice::Available,
                },
            ),
        ),
        (
            "presence.set away",
            request(
                6,
                Request::PresenceSet {
                    presence: PresenceChoice::Away {
                        reason: Some("lunch".to_owned()),
                    },
                },
            ),
        ),
        (
            "presence.set offline",
            request(
                7,
                Request::PresenceSet {
                    presence: PresenceChoice::Offline,
                },
            ),
        ),
        (
            "media.offer",
            request(
                8,
                Request::MediaOffer {
                    call: call(),
                    sdp: "v=0\r\n...".to_owned(),
                },
            ),
        ),
        (
            "media.restart",
            request(
                16,
                Request::MediaRestart {
                    call: call(),
                    sdp: "v=0\r\n...".to_owned(),
                },
            ),
        ),
        ("media.servers", request(11, Request::MediaServers {})),
        (
            "media.state",
            request(9, Request::MediaStateSet { call: call(), media }),
        ),
        (
            "media.report",
            request(
                11,
                Request::MediaReport {
                    call: call(),
                    report: report(),
                },
            ),
        ),
        (
            "media.report least",
            request(
                12,
                Request::MediaReport {
                    call: call(),
                    report: MediaReport {
                        span_ms: 4_000,
                        ..MediaReport::default()
                    },
                },
            ),
        ),
        (
            "chat.send",
            request(
                10,
                Request::ChatSend {
                    call: call(),
                    client_id: "k3-1".to_owned(),
                    text: Private::new(line),
                },
            ),
        ),
        (
            "supervise.join",
            request(
                20,
                Request::SuperviseJoin {
                    call: call(),
                    mode: SuperviseMode::Whisper,
                },
            ),
        ),
        (
            "supervise.leave",
            request(21, Request::SuperviseLeave { call: call() }),
        ),
    ]
}

/// Every frame that the server sends, by name.
pub(crate) fn server() -> Vec<(&'static str, ServerMessage)> {
    let event = |seq, event| ServerMessage::Event(EventFrame { seq, event });
    let changed = |seq, phase, you| {
        event(
            seq,
            Event::Call {
                call: view(phase, you),
            },
        )
    };
    let active = || Phase::Active { for_ms: 65_000 };
    let reserved = Activity::Reserved {
        offer: offer(),
        call: call(),
    };
    let customer_snapshot = Snapshot {
        you: You {
            role: Role::Customer,
            id: customer().to_string(),
            name: name("Anna"),
        },
        agent: None,
        offer: None,
        call: Some(view(active(), Role::Customer)),
        ended: None,
        chat: vec![line(true)],
        queues: Vec::new(),
        calls: Vec::new(),
    };
    let staff_snapshot = Snapshot {
        you: You {
            role: Role::Operator,
            id: "irina".to_owned(),
            name: name("Irina"),
        },
        agent: Some(agent_view(Presence::Available, reserved.clone())),
        offer: Some(ringing()),
        call: None,
        ended: None,
        chat: Vec::new(),
        queues: vec![queue_view()],
        calls: Vec::new(),
    };
    let supervisor_snapshot = Snapshot {
        you: You {
            role: Role::Supervisor,
            id: "maria".to_owned(),
            name: name("Maria"),
        },
        agent: Some(agent_view(
            Presence::Offline,
            Activity::Supervising { call: call() },
        )),
        offer: None,
        call: Some(supervised(Role::Supervisor)),
        calls: vec![active_call()],
        ..staff_snapshot.clone()
    };
    let late_snapshot = Snapshot {
        call: None,
        ended: Some(view(
            Phase::Ended {
                reason: EndReason::CustomerLost,
                talked_ms: 65_000,
            },
            Role::Customer,
        )),
        chat: Vec::new(),
        ..customer_snapshot.clone()
    };
    let welcome = |snapshot| ServerMessage::Welcome {
        session: session(),
        resume_token: Private::new("3f2a9c5e7b1d4f60a8c2e4b6d8f00112".to_owned()),
        seq: 0,
        snapshot,
    };
    let quality = QualityView {
        participant: ParticipantId::from(CALL + 4),
        level: QualityLevel::Fair,
        score: 71,
        cause: Some(QualityCause::YourNetwork),
        loss_up_percent: 2.5,
        loss_down_percent: 0.0,
        rtt_ms: Some(48),
        jitter_ms: 12,
        bitrate_up: 1_180_000,
        bitrate_down: 940_000,
        path: Some(PathKind::Relay),
        tracks: Vec::new(),
    };
    let staff_quality = QualityView {
        cause: Some(QualityCause::TheirNetwork),
        tracks: tracks(),
        ..quality.clone()
    };
    let away = Presence::Away {
        reason: Some("lunch".to_owned()),
    };
    vec![
        (
            "hello",
            ServerMessage::Hello {
                protocol: callkit_signal::message::SUBPROTOCOL.to_owned(),
                instance: "9f86d081884c7d65".to_owned(),
                limits: SessionConfig::default().limits(),
            },
        ),
        ("welcome customer", welcome(customer_snapshot)),
        ("welcome operator", welcome(staff_snapshot)),
        ("welcome supervisor", welcome(supervisor_snapshot)),
        ("welcome after the end", welcome(late_snapshot)),
        (
            "resumed",
            ServerMessage::Resumed {
                session: session(),
                seq: 44,
            },
        ),
        (
            "refused",
            ServerMessage::Refused {
                code: Refusal::TooFarBehind,
                message: Refusal::TooFarBehind.explanation().to_owned(),
            },
        ),
        ("pong", ServerMessage::Pong { seq: 44 }),
        (
            "ok done",
            ServerMessage::Ok {
                re: 2,
                outcome: Outcome::Done,
            },
        ),
        (
            "ok call",
            ServerMessage::Ok {
                re: 1,
                outcome: Outcome::Call {
                    call: view(
                        Phase::Queued {
                            position: Some(2),
                            staffed: true,
                        },
                        Role::Customer,
                    ),
                },
            },
        ),
        (
            "ok media",
            ServerMessage::Ok {
                re: 8,
                outcome: Outcome::Media {
                    sdp: "v=0\r\n...".to_owned(),
                },
            },
        ),
        (
            "ok servers",
            ServerMessage::Ok {
                re: 11,
                outcome: Outcome::Servers {
                    ice_servers: vec![IceServer {
                        urls: [
                            "stun:calls.example.com:3478",
                            "turn:calls.example.com:3478?transport=udp",
                        ]
                        .map(str::to_owned)
                        .to_vec(),
                        username: Some(Private::new("1767225900:p3f2a9c5e7b1d4f60".to_owned())),
                        credential: Some(Private::new("bnVsbCBpcyBub3QgYSBwYXNzd29yZA==".to_owned())),
                    }],
                    expires_in_ms: 300_000,
                },
            },
        ),
        (
            "ok chat",
            ServerMessage::Ok {
                re: 10,
                outcome: Outcome::Chat { message: line(true) },
            },
        ),
        (
            "error",
            ServerMessage::Error {
                re: Some(3),
                error: ErrorBody::new(codes::OFFER_CLOSED, "the offer is no longer open"),
            },
        ),
        (
            "error retryable",
            ServerMessage::Error {
                re: Some(8),
                error: ErrorBody::new(codes::UNAVAILABLE, "try again later"),
            },
        ),
        (
            "error without number",
            ServerMessage::Error {
                re: None,
                error: ErrorBody::new(codes::UNKNOWN_TYPE, "unknown message type"),
            },
        ),
        (
            "call queued",
            changed(
                1,
                Phase::Queued {
                    position: Some(2),
                    staffed: true,
                },
                Role::Customer,
            ),
        ),
        (
            "call queued unstaffed",
            changed(
                2,
                Phase::Queued {
                    position: None,
                    staffed: false,
                },
                Role::Customer,
            ),
        ),
        ("call connecting", changed(3, Phase::Connecting, Role::Customer)),
        ("call active customer", changed(4, active(), Role::Customer)),
        ("call active operator", changed(4, active(), Role::Operator)),
        (
            "call ended",
            changed(
                5,
                Phase::Ended {
                    reason: EndReason::Agent,
                    talked_ms: 65_000,
                },
                Role::Customer,
            ),
        ),
        ("offer.new", event(6, Event::OfferNew { offer: ringing() })),
        (
            "offer.closed missed",
            event(
                7,
                Event::OfferClosed {
                    offer: offer(),
                    outcome: "missed".to_owned(),
                    cause: None,
                },
            ),
        ),
        (
            "offer.closed canceled",
            event(
                8,
                Event::OfferClosed {
                    offer: offer(),
                    outcome: "canceled".to_owned(),
                    cause: Some("customer_left".to_owned()),
                },
            ),
        ),
        (
            "agent reserved",
            event(
                9,
                Event::Agent {
                    agent: agent_view(Presence::Available, reserved),
                },
            ),
        ),
        (
            "agent in call",
            event(
                10,
                Event::Agent {
                    agent: AgentView {
                        pending_presence: Some(away),
                        ..agent_view(Presence::Available, Activity::InCall { call: call() })
                    },
                },
            ),
        ),
        (
            "agent not responding",
            event(
                11,
                Event::Agent {
                    agent: agent_view(Presence::NotResponding, Activity::Idle),
                },
            ),
        ),
        ("queue", event(12, Event::Queue { queue: queue_view() })),
        ("chat", event(13, Event::Chat { message: line(false) })),
        (
            "call supervised operator",
            event(
                16,
                Event::Call {
                    call: supervised(Role::Operator),
                },
            ),
        ),
        (
            "call supervised customer",
            event(
                17,
                Event::Call {
                    call: supervised(Role::Customer),
                },
            ),
        ),
        (
            "calls.changed",
            event(18, Event::CallsChanged { call: active_call() }),
        ),
        ("calls.gone", event(19, Event::CallsGone { call: call() })),
        (
            "quality",
            event(
                14,
                Event::Quality {
                    call: call(),
                    participants: vec![quality],
                },
            ),
        ),
        (
            "quality staff",
            event(
                15,
                Event::Quality {
                    call: call(),
                    participants: vec![staff_quality],
                },
            ),
        ),
        (
            "media.demand",
            event(
                20,
                Event::MediaDemand {
                    call: call(),
                    camera: CameraDemand {
                        layers: vec!["m".to_owned(), "h".to_owned()],
                        max_bitrate: 2_000_000,
                    },
                    screen: ScreenDemand {
                        send: true,
                        max_bitrate: 2_500_000,
                    },
                },
            ),
        ),
        (
            "closing",
            ServerMessage::Closing {
                code: Refusal::Replaced,
            },
        ),
    ]
}
