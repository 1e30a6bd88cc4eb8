//! Entry points for fuzzing and property tests: each reads everything that the parsers offer.

use super::packet::Packet;
use super::rtcp;

/// Reads `bytes` as RTP.
pub fn rtp(bytes: &[u8]) {
    let Ok(packet) = Packet::parse(bytes) else { return };
    assert!(
        packet.payload().len() <= bytes.len(),
        "a payload is part of its packet"
    );
    let values: usize = packet.extensions().map(|(_, value)| value.len()).sum();
    assert!(values <= bytes.len(), "extension values are part of the packet");
    let _ = (
        packet.ssrc(),
        packet.sequence(),
        packet.timestamp(),
        packet.marker(),
        packet.payload_type(),
    );
}

/// Reads `bytes` as a compound of RTCP packets.
pub fn rtcp(bytes: &[u8]) {
    for packet in rtcp::Compound::new(bytes) {
        match packet {
            rtcp::Rtcp::SenderReport(report) => assert!(report.blocks().count() <= 31, "five bit count"),
            rtcp::Rtcp::ReceiverReport(report) => assert!(report.blocks().count() <= 31, "five bit count"),
            rtcp::Rtcp::Nack(nack) => {
                assert!(nack.sequences().count() <= bytes.len() * 17 / 4, "17 per entry")
            }
            rtcp::Rtcp::TransportCc(feedback) => {
                assert!(
                    feedback.statuses().count() <= usize::from(u16::MAX),
                    "16 bit count"
                );
            }
            rtcp::Rtcp::Bye(bye) => assert!(bye.sources().count() <= 31, "five bit count"),
            rtcp::Rtcp::Fir(fir) => assert!(fir.targets().count() <= bytes.len() / 8, "8 bytes per entry"),
            rtcp::Rtcp::Pli { .. } | rtcp::Rtcp::ReceiverEstimate { .. } | rtcp::Rtcp::Other { .. } => {}
        }
    }
}
