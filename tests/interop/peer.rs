//! A peer of the `webrtc` crate in the layout of docs/protocol.md: sends a microphone and a camera, hears two others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpRtxParameters, RtpCodecKind,
};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCPeerConnectionState,
    RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

/// Longest wait for anything: what is waited for takes a second, unless the machine is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two packets of a track.
const PACE: Duration = Duration::from_millis(20);
/// Pictures from one keyframe to the next.
const KEYFRAME: u32 = 25;
/// Length of a picture and of a piece of sound, bytes. Little: where a busy machine delays packets, the server's estimate
/// of the line falls, and at a higher rate it would pause the camera.
const PICTURE: usize = 250;
const SOUND: usize = 60;
/// Payload types of the crate's default codecs.
const OPUS: u8 = 111;
const VP8: u8 = 96;
/// Microphone, camera, screen, sound of the screen.
const LAYOUT: [RtpCodecKind; 4] = [
    RtpCodecKind::Audio,
    RtpCodecKind::Video,
    RtpCodecKind::Video,
    RtpCodecKind::Audio,
];

/// What has arrived.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    connected: bool,
    /// Numbers of pictures by the mark of their sender.
    pictures: BTreeMap<u8, BTreeSet<u32>>,
    /// Senders of sound.
    voices: BTreeSet<u8>,
}

impl Heard {
    /// Whether picture and sound of exactly these have arrived.
    pub(crate) fn is_of(&self, marks: &[u8]) -> bool {
        self.voices.iter().eq(marks) && self.pictures.keys().eq(marks)
    }

    /// The numbers of the pictures of a sender.
    pub(crate) fn pictures(&self, mark: u8) -> &BTreeSet<u32> {
        const NONE: &BTreeSet<u32> = &BTreeSet::new();
        self.pictures.get(&mark).unwrap_or(NONE)
    }

    fn take(&mut self, kind: RtpCodecKind, payload: &[u8]) {
        let Some((mark, number)) = read_mark(payload) else {
            return;
        };
        match kind {
            RtpCodecKind::Video => {
                self.pictures.entry(mark).or_default().insert(number);
            }
            _ => {
                self.voices.insert(mark);
            }
        }
    }
}

/// See the module.
pub(crate) struct Peer {
    mark: u8,
    heard: watch::Receiver<Heard>,
    connection: Arc<dyn PeerConnection>,
}

/// What the connection reports.
struct Handler {
    heard: watch::Sender<Heard>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let connected = state == RTCPeerConnectionState::Connected;
        self.heard.send_modify(|heard| heard.connected = connected);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let heard = self.heard.clone();
        tokio::spawn(async move {
            let kind = track.kind().await;
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    heard.send_modify(|heard| heard.take(kind, &packet.payload));
                }
            }
        });
    }
}

impl Peer {
    /// A peer and its offer. It sends from the moment that it is connected.
    pub(crate) async fn offer(mark: u8) -> (Self, String) {
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let (sender, heard) = watch::channel(Heard::default());
        let building = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Handler { heard: sender }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build();
        let connection: Arc<dyn PeerConnection> = Arc::new(Box::pin(building).await.unwrap());
        let mut tracks = Vec::new();
        for (index, kind) in (0..).zip(LAYOUT) {
            let track = Arc::new(TrackLocalStaticRTP::new(local_track(mark, index, kind)));
            let local = Arc::clone(&track) as Arc<dyn TrackLocal>;
            let init = init(RTCRtpTransceiverDirection::Sendonly);
            connection
                .add_transceiver_from_track(local, Some(init))
                .await
                .unwrap();
            tracks.push(track);
        }
        for kind in [LAYOUT, LAYOUT].concat() {
            let init = init(RTCRtpTransceiverDirection::Recvonly);
            connection
                .add_transceiver_from_kind(kind, Some(init))
                .await
                .unwrap();
        }
        let offer = connection.create_offer(None).await.unwrap();
        let sdp = offer.sdp.clone();
        connection.set_local_description(offer).await.unwrap();
        // Microphone and camera; nobody shares a screen.
        let [microphone, camera] = [0, 1].map(|index| Arc::clone(&tracks[index]));
        tokio::spawn(send(microphone, camera, mark, heard.clone()));
        let peer = Self {
            mark,
            heard,
            connection,
        };
        (peer, sdp)
    }

    pub(crate) async fn answer(&self, sdp: &str) {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).unwrap();
        self.connection.set_remote_description(answer).await.unwrap();
    }

    /// Waits until what has arrived is `enough`.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&Heard) -> bool) {
        let mut heard = self.heard.clone();
        let in_time = matches!(
            tokio::time::timeout(PATIENCE, heard.wait_for(enough)).await,
            Ok(Ok(_))
        );
        assert!(in_time, "{}: {what}: {:?}", self.mark, self.heard.borrow());
    }

    pub(crate) async fn close(self) {
        self.connection.close().await.unwrap();
    }
}

fn init(direction: RTCRtpTransceiverDirection) -> RTCRtpTransceiverInit {
    RTCRtpTransceiverInit {
        direction,
        streams: Vec::new(),
        send_encodings: Vec::new(),
    }
}

/// The SSRC of a track; that of its retransmission is one more.
fn ssrc(mark: u8, index: u32) -> u32 {
    0x1000_0000 * u32::from(mark) + 2 * index + 1
}

fn local_track(mark: u8, index: u32, kind: RtpCodecKind) -> MediaStreamTrack {
    let (mime_type, clock_rate, channels) = match kind {
        RtpCodecKind::Video => ("video/VP8", 90_000, 0),
        _ => ("audio/opus", 48_000, 2),
    };
    let ssrc = ssrc(mark, index);
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(ssrc),
            rtx: (kind == RtpCodecKind::Video).then_some(RTCRtpRtxParameters { ssrc: ssrc + 1 }),
            ..RTCRtpCodingParameters::default()
        },
        codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate,
            channels,
            ..RTCRtpCodec::default()
        },
        ..RTCRtpEncodingParameters::default()
    };
    let [stream, track, label] = ["stream", "track", "label"].map(|name| format!("{name}-{mark}-{index}"));
    MediaStreamTrack::new(stream, track, label, kind, vec![encoding])
}

/// Sends sound and pictures, each with `mark` and a number, while there is a connection.
async fn send(
    microphone: Arc<TrackLocalStaticRTP>,
    camera: Arc<TrackLocalStaticRTP>,
    mark: u8,
    mut heard: watch::Receiver<Heard>,
) {
    let mut pace = tokio::time::interval(PACE);
    // What a busy machine has kept from being sent is not made up for by a burst, which would look like congestion.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0_u32;
    while heard.wait_for(|heard| heard.connected).await.is_ok() {
        pace.tick().await;
        // A VP8 descriptor with the start of a partition (RFC 7741 section 4.2), then the frame tag, whose lowest bit
        // says that it is no keyframe; of a keyframe start code and size follow (RFC 6386 section 9.1).
        let head: &[u8] = match number % KEYFRAME {
            0 => &[0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00],
            _ => &[0x10, 0x11, 0, 0],
        };
        let sound = packet(ssrc(mark, 0), OPUS, number, 960, marked(&[], SOUND, mark, number));
        let picture = packet(
            ssrc(mark, 1),
            VP8,
            number,
            1800,
            marked(head, PICTURE, mark, number),
        );
        for (track, packet) in [(&microphone, sound), (&camera, picture)] {
            if track.write_rtp(packet).await.is_err() {
                return;
            }
        }
        number += 1;
    }
}

fn packet(ssrc: u32, payload_type: u8, number: u32, step: u32, payload: Bytes) -> rtp::Packet {
    rtp::Packet {
        header: rtp::Header {
            version: 2,
            marker: true,
            payload_type,
            sequence_number: number as u16,
            timestamp: number.wrapping_mul(step),
            ssrc,
            ..rtp::Header::default()
        },
        payload,
    }
}

/// `head`, filled up to `length`, with the mark and the number at the end.
fn marked(head: &[u8], length: usize, mark: u8, number: u32) -> Bytes {
    let mut payload = head.to_vec();
    payload.resize(length - 5, 0);
    payload.push(mark);
    payload.extend(number.to_be_bytes());
    payload.into()
}

/// The mark and the number of a payload; what fills up for probing has none.
fn read_mark(payload: &[u8]) -> Option<(u8, u32)> {
    let (_, tail) = payload.split_at_checked(payload.len().checked_sub(5)?)?;
    Some((tail[0], u32::from_be_bytes(tail[1..].try_into().ok()?)))
}
