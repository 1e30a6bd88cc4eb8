//! The tasks of the TURN thread, around one [`TurnServer`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use callkit_core::time::{Clock, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::super::meter::network;
use super::super::{Action, AllocationId, CHANNEL_HEADER, Client, Link, TurnServer, TurnStats};
use super::TurnConfig;
use super::listen::{Buffers, ClientSocket, Sockets, canonical, relay_socket};
use super::stream::{Outgoing, carry};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a connection may be without an allocation: browsers allocate at once, and a little later
/// again when they were told to authenticate.
const IDLE: Duration = Duration::from_secs(20);
/// Pause after a failure to accept, which is a lack of file descriptors: it does not end at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest datagram of a peer: media packets have at most 1300 bytes.
const DATAGRAM: usize = 2048;
/// Datagrams of one peer before others get their turn.
const TURN: usize = 64;

type Shared = Rc<RefCell<Core>>;

/// All that the tasks share. Borrowed for as long as one packet takes, never while waiting.
struct Core {
    server: TurnServer,
    clock: Arc<dyn Clock>,
    socket: Rc<ClientSocket>,
    streams: HashMap<u64, Rc<Outgoing>>,
    relays: HashMap<AllocationId, Relay>,
    /// Connections, with those that are still in their TLS handshake, and the same by source.
    connections: usize,
    sources: HashMap<IpAddr, usize>,
    next_stream: u64,
    /// Kept for its memory.
    actions: Vec<Action>,
    /// The next deadline may have changed.
    changed: Rc<Notify>,
    me: Weak<RefCell<Self>>,
}

/// The sockets of an allocation, with the tasks that read them.
struct Relay {
    sockets: Vec<Rc<UdpSocket>>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Serves until `stopped`.
pub(super) async fn serve(
    config: TurnConfig,
    sockets: Sockets,
    server: TurnServer,
    clock: Arc<dyn Clock>,
    mut questions: mpsc::Receiver<oneshot::Sender<TurnStats>>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let socket = Rc::new(ClientSocket::new(sockets.udp)?);
    let tcp = TcpListener::from_std(sockets.tcp)?;
    let tls = match sockets.tls {
        Some((listener, tls)) => Some((TcpListener::from_std(listener)?, TlsAcceptor::from(tls.0))),
        None => None,
    };
    let changed = Rc::new(Notify::new());
    let core = Rc::new_cyclic(|me| {
        RefCell::new(Core {
            server,
            clock,
            socket: Rc::clone(&socket),
            streams: HashMap::new(),
            relays: HashMap::new(),
            connections: 0,
            sources: HashMap::new(),
            next_stream: 0,
            actions: Vec::new(),
            changed: Rc::clone(&changed),
            me: Weak::clone(me),
        })
    });
    let accept = Accept {
        core: Rc::clone(&core),
        max: config.max_connections,
        max_per_source: config.max_connections_per_source,
    };
    let answers = async {
        while let Some(reply) = questions.recv().await {
            // Whoever asked may be gone.
            let _ = reply.send(core.borrow().server.stats());
        }
        std::future::pending::<()>().await;
    };
    let over_tls = async {
        match tls {
            Some((listener, acceptor)) => accept.run(listener, Some(acceptor)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = stopped => Ok(()),
        outcome = datagrams(&core, &socket) => outcome,
        () = accept.run(tcp, None) => Ok(()),
        () = over_tls => Ok(()),
        () = deadlines(&core, &changed) => Ok(()),
        () = answers => Ok(()),
    }
}

async fn datagrams(core: &Shared, socket: &ClientSocket) -> io::Result<()> {
    let mut buffers = Buffers::new(socket);
    loop {
        socket.readable().await?;
        while socket.receive(&mut buffers, |client, datagram| {
            core.borrow_mut().take_from_client(client, datagram);
        }) {
            // The other tasks have something to do too.
            tokio::task::yield_now().await;
        }
    }
}

async fn deadlines(core: &Shared, changed: &Notify) {
    loop {
        let wait = {
            let core = core.borrow();
            let now = core.clock.now();
            core.server.next_timeout().map(|at| at.since(now))
        };
        match wait {
            None => changed.notified().await,
            Some(wait) => {
                let due = timeout_at(Instant::now() + wait, changed.notified()).await;
                if due.is_err() {
                    let mut core = core.borrow_mut();
                    core.act(|server, now, actions| server.handle_timeout(now, actions));
                }
            }
        }
    }
}

/// Takes connections.
struct Accept {
    core: Shared,
    max: usize,
    max_per_source: usize,
}

impl Accept {
    async fn run(&self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        loop {
            let Ok((stream, remote)) = listener.accept().await else {
                let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
                continue;
            };
            let remote = canonical(remote);
            if !self
                .core
                .borrow_mut()
                .enter(remote.ip(), self.max, self.max_per_source)
            {
                continue;
            }
            // Media in small packets: Nagle's algorithm would hold them back.
            let _ = stream.set_nodelay(true);
            let local = stream.local_addr().ok().map(|address| canonical(address).ip());
            let core = Rc::clone(&self.core);
            let tls = tls.clone();
            spawn_local(async move {
                match tls {
                    None => connection(&core, stream, remote, local).await,
                    Some(acceptor) => {
                        if let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await {
                            connection(&core, stream, remote, local).await;
                        }
                    }
                }
                core.borrow_mut().leave(remote.ip());
            });
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite>(
    core: &Shared,
    stream: S,
    remote: SocketAddr,
    local: Option<IpAddr>,
) {
    let outgoing = Rc::new(Outgoing::default());
    let client = core.borrow_mut().connected(&outgoing, remote, local);
    let carried = carry(stream, &outgoing, |frame| {
        core.borrow_mut().take_from_client(client, frame);
    });
    tokio::pin!(carried);
    while timeout(IDLE, &mut carried).await.is_err() {
        if !core.borrow().server.has_allocation(&client) {
            break;
        }
    }
    core.borrow_mut().disconnected(&client);
}

/// Reads what peers send to a socket of an allocation.
async fn peer_packets(
    core: Weak<RefCell<Core>>,
    socket: Rc<UdpSocket>,
    allocation: AllocationId,
    via: usize,
) {
    let mut packet = vec![0; CHANNEL_HEADER + DATAGRAM];
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        for _ in 0..TURN {
            match socket.try_recv_from(&mut packet[CHANNEL_HEADER..]) {
                Ok((length, source)) => {
                    let Some(core) = core.upgrade() else { return };
                    let packet = &mut packet[..CHANNEL_HEADER + length];
                    core.borrow_mut()
                        .take_from_peer(allocation, via, canonical(source), packet);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // About a datagram that was sent: a peer that is not there (ICMP).
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

impl Core {
    fn take_from_client(&mut self, client: Client, bytes: &[u8]) {
        let now = self.clock.now();
        let mut actions = std::mem::take(&mut self.actions);
        if let Some(relayed) = self.server.handle_client(now, client, bytes, &mut actions)
            && let Some(relay) = self.relays.get(&relayed.allocation)
            && let Some(socket) = relay.sockets.get(relayed.via)
        {
            // A full buffer drops: what is late is worthless.
            let _ = socket.try_send_to(&bytes[relayed.data], relayed.target);
        }
        self.perform(&mut actions);
        self.actions = actions;
    }

    fn take_from_peer(
        &mut self,
        allocation: AllocationId,
        via: usize,
        source: SocketAddr,
        packet: &mut [u8],
    ) {
        let now = self.clock.now();
        let Some((client, message)) = self.server.handle_peer(now, allocation, via, source, packet) else {
            return;
        };
        match client.link {
            Link::Datagram => self.socket.send(&client, message.bytes()),
            Link::Stream(number) => {
                if let Some(outgoing) = self.streams.get(&number) {
                    outgoing.media(message.bytes());
                }
            }
        }
    }

    fn act(&mut self, decide: impl FnOnce(&mut TurnServer, Timestamp, &mut Vec<Action>)) {
        let mut actions = std::mem::take(&mut self.actions);
        decide(&mut self.server, self.clock.now(), &mut actions);
        self.perform(&mut actions);
        self.actions = actions;
    }

    fn perform(&mut self, actions: &mut Vec<Action>) {
        while !actions.is_empty() {
            for action in std::mem::take(actions) {
                match action {
                    Action::Send(client, message) => match client.link {
                        Link::Datagram => self.socket.send(&client, &message),
                        Link::Stream(number) => {
                            if let Some(outgoing) = self.streams.get(&number) {
                                outgoing.answer(&message);
                            }
                        }
                    },
                    Action::Open { allocation, ip, even } => {
                        let port = self.open(allocation, ip, even);
                        self.server.opened(self.clock.now(), allocation, port, actions);
                        self.changed.notify_one();
                    }
                    Action::Close(allocation) => {
                        self.relays.remove(&allocation);
                    }
                    Action::Disconnect(client) => {
                        if let Link::Stream(number) = client.link
                            && let Some(outgoing) = self.streams.get(&number)
                        {
                            outgoing.close();
                        }
                    }
                }
            }
        }
    }

    /// Opens the sockets of an allocation; gives the port of the first.
    fn open(&mut self, allocation: AllocationId, ip: IpAddr, even: bool) -> Option<u16> {
        let sockets: io::Result<Vec<_>> = (0..self.server.sockets())
            .map(|number| relay_socket(ip, even && number == 0).map(Rc::new))
            .collect();
        let sockets = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::warn!(%error, "no socket for a relay");
                return None;
            }
        };
        let port = sockets.first()?.local_addr().ok()?.port();
        let readers = sockets
            .iter()
            .enumerate()
            .map(|(via, socket)| {
                spawn_local(peer_packets(
                    Weak::clone(&self.me),
                    Rc::clone(socket),
                    allocation,
                    via,
                ))
            })
            .collect();
        self.relays.insert(allocation, Relay { sockets, readers });
        Some(port)
    }

    /// Whether one more connection from `ip` is taken.
    fn enter(&mut self, ip: IpAddr, max: usize, max_per_source: usize) -> bool {
        let source = network(ip);
        let of_source = self.sources.get(&source).copied().unwrap_or(0);
        if self.connections >= max || of_source >= max_per_source {
            return false;
        }
        self.connections += 1;
        self.sources.insert(source, of_source + 1);
        true
    }

    fn leave(&mut self, ip: IpAddr) {
        self.connections -= 1;
        let source = network(ip);
        match self.sources.get_mut(&source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.sources.remove(&source);
            }
        }
    }

    fn connected(&mut self, outgoing: &Rc<Outgoing>, remote: SocketAddr, local: Option<IpAddr>) -> Client {
        let number = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(number, Rc::clone(outgoing));
        Client {
            link: Link::Stream(number),
            remote,
            local,
        }
    }

    fn disconnected(&mut self, client: &Client) {
        if let Link::Stream(number) = client.link {
            self.streams.remove(&number);
        }
        self.act(|server, _, actions| server.disconnected(client, actions));
    }
}
