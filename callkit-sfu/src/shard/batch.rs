//! Outgoing datagrams of one receive batch, grouped by path so that the kernel gets them in few calls.
//!
//! Each path has a lane: one contiguous buffer in which packets are built and sealed in place. At the end
//! of the receive batch a lane goes out in runs of equal size (GSO). There is no flush timer: nothing waits
//! longer than the batch that caused it.

use std::ops::Range;

use crate::layout::MAX_PACKET;
use crate::transport::Path;
use crate::transport::srtp::RTCP_TRAILER;

/// Room for one packet: the longest plain one and the longest trailer.
pub(super) const SLOT: usize = MAX_PACKET + RTCP_TRAILER;
/// Packets per lane: one GSO send takes at most 64 segments and 64 KiB.
const LANE_PACKETS: usize = 40;
/// Lanes per batch. A path that fills one gets another; a batch beyond is dropped packet by packet.
const MAX_LANES: usize = 256;

/// Takes datagrams to the network.
pub trait DatagramSink {
    /// Sends `datagrams`, which is one or more datagrams of `segment` bytes, the last possibly shorter.
    fn send(&mut self, path: Path, datagrams: &[u8], segment: usize);

    /// Datagrams that one `send` may carry.
    fn max_segments(&self) -> usize;
}

#[derive(Debug)]
struct Lane {
    path: Path,
    buffer: Vec<u8>,
    used: usize,
    lengths: Vec<usize>,
}

impl Lane {
    fn is_full(&self) -> bool {
        self.lengths.len() == LANE_PACKETS
    }
}

/// Where a path's lane was last found; saves the search while the batch is the same.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LaneHint {
    batch: u64,
    lane: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct SendBatch {
    /// Lanes in use come first; the rest keep their buffers for the next batch.
    lanes: Vec<Lane>,
    used: usize,
    /// Number of the batch, so that hints of earlier ones are recognised.
    batch: u64,
    /// The lane with a buffer handed out.
    open: Option<usize>,
    dropped: u64,
}

impl SendBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            batch: 1,
            ..Self::default()
        }
    }

    /// Packets dropped because the batch was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A buffer of [`SLOT`] bytes for the next packet on `path`.
    pub(super) fn buffer(&mut self, path: Path, hint: &mut LaneHint) -> Option<&mut [u8]> {
        let index = self.lane(path, hint)?;
        self.open = Some(index);
        let lane = &mut self.lanes[index];
        let end = lane.used + SLOT;
        if lane.buffer.len() < end {
            lane.buffer.resize(end, 0);
        }
        Some(&mut lane.buffer[lane.used..end])
    }

    /// The buffer handed out last, again.
    pub(super) fn open_buffer(&mut self) -> Option<&mut [u8]> {
        let lane = &mut self.lanes[self.open?];
        Some(&mut lane.buffer[lane.used..lane.used + SLOT])
    }

    /// Queues the first `len` bytes of the buffer handed out last.
    pub(super) fn commit(&mut self, len: usize) {
        if let Some(index) = self.open.take() {
            let lane = &mut self.lanes[index];
            lane.used += len;
            lane.lengths.push(len);
        }
    }

    /// Queues a ready datagram.
    pub(super) fn push(&mut self, path: Path, datagram: &[u8]) {
        let mut hint = LaneHint::default();
        let Some(buffer) = self.buffer(path, &mut hint) else {
            return;
        };
        match buffer.get_mut(..datagram.len()) {
            Some(buffer) => {
                buffer.copy_from_slice(datagram);
                self.commit(datagram.len());
            }
            None => self.dropped += 1,
        }
    }

    fn lane(&mut self, path: Path, hint: &mut LaneHint) -> Option<usize> {
        let fits = |lane: &Lane| lane.path == path && !lane.is_full();
        if hint.batch == self.batch && hint.lane < self.used && fits(&self.lanes[hint.lane]) {
            return Some(hint.lane);
        }
        let index = match self.lanes[..self.used].iter().position(fits) {
            Some(index) => index,
            None if self.used == MAX_LANES => {
                self.dropped += 1;
                return None;
            }
            None => {
                if self.used == self.lanes.len() {
                    self.lanes.push(Lane {
                        path,
                        buffer: Vec::new(),
                        used: 0,
                        lengths: Vec::new(),
                    });
                }
                self.lanes[self.used].path = path;
                self.used += 1;
                self.used - 1
            }
        };
        *hint = LaneHint {
            batch: self.batch,
            lane: index,
        };
        Some(index)
    }

    /// Sends everything queued and starts the next batch.
    pub fn flush(&mut self, sink: &mut impl DatagramSink) {
        self.open = None;
        let max = sink.max_segments().max(1);
        for lane in &mut self.lanes[..self.used] {
            for (bytes, segment) in runs(&lane.lengths, max) {
                sink.send(lane.path, &lane.buffer[bytes], segment);
            }
            lane.used = 0;
            lane.lengths.clear();
        }
        self.used = 0;
        self.batch += 1;
    }
}

/// Splits packets into runs of equal length, of which the last may be shorter.
fn runs(lengths: &[usize], max: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    let (mut next, mut offset) = (0, 0);
    std::iter::from_fn(move || {
        let segment = *lengths.get(next)?;
        let start = offset;
        let first = next;
        while let Some(length) = lengths.get(next).copied().filter(|length| *length <= segment) {
            if next - first == max {
                break;
            }
            offset += length;
            next += 1;
            if length < segment {
                break;
            }
        }
        Some((start..offset, segment))
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Sent(Vec<(Path, Vec<u8>)>);

    impl DatagramSink for Sent {
        fn send(&mut self, path: Path, datagrams: &[u8], segment: usize) {
            assert!(datagrams.len() <= segment * self.max_segments());
            self.0
                .extend(datagrams.chunks(segment).map(|one| (path, one.to_vec())));
        }

        fn max_segments(&self) -> usize {
            7
        }
    }

    fn path(port: u16) -> Path {
        Path::udp(SocketAddr::from(([192, 0, 2, 1], port)), None)
    }

    proptest! {
        #[test]
        fn every_packet_arrives_once_and_in_order_per_path(
            packets in prop::collection::vec((1_u16..5, 1_usize..300), 0..500),
        ) {
            let mut batch = SendBatch::new();
            let mut sent = Sent::default();
            for (number, (port, length)) in packets.iter().enumerate() {
                let mut datagram = vec![number as u8; *length];
                datagram[0] = (number >> 8) as u8;
                batch.push(path(*port), &datagram);
                if number % 190 == 189 {
                    batch.flush(&mut sent);
                }
            }
            batch.flush(&mut sent);
            for port in 1..5 {
                let of_port = |(to, _): &&(Path, Vec<u8>)| *to == path(port);
                let got: Vec<usize> = sent.0.iter().filter(of_port).map(|(_, one)| one.len()).collect();
                let expected: Vec<usize> =
                    packets.iter().filter(|(to, _)| *to == port).map(|(_, length)| *length).collect();
                prop_assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn a_full_batch_drops_and_counts() {
        let mut batch = SendBatch::new();
        for port in 0..=MAX_LANES as u16 {
            batch.push(path(port), b"x");
        }
        assert_eq!(batch.dropped(), 1);
        let mut sent = Sent::default();
        batch.flush(&mut sent);
        assert_eq!(sent.0.len(), MAX_LANES);
    }
}
