//! [`Swarm`]: many [`MediaPeer`]s over real sockets on few threads. Each peer has a UDP socket of its own, as people
//! have; a thread waits for all of its sockets at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use callkit_core::id::IdSource;
use callkit_core::time::Clock;
use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::sync::{mpsc, oneshot};

use super::link::{Link, LinkSettings};
use super::peer::{Epoch, MediaPeer, Outbox, PeerNotice, Tally};
use super::totals::Totals;

/// Commands that wait for a thread.
const MAILBOX: usize = 4096;
/// Sockets whose readiness is taken at once.
const EVENTS: usize = 512;
/// The token of the mailbox; seats come after it.
const MAILBOX_TOKEN: Token = Token(0);
/// One receive takes at most what an IP packet can carry, however many segments are coalesced.
const COALESCED: usize = 65_536;
/// Kernel buffer of a socket: half a second of two senders. A tester that is late for a moment does not lose.
const KERNEL_BUFFER: usize = 512 * 1024;
/// The shortest time to the next look at a peer.
const SPIN: Duration = Duration::from_micros(100);
/// The DTLS stack walks handshake fragments recursively.
const STACK: usize = 4 * 1024 * 1024;

/// How a swarm sends.
#[derive(Debug, Clone, Copy)]
pub struct SwarmConfig {
    /// Threads.
    pub threads: usize,
    /// Address that sockets are bound to.
    pub bind: IpAddr,
    /// What lies between each peer and the network, in both directions.
    pub line: Option<LinkSettings>,
    /// Hands the packets of a picture to the kernel in one call. Cheaper for the tester, and the server gets them in
    /// one piece; browsers send packets one by one.
    pub gso: bool,
    /// Seeds what is random.
    pub seed: u64,
}

/// Why a peer was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwarmError {
    /// No socket for it.
    #[error("no socket for a participant")]
    Socket(#[source] io::Error),
    /// Its thread has ended.
    #[error("a media thread of the tester has ended")]
    Stopped,
}

/// A peer in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    worker: usize,
    number: usize,
}

enum Command {
    Add {
        number: usize,
        peer: Box<MediaPeer>,
        socket: std::net::UdpSocket,
        server: SocketAddr,
        notices: mpsc::Sender<PeerNotice>,
    },
    Remove {
        number: usize,
        goodbye: bool,
    },
    Totals(oneshot::Sender<Totals>),
    Stop,
}

#[derive(Debug)]
struct Handle {
    mailbox: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    fn send(&self, command: Command) -> Result<(), SwarmError> {
        // Full means that the thread is seconds behind: waiting is what the tester should do then.
        self.mailbox.send(command).map_err(|_| SwarmError::Stopped)?;
        self.waker.wake().map_err(|_| SwarmError::Stopped)
    }
}

/// See the module. Dropping it ends the threads; the peers say nothing to the server then.
#[derive(Debug)]
pub struct Swarm {
    workers: Vec<Handle>,
    seats: AtomicUsize,
    epoch: Epoch,
    bind: IpAddr,
}

impl Swarm {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system says about threads and descriptors.
    pub fn start(config: SwarmConfig, clock: &Arc<dyn Clock>) -> io::Result<Self> {
        let epoch = Epoch {
            start: clock.monotonic(),
            unix: since_1970(),
        };
        let mut workers = Vec::with_capacity(config.threads);
        for number in 0..config.threads.max(1) {
            let poll = Poll::new()?;
            let waker = Arc::new(Waker::new(poll.registry(), MAILBOX_TOKEN)?);
            let (mailbox, commands) = sync_channel(MAILBOX);
            let worker = Worker {
                poll,
                commands,
                clock: Arc::clone(clock),
                seats: Vec::new(),
                timers: BinaryHeap::new(),
                line: config.line,
                random: IdSource::seeded(config.seed.wrapping_add(number as u64)),
                gso: config.gso,
                tally: Tally::default(),
                outbox: Outbox::default(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("swarm-{number}"))
                .stack_size(STACK)
                .spawn(move || {
                    if let Err(error) = worker.run() {
                        tracing::error!(%error, "a media thread of the tester ended");
                    }
                })?;
            workers.push(Handle {
                mailbox,
                waker,
                thread: Some(thread),
            });
        }
        Ok(Self {
            workers,
            seats: AtomicUsize::new(0),
            epoch,
            bind: config.bind,
        })
    }

    /// What the peers of this swarm count their times from.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes a peer whose client has accepted the server's answer; from now on it checks, connects and sends. What it
    /// notices goes to `notices`, unless that is full.
    ///
    /// # Errors
    /// [`SwarmError`].
    pub fn add(
        &self,
        peer: MediaPeer,
        server: SocketAddr,
        notices: mpsc::Sender<PeerNotice>,
    ) -> Result<Seat, SwarmError> {
        let count = self.seats.fetch_add(1, Ordering::Relaxed);
        let (worker, number) = (count % self.workers.len(), count / self.workers.len());
        let bind = match (self.bind, server) {
            (IpAddr::V4(ip), SocketAddr::V6(_)) if ip.is_unspecified() => {
                std::net::Ipv6Addr::UNSPECIFIED.into()
            }
            (bind, _) => bind,
        };
        let socket = open(SocketAddr::new(bind, 0)).map_err(SwarmError::Socket)?;
        self.workers[worker].send(Command::Add {
            number,
            peer: Box::new(peer),
            socket,
            server,
            notices,
        })?;
        Ok(Seat { worker, number })
    }

    /// Takes a peer away, with or without a goodbye to the server. Its counts stay in the totals.
    pub fn remove(&self, seat: Seat, goodbye: bool) {
        let number = seat.number;
        // A thread that has ended has no peers any more.
        let _ = self.workers[seat.worker].send(Command::Remove { number, goodbye });
    }

    /// What was counted so far.
    pub async fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for worker in &self.workers {
            let (reply, answer) = oneshot::channel();
            if worker.send(Command::Totals(reply)).is_ok()
                && let Ok(totals) = answer.await
            {
                sum += &totals;
            }
        }
        sum
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.send(Command::Stop);
            if let Some(thread) = worker.thread.take() {
                // A thread that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a driver: the kernel stamps datagrams with the time of the day"
)]
fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn open(bind: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind(bind)?;
    socket.set_nonblocking(true)?;
    // Best effort: the system may allow less.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(KERNEL_BUFFER);
    Ok(socket)
}

/// A peer with its socket.
struct Place {
    peer: MediaPeer,
    socket: UdpSocket,
    state: UdpSocketState,
    server: SocketAddr,
    notices: mpsc::Sender<PeerNotice>,
    /// The earliest timer in the heap.
    due: Option<Instant>,
    line: Option<Box<Line>>,
}

impl Place {
    /// When something is due, of the peer or on its line.
    fn poll_timeout(&self) -> Option<Instant> {
        let line = self.line.iter().flat_map(|line| [line.up.due(), line.down.due()]);
        line.flatten().chain(self.peer.poll_timeout()).min()
    }
}

/// The two directions between a peer and the network.
struct Line {
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
}

impl Line {
    fn lost(&self) -> u64 {
        let (up, down) = (self.up.counters(), self.down.counters());
        up.lost + up.dropped + down.lost + down.dropped
    }
}

struct Worker {
    poll: Poll,
    commands: Receiver<Command>,
    clock: Arc<dyn Clock>,
    seats: Vec<Option<Place>>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    line: Option<LinkSettings>,
    random: IdSource,
    gso: bool,
    tally: Tally,
    outbox: Outbox,
}

impl Worker {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffers = Buffers::new();
        loop {
            let now = self.clock.monotonic();
            let due = self.timers.peek().map(|first| first.0.0);
            let timeout = due.map(|due| due.saturating_duration_since(now));
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => outcome?,
            }
            buffers.synchronise(self.clock.monotonic());
            for event in &events {
                match event.token().0.checked_sub(1) {
                    None => {
                        while let Ok(command) = self.commands.try_recv() {
                            if !self.command(command)? {
                                return Ok(());
                            }
                        }
                    }
                    Some(seat) => self.receive(seat, &mut buffers)?,
                }
            }
            self.timers();
        }
    }

    /// Returns whether to go on.
    fn command(&mut self, command: Command) -> io::Result<bool> {
        match command {
            Command::Add {
                number,
                peer,
                socket,
                server,
                notices,
            } => {
                let mut socket = UdpSocket::from_std(socket);
                let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
                self.poll
                    .registry()
                    .register(&mut socket, Token(number + 1), Interest::READABLE)?;
                if self.seats.len() <= number {
                    self.seats.resize_with(number + 1, || None);
                }
                let line = self.line.map(|settings| {
                    Box::new(Line {
                        up: Link::new(settings, self.random.next_u64()),
                        down: Link::new(settings, self.random.next_u64()),
                    })
                });
                self.seats[number] = Some(Place {
                    peer: *peer,
                    socket,
                    state,
                    server,
                    notices,
                    due: None,
                    line,
                });
                self.timeout(number);
            }
            Command::Remove { number, goodbye } => {
                let now = self.clock.monotonic();
                if let Some(mut place) = self.seats.get_mut(number).and_then(Option::take) {
                    if goodbye {
                        place.peer.close(now, &mut self.outbox);
                        transmit(&place, &mut self.outbox, self.gso, &mut self.tally);
                    }
                    if let Some(line) = &place.line {
                        self.tally.totals.own.impaired += line.lost();
                    }
                    place.peer.add_to(&mut self.tally.totals);
                    // It is gone: only what it counted stays.
                    self.tally.totals.participants = 0;
                    self.tally.totals.connected = 0;
                    self.tally.totals.jitter = super::totals::Histogram::default();
                }
            }
            Command::Totals(reply) => {
                let mut totals = self.tally.totals.clone();
                for place in self.seats.iter().flatten() {
                    place.peer.add_to(&mut totals);
                    totals.own.impaired += place.line.as_ref().map_or(0, |line| line.lost());
                }
                // Who asked may have stopped waiting.
                let _ = reply.send(totals);
            }
            Command::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn timers(&mut self) {
        let now = self.clock.monotonic();
        while let Some(Reverse((due, seat))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            let known = self.seats.get_mut(seat).and_then(Option::as_mut);
            // An earlier entry may have overtaken this one.
            if let Some(place) = known.filter(|place| place.due == Some(due)) {
                place.due = None;
                self.timeout(seat);
            }
        }
    }

    /// Does what is due for a peer and sets its timer.
    fn timeout(&mut self, seat: usize) {
        let now = self.clock.monotonic();
        let Some(place) = self.seats.get_mut(seat).and_then(Option::as_mut) else {
            return;
        };
        while let Some((arrived, mut datagram)) = place.line.as_mut().and_then(|line| {
            let due = line.down.due()?;
            Some((due, line.down.receive(now)?))
        }) {
            let notice = place
                .peer
                .handle(now, arrived, &mut datagram, &mut self.tally, &mut self.outbox);
            tell(place, notice);
        }
        if let Some(due) = place.peer.poll_timeout().filter(|due| *due <= now) {
            self.tally.totals.lag.note(now.saturating_duration_since(due));
            place.peer.handle_timeout(now, &mut self.tally, &mut self.outbox);
        }
        self.flush(now, seat);
        self.schedule(now, seat);
    }

    fn schedule(&mut self, now: Instant, seat: usize) {
        let Some(place) = self.seats.get_mut(seat).and_then(Option::as_mut) else {
            return;
        };
        let Some(due) = place.poll_timeout() else {
            return;
        };
        // Something that is due and stays so would spin.
        let due = due.max(now + SPIN);
        if place.due.is_none_or(|set| due < set) {
            place.due = Some(due);
            self.timers.push(Reverse((due, seat)));
        }
    }

    /// Sends what the outbox holds for a peer, and what has come through its line.
    fn flush(&mut self, now: Instant, seat: usize) {
        let Some(place) = self.seats.get_mut(seat).and_then(Option::as_mut) else {
            self.outbox.clear();
            return;
        };
        let Some(line) = &mut place.line else {
            transmit(place, &mut self.outbox, self.gso, &mut self.tally);
            return;
        };
        for datagram in self.outbox.datagrams() {
            line.up.send(now, datagram.len(), datagram.to_vec());
        }
        self.outbox.clear();
        while let Some(datagram) = place.line.as_mut().and_then(|line| line.up.receive(now)) {
            send(place, &datagram, None, &mut self.tally);
        }
    }

    fn receive(&mut self, seat: usize, buffers: &mut Buffers) -> io::Result<()> {
        loop {
            let Some(place) = self.seats.get_mut(seat).and_then(Option::as_mut) else {
                return Ok(());
            };
            let Some(filled) = buffers.receive(place)? else {
                break;
            };
            let now = self.clock.monotonic();
            self.tally.totals.own.receives += 1;
            for number in 0..filled {
                let (arrived, stride, received) = buffers.filled(number, now);
                for datagram in received.chunks_mut(stride) {
                    self.tally.totals.own.datagrams_in += 1;
                    self.tally.totals.own.bytes_in += datagram.len() as u64;
                    if let Some(line) = &mut place.line {
                        line.down.send(arrived, datagram.len(), datagram.to_vec());
                        continue;
                    }
                    let notice = place
                        .peer
                        .handle(now, arrived, datagram, &mut self.tally, &mut self.outbox);
                    tell(place, notice);
                }
            }
            // A batch that is not full has emptied the socket: what comes later is a new event.
            if filled < BATCH_SIZE {
                break;
            }
        }
        let now = self.clock.monotonic();
        self.flush(now, seat);
        self.schedule(now, seat);
        Ok(())
    }
}

fn tell(place: &Place, notice: Option<PeerNotice>) {
    if let Some(notice) = notice {
        // Nobody listens any more, or listens slowly: the totals say it too.
        let _ = place.notices.try_send(notice);
    }
}

/// Sends what the outbox holds.
fn transmit(place: &Place, outbox: &mut Outbox, gso: bool, tally: &mut Tally) {
    let max = if gso { place.state.max_gso_segments() } else { 1 };
    for (run, segment) in outbox.runs(max) {
        let count = run.len().div_ceil(segment.max(1)) as u64;
        send(place, run, (count > 1).then_some(segment), tally);
    }
    outbox.clear();
}

fn send(place: &Place, contents: &[u8], segment_size: Option<usize>, tally: &mut Tally) {
    let transmit = Transmit {
        destination: place.server,
        ecn: None,
        contents,
        segment_size,
        src_ip: None,
    };
    let count = segment_size.map_or(1, |segment| contents.len().div_ceil(segment.max(1)) as u64);
    tally.totals.own.sends += 1;
    tally.totals.sent.datagrams += count;
    tally.totals.sent.bytes += contents.len() as u64;
    if place
        .state
        .try_send(UdpSockRef::from(&place.socket), &transmit)
        .is_err()
    {
        tally.totals.own.not_taken += count;
    }
}

/// Receive buffers of a thread, and what the kernel's time of the day means here.
struct Buffers {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    now: (Instant, Duration),
}

impl Buffers {
    fn new() -> Self {
        Self {
            bytes: vec![0; COALESCED * BATCH_SIZE],
            meta: [RecvMeta::default(); BATCH_SIZE],
            now: (first_moment(), Duration::ZERO),
        }
    }

    /// Reads both clocks.
    fn synchronise(&mut self, now: Instant) {
        self.now = (now, since_1970());
    }

    /// Receives a batch; `None` if there was nothing.
    fn receive(&mut self, place: &Place) -> io::Result<Option<usize>> {
        let mut chunks = self.bytes.chunks_exact_mut(COALESCED);
        // The buffer has exactly BATCH_SIZE chunks.
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        match place
            .state
            .recv(UdpSockRef::from(&place.socket), &mut slices, &mut self.meta)
        {
            Ok(0) => Ok(None),
            Ok(filled) => Ok(Some(filled)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL) => Err(error),
                // About a single datagram, or there is nothing.
                _ => Ok(None),
            },
        }
    }

    /// When the kernel got a received buffer, the length of its datagrams, and the bytes.
    fn filled(&mut self, number: usize, now: Instant) -> (Instant, usize, &mut [u8]) {
        let meta = self.meta[number];
        let arrived = meta.timestamp.map_or(now, |stamp| {
            let (instant, unix) = self.now;
            // Both directions: the clocks were read before or after the datagram came.
            if stamp >= unix {
                instant + (stamp - unix)
            } else {
                instant.checked_sub(unix - stamp).unwrap_or(instant)
            }
        });
        let start = number * COALESCED;
        let bytes = &mut self.bytes[start..start + meta.len.min(COALESCED)];
        (arrived.min(now), meta.stride.max(1), bytes)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a driver: replaced by the clock's time before it is used"
)]
fn first_moment() -> Instant {
    Instant::now()
}
