//! Offers as a stranger may send them: read, checked against the layout, answered.
#![no_main]

use callkit_core::id::IdSource;
use callkit_core::redact::Secret;
use callkit_sfu::sdp::{AnswerConfig, Candidate, CodecSet, Offer, negotiate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(offer) = Offer::parse(text) else { return };
    let mut random = IdSource::seeded(1);
    let Ok(agreed) = negotiate(&offer, &CodecSet::default_video(), None, &mut random) else { return };
    let answer = agreed.answer(&AnswerConfig {
        ufrag: "server",
        pwd: &Secret::new("0123456789abcdef01234567".to_owned()),
        fingerprint: offer.fingerprint,
        candidates: &[Candidate::TcpPassive(([192, 0, 2, 1], 40000).into())],
        session: 1,
        version: 1,
    });
    assert!(answer.lines().all(|line| line.len() < 16 * 1024), "no line of the answer grows with the offer");
    assert!(!answer.contains("a=crypto"), "keys are never in the text");
});
