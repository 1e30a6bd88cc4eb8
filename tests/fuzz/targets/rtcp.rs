//! Decrypted packets of a participant, read as RTCP compounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|compound: &[u8]| callkit_sfu::rtp::fuzz::rtcp(compound));
