//! The listening sockets, and the datagram socket for clients.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::super::{Client, Link};
use super::{TurnConfig, TurnError, TurnTls};

/// Kernel buffers, best effort.
const KERNEL_BUFFER: usize = 2 * 1024 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;
/// Tries to find a port that is free for UDP and TCP, or an even one.
const PORT_TRIES: usize = 16;
/// Longest datagram of interest: an Ethernet frame.
const DATAGRAM: usize = 1500;

/// Open sockets, not yet in a runtime.
pub(super) struct Sockets {
    pub(super) udp: std::net::UdpSocket,
    pub(super) tcp: std::net::TcpListener,
    pub(super) tls: Option<(std::net::TcpListener, TurnTls)>,
    pub(super) udp_address: SocketAddr,
    pub(super) tls_address: Option<SocketAddr>,
}

impl Sockets {
    pub(super) fn open(config: &TurnConfig) -> Result<Self, TurnError> {
        let failed = |transport, port| {
            move |source| TurnError::Listen {
                transport,
                port,
                source,
            }
        };
        let mut tries = 0;
        let (udp, tcp, udp_address) = loop {
            let udp: std::net::UdpSocket = bind(config.bind, config.port, Type::DGRAM, Protocol::UDP)
                .map_err(failed("UDP", config.port))?
                .into();
            let address = udp.local_addr().map_err(failed("UDP", config.port))?;
            match bind(config.bind, address.port(), Type::STREAM, Protocol::TCP) {
                Ok(tcp) => break (udp, listen(tcp).map_err(failed("TCP", config.port))?, address),
                // The port that was free for UDP is not for TCP: another one.
                Err(_) if config.port == 0 && tries < PORT_TRIES => tries += 1,
                Err(source) => return Err(failed("TCP", config.port)(source)),
            }
        };
        let (mut tls, mut tls_address) = (None, None);
        if let Some((port, certificate)) = &config.tls {
            let socket = bind(config.bind, *port, Type::STREAM, Protocol::TCP)
                .and_then(listen)
                .map_err(failed("TLS", *port))?;
            tls_address = Some(socket.local_addr().map_err(failed("TLS", *port))?);
            tls = Some((socket, certificate.clone()));
        }
        Ok(Self {
            udp,
            tcp,
            tls,
            udp_address,
            tls_address,
        })
    }
}

fn listen(socket: Socket) -> io::Result<std::net::TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// On one address, or on all of IPv6 and IPv4; on a system without IPv6, of IPv4.
fn bind(address: Option<IpAddr>, port: u16, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let on = |ip: IpAddr| bind_to(SocketAddr::new(ip, port), kind, protocol);
    match address {
        Some(ip) => on(ip),
        None => on(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => on(Ipv4Addr::UNSPECIFIED.into()),
        }),
    }
}

fn bind_to(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if kind == Type::STREAM {
        // A restart does not wait for the connections of the predecessor to time out.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
    } else {
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The datagram socket for clients: answers leave from the address that was asked.
pub(super) struct ClientSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    is_v6: bool,
}

impl ClientSocket {
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let is_v6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            state,
            is_v6,
        })
    }

    pub(super) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Hands a batch of datagrams to `handle`; false if there was none.
    pub(super) fn receive(&self, buffers: &mut Buffers, mut handle: impl FnMut(Client, &[u8])) -> bool {
        let mut chunks = buffers.bytes.chunks_exact_mut(buffers.each);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let received = self.socket.try_io(Interest::READABLE, || {
            self.state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut buffers.meta)
        });
        // Errors of a datagram socket are about single datagrams, or there is nothing.
        let Ok(filled) = received else { return false };
        let chunks = buffers.bytes.chunks_exact(buffers.each);
        for (chunk, meta) in chunks.zip(&buffers.meta[..filled]) {
            let client = Client {
                link: Link::Datagram,
                remote: canonical(meta.addr),
                local: meta.dst_ip,
            };
            let received = chunk.get(..meta.len).unwrap_or_default();
            for datagram in received.chunks(meta.stride.max(1)) {
                handle(client, datagram);
            }
        }
        true
    }

    /// Sends, or drops when the send buffer is full: what is late is worthless.
    pub(super) fn send(&self, client: &Client, contents: &[u8]) {
        let destination = match client.remote {
            SocketAddr::V4(v4) if self.is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            other => other,
        };
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size: None,
            src_ip: client.local,
        };
        let _ = self.socket.try_io(Interest::WRITABLE, || {
            self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
        });
    }
}

/// An IPv4 address in its own form.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Receive buffers, kept over calls.
pub(super) struct Buffers {
    bytes: Vec<u8>,
    each: usize,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Buffers {
    pub(super) fn new(socket: &ClientSocket) -> Self {
        let each = (DATAGRAM * socket.state.gro_segments()).min(65_536);
        Self {
            bytes: vec![0; each * BATCH_SIZE],
            each,
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

/// A socket of an allocation, on an `even` port if that is asked for. Its only peers are on this machine; what
/// comes from elsewhere is dropped by its source.
pub(super) fn relay_socket(ip: IpAddr, even: bool) -> io::Result<UdpSocket> {
    // Odd ones are kept until the end, so that the system does not give them again.
    let mut odd = Vec::new();
    while odd.len() < PORT_TRIES {
        let socket = bind_to(SocketAddr::new(ip, 0), Type::DGRAM, Protocol::UDP)?;
        let socket = std::net::UdpSocket::from(socket);
        if !even || socket.local_addr()?.port() % 2 == 0 {
            return UdpSocket::from_std(socket);
        }
        odd.push(socket);
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}
