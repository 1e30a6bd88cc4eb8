//! A TCP stream of a stranger, in pieces of any size: cut into datagrams, or given up.
#![no_main]

use callkit_sfu::transport::framing::{Deframer, MAX_FRAME};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else { return };
    let mut whole = Vec::new();
    let mut deframer = Deframer::default();
    let one = deframer.push(&mut stream.to_vec(), |datagram| whole.push(datagram.to_vec()));
    let mut pieces = Vec::new();
    let mut deframer = Deframer::default();
    let cut = stream
        .chunks(usize::from(*first).max(1))
        .try_for_each(|piece| deframer.push(&mut piece.to_vec(), |datagram| pieces.push(datagram.to_vec())));
    assert_eq!(one, cut, "how it is cut decides nothing");
    assert_eq!(whole, pieces);
    assert!(whole.iter().all(|datagram| datagram.len() <= MAX_FRAME));
});
