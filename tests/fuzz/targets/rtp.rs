//! Decrypted packets of a participant, read as RTP.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|packet: &[u8]| callkit_sfu::rtp::fuzz::rtp(packet));
