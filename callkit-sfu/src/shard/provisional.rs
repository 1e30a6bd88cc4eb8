//! provisional
use crate::layout::*;
use crate::media::Grant;
use callkit_core::id::ParticipantId;
use std::time::{Duration, Instant};
#[derive(Debug, Default)]
pub struct RoomConfig {
    pub seed: u64,
}
#[derive(Debug)]
pub struct JoinRefused;
#[derive(Debug)]
pub struct Room {
    peers: Vec<Option<(ParticipantId, MediaLayout, bool)>>,
}
#[derive(Debug, Default)]
pub struct PeerStats {
    pub uplink_loss: f32,
    pub downlink_loss: f32,
    pub rtt: Option<Duration>,
    pub jitter: Duration,
    pub uplink_bytes: u64,
    pub downlink_bytes: u64,
}
impl Room {
    pub fn new(_: Instant, _: RoomConfig) -> Self {
        Self { peers: vec![] }
    }
    pub fn join(
        &mut self,
        _: Instant,
        p: ParticipantId,
        l: MediaLayout,
        _: Grant,
    ) -> Result<PeerIndex, JoinRefused> {
        if let Some(i) = self
            .peers
            .iter()
            .position(|x| x.as_ref().is_some_and(|x| x.0 == p))
        {
            self.peers[i] = Some((p, l, false));
            return Ok(PeerIndex(i));
        }
        if self.peers.iter().flatten().count() == 3 {
            return Err(JoinRefused);
        }
        self.peers.push(Some((p, l, false)));
        Ok(PeerIndex(self.peers.len() - 1))
    }
    pub fn ready(&mut self, _: Instant, i: PeerIndex, _: &mut impl Egress) {
        self.peers[i.0].as_mut().unwrap().2 = true;
    }
    pub fn unready(&mut self, _: Instant, _: PeerIndex, _: &mut impl Egress) {}
    pub fn path_changed(&mut self, _: Instant, _: PeerIndex, _: &mut impl Egress) {}
    pub fn leave(&mut self, _: Instant, i: PeerIndex, _: &mut impl Egress) {
        self.peers[i.0] = None;
    }
    pub fn handle_rtp(&mut self, _: Instant, from: PeerIndex, packet: &mut [u8], e: &mut impl Egress) {
        for (i, p) in self.peers.iter().enumerate() {
            if let Some(p) = p {
                if i != from.0 {
                    let d = &p.1.downlinks[if packet[1] & 0x7f == 111 { 0 } else { 1 }];
                    if let Some(b) = e.rtp_buffer(PeerIndex(i)) {
                        b[..packet.len()].copy_from_slice(packet);
                        b[8..12].copy_from_slice(&d.ssrc.to_be_bytes());
                        let n = packet.len();
                        e.send_rtp(PeerIndex(i), n);
                    }
                }
            }
        }
    }
    pub fn handle_rtcp(&mut self, _: Instant, _: PeerIndex, _: &[u8], _: &mut impl Egress) {}
    pub fn handle_timeout(&mut self, _: Instant, _: &mut impl Egress) {}
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    pub fn slots(&self, i: PeerIndex) -> [Option<ParticipantId>; 2] {
        let mut o = self
            .peers
            .iter()
            .enumerate()
            .filter(|(k, _)| *k != i.0)
            .filter_map(|(_, x)| x.as_ref().map(|x| x.0));
        [o.next(), o.next()]
    }
    pub fn stats(&self, _: PeerIndex) -> PeerStats {
        PeerStats::default()
    }
}
