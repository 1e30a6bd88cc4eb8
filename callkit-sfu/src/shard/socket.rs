//! A shard's UDP socket: batches in (recvmmsg, GRO) and out (GSO).

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::DatagramSink;
use super::stats::{RUN_BUCKETS, RunLengths};
use super::sys;
use crate::transport::Path;

/// Kernel buffers: 20 ms of 1 Gbit/s. Best effort, the system may allow less.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;
/// Longest datagram that is of interest: an Ethernet frame.
const DATAGRAM: usize = 1500;
/// One receive takes at most what an IP packet can carry, however many segments are coalesced.
const MAX_COALESCED: usize = 65_536;
/// Added to each buffer, so that their starts do not fall on the same places of the processor's caches: at a
/// distance of 64 KiB, 32 of them share one.
const STAGGER: usize = 1664;

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
    pub(super) runs: RunLengths,
}

/// What becomes of a run that the system did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It is lost, as any datagram may be: what is late is worthless, and somewhere out of reach stays so.
    Drop,
    /// Its datagrams are tried one by one: the kernel, a driver or the path does not take them as segments.
    Split,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::EOPNOTSUPP) => Self::Split,
            _ => Self::Drop,
        }
    }
}

impl SendCounters {
    /// Sends a run of datagrams of `segment` bytes by `transmit`, in one call if that works. No error is more
    /// than the loss of datagrams, and nothing is kept for later.
    fn send(
        &mut self,
        datagrams: &[u8],
        segment: usize,
        mut transmit: impl FnMut(&[u8], Option<usize>) -> io::Result<()>,
    ) {
        let count = datagrams.len().div_ceil(segment.max(1)) as u64;
        if count == 0 {
            return;
        }
        self.calls += 1;
        let place = count.next_power_of_two().trailing_zeros() as usize;
        self.runs[place.min(RUN_BUCKETS - 1)] += 1;
        // The kernel refuses segments of a single one.
        let error = match transmit(datagrams, (count > 1).then_some(segment)) {
            Ok(()) => {
                self.datagrams += count;
                self.bytes += datagrams.len() as u64;
                return;
            }
            Err(error) => error,
        };
        if count == 1 || Refusal::of(&error) == Refusal::Drop {
            self.dropped += count;
            return;
        }
        for one in datagrams.chunks(segment) {
            self.calls += 1;
            match transmit(one, None) {
                Ok(()) => {
                    self.datagrams += 1;
                    self.bytes += one.len() as u64;
                }
                Err(_) => self.dropped += 1,
            }
        }
    }
}

/// Datagrams, or coalesced runs of them, that one call receives.
pub(super) const RECEIVE_BATCH: usize = BATCH_SIZE;

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
        sys::receive_plainly(&socket);
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
        let each = (DATAGRAM * self.state.gro_segments()).min(MAX_COALESCED) + STAGGER;
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

    /// Datagrams that the kernel dropped because the thread did not take them in time.
    pub(super) fn dropped(&self) -> u32 {
        sys::dropped_by(&self.socket)
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
        let Self {
            socket, state, is_v6, ..
        } = self;
        let destination = match path.remote {
            SocketAddr::V4(v4) if *is_v6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            other => other,
        };
        self.counters.send(datagrams, segment, |contents, segment_size| {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents,
                segment_size,
                src_ip: path.local,
            };
            state.try_send(UdpSockRef::from(&*socket), &transmit)
        });
    }

    fn max_segments(&self) -> usize {
        if self.segmentation {
            self.state.max_gso_segments()
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::SendBatch;

    fn refusing(code: i32, segments_only: bool) -> (SendCounters, Vec<(usize, Option<usize>)>) {
        let (mut counters, mut seen) = (SendCounters::default(), Vec::new());
        counters.send(&[1; 25], 10, |bytes, segment| {
            seen.push((bytes.len(), segment));
            if segment.is_some() || !segments_only {
                Err(io::Error::from_raw_os_error(code))
            } else {
                Ok(())
            }
        });
        (counters, seen)
    }

    #[test]
    fn p33_a_full_queue_a_firewall_and_an_unreachable_host_lose_the_datagrams_and_nothing_else() {
        for code in [
            libc::EAGAIN,
            libc::EPERM,
            libc::EHOSTUNREACH,
            libc::ENETUNREACH,
            libc::ECONNREFUSED,
            libc::ENOBUFS,
        ] {
            let (counters, seen) = refusing(code, false);
            assert_eq!(seen, [(25, Some(10))], "errno {code} is not tried again");
            assert_eq!((counters.datagrams, counters.dropped, counters.bytes), (0, 3, 0));
        }
    }

    #[test]
    fn p33_one_datagram_too_long_for_the_path_takes_no_other_with_it() {
        let (counters, seen) = refusing(libc::EMSGSIZE, true);
        assert_eq!(seen, [(25, Some(10)), (10, None), (10, None), (5, None)]);
        assert_eq!((counters.datagrams, counters.dropped, counters.bytes), (3, 0, 25));
        let (counters, seen) = refusing(libc::EMSGSIZE, false);
        assert_eq!((seen.len(), counters.dropped), (4, 3));
    }

    #[test]
    fn p32_a_kernel_without_segmentation_gets_the_datagrams_one_by_one() {
        for code in [libc::EINVAL, libc::EIO, libc::EOPNOTSUPP] {
            let (counters, _) = refusing(code, true);
            assert_eq!((counters.datagrams, counters.dropped, counters.calls), (3, 0, 4));
        }
    }

    #[test]
    fn p32_a_single_datagram_is_never_sent_as_a_segment() {
        let mut counters = SendCounters::default();
        for (length, segment) in [(10, 10), (7, 10), (1, 1)] {
            counters.send(&vec![0; length], segment, |_, segment| {
                assert_eq!(segment, None);
                Ok(())
            });
        }
        assert_eq!((counters.runs[0], counters.datagrams), (3, 3));
    }

    #[test]
    fn run_lengths_are_counted_by_powers_of_two() {
        let mut counters = SendCounters::default();
        for count in [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64] {
            counters.send(&vec![0; count], 1, |_, _| Ok(()));
        }
        assert_eq!(counters.runs, [1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(counters.calls, 12);
    }

    /// What `receiver` gets when `sender` sends datagrams of these lengths in one batch.
    fn through_the_kernel(
        sender: &mut ShardSocket,
        receiver: &ShardSocket,
        lengths: &[usize],
    ) -> Vec<Vec<u8>> {
        let to = receiver.socket.local_addr().unwrap();
        let mut batch = SendBatch::new();
        for (number, length) in lengths.iter().enumerate() {
            batch.push(Path::udp(to, None), &vec![number as u8 + 1; *length]);
        }
        batch.flush(sender);
        let (_waker, wake) = sys::waker().unwrap();
        let (mut buffers, mut got) = (receiver.receive_buffers(), Vec::new());
        while got.len() < lengths.len() {
            let patience = Some(std::time::Duration::from_secs(10));
            assert!(
                sys::wait(Some(&receiver.socket), &wake, None, patience)
                    .unwrap()
                    .socket
            );
            let take = |_, datagram: &mut [u8]| got.push(datagram.to_vec());
            receiver.receive(&mut buffers, take).unwrap();
        }
        got
    }

    #[test]
    fn p32_runs_of_any_number_and_tail_arrive_as_they_were_sent() {
        let localhost = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let socket = |segmentation| ShardSocket::new(open(localhost, 0).unwrap(), segmentation).unwrap();
        let receiver = socket(true);
        for segmentation in [true, false] {
            let mut sender = socket(segmentation);
            for count in 1..=64 {
                for tail in [None, Some(1), Some(999), Some(1000)] {
                    let mut lengths = vec![1000; count];
                    lengths.extend(tail);
                    let got = through_the_kernel(&mut sender, &receiver, &lengths);
                    for (number, (datagram, length)) in got.iter().zip(&lengths).enumerate() {
                        assert_eq!(datagram, &vec![number as u8 + 1; *length], "{count} and {tail:?}");
                    }
                }
            }
            // Longer ones behind shorter ones, as the parts of a picture are.
            let got = through_the_kernel(&mut sender, &receiver, &[1100, 1100, 1100, 1101, 1101, 90]);
            let lengths: Vec<usize> = got.iter().map(Vec::len).collect();
            assert_eq!(lengths, [1100, 1100, 1100, 1101, 1101, 90]);
            assert_eq!(sender.counters().dropped, 0);
        }
    }
}
