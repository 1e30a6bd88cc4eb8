//! Frames of `callkit.v1` as a stranger may send them, in both directions.
#![no_main]

use callkit_signal::codec::{Incoming, decode_client, decode_server, encode_client, encode_server};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    match decode_client(frame) {
        Ok(message) => {
            let written = encode_client(&message);
            let again = decode_client(&written).expect("what was read can be written and read");
            assert_eq!(written, encode_client(&again), "writing loses nothing");
        }
        // Every refusal has an answer or closes the connection; making the answer must not fail either.
        Err(error) => drop(error.answer().map(|answer| encode_server(&answer))),
    }
    if let Ok(Incoming::Message(message)) = decode_server(frame) {
        let written = encode_server(&message);
        assert_eq!(decode_server(&written), Ok(Incoming::Message(message)), "writing loses nothing");
    }
});
