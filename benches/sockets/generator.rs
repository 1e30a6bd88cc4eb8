//! The clients of a scenario, on one socket and one thread.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use callkit_core::id::{IdSource, ParticipantId, RoomId};
use callkit_core::time::{Clock, SystemClock};
use callkit_sfu::control::{JoinRequest, MediaPlane, SfuConfig};
use callkit_sfu::media::Grant;
use callkit_sfu::media::recorder::ArrivalRecorder;
use callkit_sfu::rtp::Packet;
use callkit_sfu::shard::ShardStats;
use callkit_sfu::testing::{CAMERA_PAYLOAD, ClientEvent, MICROPHONE_PAYLOAD, SyntheticClient};
use callkit_sfu::transport::{DtlsIdentity, PacketKind, classify};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::runtime::Runtime;

use super::traffic::{STAMP, Schedule};
use super::{Scenario, Server, sys};

/// Room for one datagram.
const DATAGRAM: usize = 2048;
/// Id of the transport-wide number in the offers of synthetic clients.
const TRANSPORT_CC: u8 = 3;
/// Packets under way at most when the clients send as fast as the server takes it.
const UNDER_WAY: u64 = 400;
/// One in so many packets is opened and timed when there are many.
const SAMPLE: u64 = 16;
/// A packet that is not there after this time is lost.
const LOST: Duration = Duration::from_millis(50);
/// Longest time for all handshakes.
const PATIENCE: Duration = Duration::from_secs(60);
/// First of the clients' addresses.
const FIRST: u32 = Ipv4Addr::new(127, 1, 0, 0).to_bits();

/// What was sent and received since [`Generator::forget`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) delay: [Duration; 3],
    pub(super) kernel_delay: [Duration; 3],
}

/// The clients and the server that they talk through.
pub(super) struct Generator {
    scenario: Scenario,
    clock: SystemClock,
    runtime: Runtime,
    server: Option<Server>,
    address: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
    clients: Vec<SyntheticClient>,
    recorders: Vec<ArrivalRecorder>,
    schedule: Schedule,
    /// Virtual time that the schedule has reached.
    reached: Duration,
    sent: u64,
    delivered: u64,
    delays: Vec<Duration>,
    kernel_delays: Vec<Duration>,
    buffer: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    housekeeping: Instant,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator")
            .field("scenario", &self.scenario)
            .finish_non_exhaustive()
    }
}

impl Generator {
    /// Clients that are connected to nothing.
    pub(super) fn clients_only(scenario: Scenario) -> io::Result<Self> {
        let clock = SystemClock::new();
        let now = clock.monotonic();
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        sys::receive_singly(&socket)?;
        for resize in [
            UdpSocketState::set_send_buffer_size,
            UdpSocketState::set_recv_buffer_size,
        ] {
            resize(&state, UdpSockRef::from(&socket), 4 << 20)?;
        }
        let people = 2 * scenario.calls;
        let identity = Arc::new(DtlsIdentity::generate().map_err(io::Error::other)?);
        let client = |number| SyntheticClient::new(Arc::clone(&identity), IdSource::seeded(number as u64));
        Ok(Self {
            scenario,
            runtime: tokio::runtime::Builder::new_current_thread().build()?,
            server: None,
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            socket,
            state,
            clients: (0..people).map(client).collect(),
            recorders: (0..people).map(|_| ArrivalRecorder::new(now)).collect(),
            schedule: Schedule::new(people, scenario.spacing),
            reached: Duration::ZERO,
            sent: 0,
            delivered: 0,
            delays: Vec::new(),
            kernel_delays: Vec::new(),
            buffer: vec![0; DATAGRAM * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
            housekeeping: now,
            clock,
        })
    }

    /// Starts a server and connects all clients to it.
    pub(super) fn connect(scenario: Scenario) -> io::Result<Self> {
        let mut this = Self::clients_only(scenario)?;
        let config = SfuConfig {
            shards: scenario.shards,
            segmentation: scenario.segmentation,
            ..SfuConfig::default()
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (server, mut events) = Server::start(config, clock, [7; 32]).map_err(io::Error::other)?;
        // Nobody is interested in events; a full queue would make the server try again and again.
        let drain = std::thread::Builder::new().name("events".into());
        drain.spawn(move || while events.blocking_recv().is_some() {})?;
        let now = this.clock.monotonic();
        let mut ports = Vec::new();
        for (number, client) in this.clients.iter_mut().enumerate() {
            let request = JoinRequest {
                room: RoomId::from(number as u128 / 2),
                participant: ParticipantId::from(number as u128),
                offer: client.offer(),
                grant: Grant::Full,
            };
            let joined = this
                .runtime
                .block_on(server.join(request))
                .map_err(io::Error::other)?;
            let answer = client.accept(now, &joined.answer);
            let candidate = answer.and_then(|answer| answer.candidates.first().copied());
            ports.push(candidate.ok_or_else(|| io::Error::other("an answer without candidate"))?);
        }
        this.address = SocketAddr::from(([127, 0, 0, 1], ports[0].port()));
        this.server = Some(server);
        let end = now + PATIENCE;
        while !this.clients.iter().all(SyntheticClient::is_connected) {
            if this.clock.monotonic() > end {
                return Err(io::Error::other("not all handshakes came to an end"));
            }
            for person in 0..this.clients.len() {
                let now = this.clock.monotonic();
                this.clients[person].handle_timeout(now);
                this.transmit(person)?;
                this.receive(now)?;
            }
            sys::wait(&this.socket, Duration::from_millis(1))?;
            this.receive(this.clock.monotonic())?;
        }
        Ok(this)
    }

    /// Counters of the server.
    pub(super) fn stats(&self) -> io::Result<ShardStats> {
        let server = self
            .server
            .as_ref()
            .ok_or_else(|| io::Error::other("no server"))?;
        Ok(self.runtime.block_on(server.stats()))
    }

    /// Starts counting anew.
    pub(super) fn forget(&mut self) {
        (self.sent, self.delivered) = (0, 0);
        self.delays.clear();
        self.kernel_delays.clear();
    }

    /// What was counted.
    pub(super) fn counts(&mut self) -> Counts {
        Counts {
            sent: self.sent,
            delivered: self.delivered,
            delay: percentiles(&mut self.delays),
            kernel_delay: percentiles(&mut self.kernel_delays),
        }
    }

    /// Sends and receives for `time`, and receives what is under way then. Returns how long it took.
    pub(super) fn drive(&mut self, time: Duration) -> io::Result<Duration> {
        let start = self.clock.monotonic();
        let from = self.reached;
        loop {
            let now = self.clock.monotonic();
            let passed = now.saturating_duration_since(start);
            if passed >= time {
                break;
            }
            self.keep_house(now)?;
            match self.scenario.speed {
                Some(speed) => {
                    let until = from + passed.mul_f64(speed);
                    let idle = self.reached >= until || !self.send_until(until)?;
                    let received = self.receive(now)?;
                    if idle && !received {
                        self.wait(start, from, speed)?;
                    }
                }
                None => {
                    self.receive(now)?;
                    let room = (self.delivered + UNDER_WAY).saturating_sub(self.sent);
                    if room > 0 {
                        self.send_next()?;
                    } else {
                        sys::wait(&self.socket, LOST)?;
                        if !self.receive(self.clock.monotonic())? {
                            // What is lost is not waited for again.
                            self.sent = self.delivered;
                        }
                    }
                }
            }
        }
        let took = self.clock.monotonic().saturating_duration_since(start);
        while self.delivered < self.sent {
            sys::wait(&self.socket, LOST)?;
            if !self.receive(self.clock.monotonic())? {
                break;
            }
        }
        Ok(took)
    }

    fn wait(&self, start: Instant, from: Duration, speed: f64) -> io::Result<()> {
        let next = self.schedule.next_at().unwrap_or_default();
        let due = start + next.saturating_sub(from).div_f64(speed);
        let left = due.saturating_duration_since(self.clock.monotonic());
        sys::wait(&self.socket, left.min(Duration::from_millis(10)))
    }

    /// Returns whether anything was due.
    fn send_until(&mut self, until: Duration) -> io::Result<bool> {
        let mut any = false;
        while self.schedule.next_at().is_some_and(|at| at <= until) {
            self.send_next()?;
            any = true;
        }
        Ok(any)
    }

    fn send_next(&mut self) -> io::Result<()> {
        self.reached = self.schedule.next_at().unwrap_or(self.reached);
        let mut count = 0;
        let who = self.schedule.send_next(&mut self.clients, || {
            count += 1;
            wall().as_nanos() as u64
        });
        self.sent += count;
        match who {
            Some(person) => self.transmit(person),
            None => Ok(()),
        }
    }

    fn transmit(&mut self, person: usize) -> io::Result<()> {
        while let Some(datagram) = self.clients[person].poll_transmit() {
            let transmit = Transmit {
                destination: self.address,
                ecn: None,
                contents: &datagram,
                segment_size: None,
                src_ip: Some(IpAddr::V4(Ipv4Addr::from_bits(FIRST + person as u32 + 1))),
            };
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?;
        }
        Ok(())
    }

    /// Returns whether anything was there.
    fn receive(&mut self, now: Instant) -> io::Result<bool> {
        let mut any = false;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let mut chunks = buffer.chunks_exact_mut(DATAGRAM);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let result = self
                .state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut self.meta);
            let count = match result {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            for (place, datagram) in buffer.chunks_exact_mut(DATAGRAM).enumerate().take(count) {
                let meta = self.meta[place];
                if let Some(IpAddr::V4(to)) = meta.dst_ip {
                    let person = to.to_bits().wrapping_sub(FIRST + 1) as usize;
                    self.handle(now, person, &datagram[..meta.len], meta.timestamp)?;
                }
            }
            self.buffer = buffer;
            any |= count > 0;
            if count < BATCH_SIZE {
                return Ok(any);
            }
        }
    }

    fn handle(
        &mut self,
        now: Instant,
        person: usize,
        datagram: &[u8],
        arrived: Option<Duration>,
    ) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(person) else {
            return Ok(());
        };
        if classify(datagram) == PacketKind::Rtp {
            // Headers are in clear.
            if let Ok(head) = Packet::parse(datagram) {
                // What is sent again, and padding that tries the line, is not what was given to be forwarded.
                if matches!(head.payload_type(), MICROPHONE_PAYLOAD | CAMERA_PAYLOAD) {
                    self.delivered += 1;
                }
                if let Some(&[high, low]) = head.extension(TRANSPORT_CC) {
                    self.recorders[person].note(now, u16::from_be_bytes([high, low]));
                }
            }
            let many = self.scenario.speed.is_none_or(|speed| speed > 1.0) || self.scenario.calls > 50;
            if many && !self.delivered.is_multiple_of(SAMPLE) {
                return Ok(());
            }
        }
        match client.handle(now, datagram) {
            Some(ClientEvent::Rtp(packet)) => self.time(&packet, arrived),
            // Full intra requests and picture loss indications of RFC 4585 section 6.3 and 5104 section 4.3.1.
            Some(ClientEvent::Rtcp(packet)) if packet.get(1) == Some(&206) => {
                self.schedule.want_key_frame(person);
            }
            _ => {}
        }
        self.transmit(person)
    }

    fn time(&mut self, packet: &[u8], arrived: Option<Duration>) {
        let Ok(packet) = Packet::parse(packet) else { return };
        let Some(stamp) = packet.payload().get(STAMP) else {
            return;
        };
        let stamp = stamp.try_into().map(u64::from_be_bytes).unwrap_or_default();
        let sent = Duration::from_nanos(stamp);
        self.delays.push(wall().saturating_sub(sent));
        self.kernel_delays
            .extend(arrived.map(|arrived| arrived.saturating_sub(sent)));
    }

    /// Feedback and connectivity checks.
    fn keep_house(&mut self, now: Instant) -> io::Result<()> {
        if now < self.housekeeping {
            return Ok(());
        }
        self.housekeeping = now + Duration::from_millis(5);
        let mut buffer = [0; 1200];
        for person in 0..self.clients.len() {
            let client = &mut self.clients[person];
            if client.poll_timeout().is_some_and(|due| due <= now) {
                client.handle_timeout(now);
            }
            let recorder = &mut self.recorders[person];
            if recorder.due().is_some_and(|due| due <= now) {
                let (own, media) = (client.ssrcs().microphone, 0);
                recorder.poll(now, own, media, &mut buffer, |feedback| {
                    client.send_rtcp(feedback)
                });
            }
            self.transmit(person)?;
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel's time stamps are on the wall clock"
)]
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn percentiles(delays: &mut [Duration]) -> [Duration; 3] {
    delays.sort_unstable();
    [500, 990, 999].map(|share| {
        let place = delays.len() * share / 1000;
        delays.get(place).copied().unwrap_or_default()
    })
}
