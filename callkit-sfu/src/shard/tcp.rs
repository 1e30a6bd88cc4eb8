//! ICE over TCP (RFC 6544), passive: for clients whose network lets no UDP through.
//!
//! The connections of a shard belong to its thread. They are registered with a poll of their own, whose
//! descriptor the thread watches beside its UDP socket: a thousand idle connections cost it nothing. A
//! connection is a path like any other; what carries no authentic check within ten seconds is closed.
//!
//! TCP delivers everything, late. Media is worth nothing late, so each connection keeps little to be sent and
//! drops whole datagrams beyond: what is lost is repaired or concealed as over UDP.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::DatagramSink;
use super::socket::ShardSocket;
use crate::transport::framing::{Deframer, FRAME_HEADER, write_frame};
use crate::transport::{Path, Via};

/// A new connection has to carry an authentic check within this time.
const PROOF: Duration = Duration::from_secs(10);
/// How often a proven connection is asked whether its participant is still there.
const REVIEW: Duration = Duration::from_secs(30);
/// How often connections are looked through while there are any.
const SWEEP: Duration = Duration::from_secs(1);
/// How long accepting rests when the system has no descriptors left.
const ACCEPT_REST: Duration = Duration::from_secs(1);
/// Unproven connections at a time: of one source (an office behind one address), and in all.
const MAX_UNPROVEN_OF_SOURCE: usize = 64;
const MAX_UNPROVEN: usize = 1024;
/// Connections accepted and events handled before others get their turn.
const TURN: usize = 64;
/// Bytes that wait for a slow client: 100 ms at 5 Mbit/s.
const MAX_WAITING: usize = 64 * 1024;
/// What the kernel may hold beside it.
const KERNEL_SEND: usize = 128 * 1024;
/// Bytes per read, and reads of a connection before others get their turn.
const READ: usize = 64 * 1024;
const READS: usize = 4;
const LISTENER: Token = Token(usize::MAX);

/// What the connections of a shard have counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct TcpCounters {
    /// Open connections.
    pub(super) open: usize,
    /// Connections closed because there were too many, nothing authentic came, or it was not ICE.
    pub(super) refused: u64,
    /// Datagrams sent.
    pub(super) datagrams: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// System calls that sent them.
    pub(super) calls: u64,
    /// Datagrams that a slow client had no room for.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    path: Path,
    deframer: Deframer,
    /// Frames that the kernel has not taken; the first may have gone out in part.
    waiting: Vec<u8>,
    proven: bool,
    review: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct TcpPlane {
    poll: Poll,
    events: Events,
    listener: TcpListener,
    /// The listener may have more.
    accepting: bool,
    rest_until: Option<Instant>,
    connections: BTreeMap<u32, Connection>,
    next: u32,
    /// Connections that may have more to read, those that may take more, and a list to swap with.
    unread: Vec<u32>,
    writable: Vec<u32>,
    spare: Vec<u32>,
    /// Paths of connections that are gone, for the shard to know.
    closed: Vec<Path>,
    buffer: Vec<u8>,
    next_sweep: Option<Instant>,
    counters: TcpCounters,
}

/// Takes each datagram to what carries its path.
#[derive(Debug)]
pub(super) struct Outlets<'a> {
    pub(super) udp: &'a mut ShardSocket,
    pub(super) tcp: Option<&'a mut TcpPlane>,
}

impl DatagramSink for Outlets<'_> {
    fn send(&mut self, path: Path, datagrams: &[u8], segment: usize) {
        match (path.via, &mut self.tcp) {
            (Via::Udp, _) => self.udp.send(path, datagrams, segment),
            (Via::Tcp(_), Some(tcp)) => tcp.send(path, datagrams, segment),
            (Via::Tcp(_), None) => {}
        }
    }

    fn max_segments(&self) -> usize {
        self.udp.max_segments()
    }
}

/// Listens on `bind`, or on all addresses: IPv6 with IPv4 where the system has it, else IPv4.
fn listen(bind: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    let listen_on = |address: SocketAddr| -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections of an earlier run may linger on the port.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Inherited by the connections.
        let _ = socket.set_send_buffer_size(KERNEL_SEND);
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        Ok(TcpListener::from_std(socket.into()))
    };
    match bind {
        Some(ip) => listen_on(SocketAddr::new(ip, port)),
        None => listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).or_else(|error| {
            match error.kind() {
                ErrorKind::AddrInUse | ErrorKind::PermissionDenied => Err(error),
                _ => listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            }
        }),
    }
}

impl TcpPlane {
    /// Starts to listen.
    pub(crate) fn open(bind: Option<IpAddr>, port: u16) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = listen(bind, port)?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            events: Events::with_capacity(TURN),
            listener,
            accepting: false,
            rest_until: None,
            connections: BTreeMap::new(),
            next: 0,
            unread: Vec::new(),
            writable: Vec::new(),
            spare: Vec::new(),
            closed: Vec::new(),
            buffer: Vec::new(),
            next_sweep: None,
            counters: TcpCounters::default(),
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Becomes readable when [`handle_ready`](Self::handle_ready) has something to do.
    pub(super) fn descriptor(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    pub(super) fn counters(&self) -> TcpCounters {
        TcpCounters {
            open: self.connections.len(),
            ..self.counters
        }
    }

    /// Accepts, reads and writes what is ready and hands datagrams to `handle`. Returns whether there may be more.
    pub(super) fn handle_ready(
        &mut self,
        now: Instant,
        mut handle: impl FnMut(Path, &mut [u8]),
    ) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                LISTENER => self.accepting = true,
                Token(number) => {
                    let Ok(number) = u32::try_from(number) else {
                        continue;
                    };
                    if event.is_writable() {
                        self.writable.push(number);
                    }
                    if (event.is_readable() || event.is_read_closed() || event.is_error())
                        && !self.unread.contains(&number)
                    {
                        self.unread.push(number);
                    }
                }
            }
        }
        while let Some(number) = self.writable.pop() {
            self.write(number);
        }
        if self.accepting && self.rest_until.is_none_or(|until| until <= now) {
            self.accept(now);
        }
        std::mem::swap(&mut self.unread, &mut self.spare);
        while let Some(number) = self.spare.pop() {
            self.read(number, &mut handle);
        }
        Ok(self.accepting && self.rest_until.is_none() || !self.unread.is_empty())
    }

    fn accept(&mut self, now: Instant) {
        self.rest_until = None;
        for _ in 0..TURN {
            match self.listener.accept() {
                Ok((stream, remote)) => self.admit(now, stream, remote),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                // The client has gone again.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "media connections cannot be accepted");
                    self.rest_until = Some(now + ACCEPT_REST);
                    self.next_sweep = self.next_sweep.or(Some(now + SWEEP));
                    return;
                }
            }
        }
    }

    /// Takes a connection in, or lets it drop.
    fn admit(&mut self, now: Instant, mut stream: TcpStream, remote: SocketAddr) {
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let unproven = || self.connections.values().filter(|one| !one.proven);
        let of_source = unproven()
            .filter(|one| one.path.remote.ip() == remote.ip())
            .count();
        if unproven().count() >= MAX_UNPROVEN || of_source >= MAX_UNPROVEN_OF_SOURCE {
            self.counters.refused += 1;
            return;
        }
        let number = self.next;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(&mut stream, Token(number as usize), interest);
        if registered.is_err() || stream.set_nodelay(true).is_err() {
            self.counters.refused += 1;
            return;
        }
        self.next = self.next.wrapping_add(1);
        let local = stream.local_addr().ok().map(|own| own.ip().to_canonical());
        let path = Path {
            remote,
            local,
            via: Via::Tcp(number),
        };
        self.connections.insert(
            number,
            Connection {
                stream,
                path,
                deframer: Deframer::default(),
                waiting: Vec::new(),
                proven: false,
                review: now + PROOF,
            },
        );
        self.next_sweep = self.next_sweep.or(Some(now + SWEEP));
    }

    fn read(&mut self, number: u32, handle: &mut impl FnMut(Path, &mut [u8])) {
        self.buffer.resize(READ, 0);
        for _ in 0..READS {
            let Some(connection) = self.connections.get_mut(&number) else {
                return;
            };
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return self.close(number),
                Ok(count) => {
                    let path = connection.path;
                    let piece = &mut self.buffer[..count];
                    let pushed = connection.deframer.push(piece, |datagram| handle(path, datagram));
                    if pushed.is_err() {
                        self.counters.refused += 1;
                        return self.close(number);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(number),
            }
        }
        self.unread.push(number);
    }

    /// Sends `datagrams`, each `segment` long, the last possibly shorter. What the client has no room for is
    /// dropped.
    pub(super) fn send(&mut self, path: Path, datagrams: &[u8], segment: usize) {
        let Via::Tcp(number) = path.via else { return };
        let Some(connection) = self.connections.get_mut(&number) else {
            self.counters.dropped += datagrams.len().div_ceil(segment.max(1)) as u64;
            return;
        };
        let was_waiting = !connection.waiting.is_empty();
        for datagram in datagrams.chunks(segment.max(1)) {
            if connection.waiting.len() + FRAME_HEADER + datagram.len() > MAX_WAITING {
                self.counters.dropped += 1;
                continue;
            }
            write_frame(&mut connection.waiting, datagram);
            self.counters.datagrams += 1;
            self.counters.bytes += datagram.len() as u64;
        }
        // Behind frames that already wait there is nothing to try: the kernel says when it has room.
        if !was_waiting {
            self.write(number);
        }
    }

    fn write(&mut self, number: u32) {
        while let Some(connection) = self.connections.get_mut(&number) {
            if connection.waiting.is_empty() {
                return;
            }
            self.counters.calls += 1;
            match connection.stream.write(&connection.waiting) {
                Ok(0) => return self.close(number),
                Ok(count) => {
                    connection.waiting.drain(..count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(number),
            }
        }
    }

    fn close(&mut self, number: u32) {
        if let Some(mut connection) = self.connections.remove(&number) {
            // Closing the descriptor deregisters it too.
            let _ = self.poll.registry().deregister(&mut connection.stream);
            self.closed.push(connection.path);
        }
    }

    /// The path of a connection that is gone.
    pub(super) fn poll_closed(&mut self) -> Option<Path> {
        self.closed.pop()
    }

    /// Closes connections that nobody is behind, by what `knows` says of their paths.
    pub(super) fn handle_timeout(&mut self, now: Instant, knows: impl Fn(Path) -> bool) {
        if self.next_sweep.is_none_or(|due| due > now) {
            return;
        }
        if self.rest_until.is_some_and(|until| until <= now) {
            self.accept(now);
        }
        let mut gone = Vec::new();
        for (number, connection) in &mut self.connections {
            let known = (!connection.proven || connection.review <= now) && knows(connection.path);
            if known {
                connection.proven = true;
                connection.review = now + REVIEW;
            } else if connection.review <= now {
                gone.push(*number);
            }
        }
        for number in gone {
            self.counters.refused += 1;
            self.close(number);
        }
        let busy = !self.connections.is_empty() || self.rest_until.is_some();
        self.next_sweep = busy.then_some(now + SWEEP);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }
}
