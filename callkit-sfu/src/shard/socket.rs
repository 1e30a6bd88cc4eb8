//! A shard's UDP socket: batches in (recvmmsg, GRO) and out (GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::DatagramSink;
use crate::transport::Path;

/// Kernel buffers: 20 ms of 1 Gbit/s. Best effort, the system may allow less.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;
/// Longest datagram that is of interest: an Ethernet frame.
const DATAGRAM: usize = 1500;
/// One receive takes at most what an IP packet can carry, however many segments are coalesced.
const MAX_COALESCED: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub(crate) struct ShardSocket {
    pub(super) socket: UdpSocket,
    state: UdpSocketState,
    /// IPv4 goes out as mapped IPv6.
    is_v6: bool,
    /// Whether runs of packets go out in one call.
    segmentation: bool,
    counters: SendCounters,
}

/// What went out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SendCounters {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) calls: u64,
    pub(super) dropped: u64,
}

/// Receive buffers, kept over calls.
#[derive(Debug)]
pub(super) struct ReceiveBuffers {
    bytes: Vec<u8>,
    each: usize,
    meta: [RecvMeta; BATCH_SIZE],
}

/// Opens a socket on `bind`, or on all addresses: IPv6 with IPv4 where the system has it, else IPv4.
pub(crate) fn open(bind: Option<IpAddr>, port: u16) -> io::Result<UdpSocket> {
    match bind {
        Some(ip) => bind_to(SocketAddr::new(ip, port)),
        None => {
            bind_to(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).or_else(|error| match error.kind() {
                // A busy port is busy; what else fails is a system without IPv6.
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                _ => bind_to(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            })
        }
    }
}

fn bind_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl ShardSocket {
    pub(crate) fn new(socket: UdpSocket, segmentation: bool) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let is_v6 = socket.local_addr()?.is_ipv6();
        Ok(Self {
            socket,
            state,
            is_v6,
            segmentation,
            counters: SendCounters::default(),
        })
    }

    pub(super) fn counters(&self) -> SendCounters {
        self.counters
    }

    pub(super) fn receive_buffers(&self) -> ReceiveBuffers {
        let each = (DATAGRAM * self.state.gro_segments()).min(MAX_COALESCED);
        ReceiveBuffers {
            bytes: vec![0; each * BATCH_SIZE],
            each,
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// Receives one batch and hands each datagram to `handle`. Returns the number of receive buffers that
    /// were filled; zero if there was nothing.
    pub(super) fn receive(
        &self,
        buffers: &mut ReceiveBuffers,
        mut handle: impl FnMut(Path, &mut [u8]),
    ) -> io::Result<usize> {
        let filled = {
            let mut chunks = buffers.bytes.chunks_exact_mut(buffers.each);
            // The buffer has exactly BATCH_SIZE chunks; an empty slice would only receive nothing.
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            match self
                .state
                .recv(UdpSockRef::from(&self.socket), &mut slices, &mut buffers.meta)
            {
                Ok(filled) => filled,
                Err(error) => return nothing(error),
            }
        };
        for (chunk, meta) in buffers
            .bytes
            .chunks_exact_mut(buffers.each)
            .zip(&buffers.meta[..filled])
        {
            let remote = match meta.addr.ip().to_canonical() {
                ip @ IpAddr::V4(_) => SocketAddr::new(ip, meta.addr.port()),
                IpAddr::V6(_) => meta.addr,
            };
            let path = Path::udp(remote, meta.dst_ip);
            let received = chunk.get_mut(..meta.len).unwrap_or_default();
            for datagram in received.chunks_mut(meta.stride.max(1)) {
                handle(path, datagram);
            }
        }
        Ok(filled)
    }

    fn transmit(&self, path: Path, contents: &[u8], segment_size: Option<usize>) -> io::Result<()> {
        let destination = match path.remote {
            SocketAddr::V4(v4) if self.is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            other => other,
        };
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size,
            src_ip: path.local,
        };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }
}

/// Errors of a datagram socket are about single datagrams (ICMP), a shortage that passes, or there is nothing.
/// Only a descriptor that is no socket any more ends the thread, and with it the calls on it.
fn nothing(error: io::Error) -> io::Result<usize> {
    match error.raw_os_error() {
        Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL) => Err(error),
        _ => Ok(0),
    }
}

impl DatagramSink for ShardSocket {
    fn send(&mut self, path: Path, datagrams: &[u8], segment: usize) {
        let count = datagrams.len().div_ceil(segment.max(1)) as u64;
        self.counters.calls += 1;
        let sent = match self.transmit(path, datagrams, (count > 1).then_some(segment)) {
            Ok(()) => count,
            // A full send buffer drops: what is late is worthless.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || count == 1 => 0,
            // The kernel or a driver does not take segments: one by one.
            Err(_) => {
                self.counters.calls += count;
                datagrams
                    .chunks(segment)
                    .filter(|one| self.transmit(path, one, None).is_ok())
                    .count() as u64
            }
        };
        self.counters.datagrams += sent;
        self.counters.dropped += count - sent;
        if sent > 0 {
            self.counters.bytes += datagrams.len() as u64;
        }
    }

    fn max_segments(&self) -> usize {
        if self.segmentation {
            self.state.max_gso_segments()
        } else {
            1
        }
    }
}
