//! Any bytes as compressed frames, as a message to compress and as an offer: inflating does not
//! depend on how the bytes arrived and agrees with another inflater, compressing loses nothing, and
//! an offer is answered with what may stand in a header.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};
use wsloop::proto::ws::deflate::{Compression, Deflater, negotiate};
use wsloop::proto::ws::frame::{Opcode, ProtocolError, Role, encode_deflated, encode_masked};
use wsloop::proto::ws::message::{Event, Limits, Reader};

const MAX_MESSAGE: usize = 10_000;

/// Panics when something is compressed, inflated or answered wrongly. The first byte says what the
/// rest is, and how it is cut.
pub fn check(data: &[u8]) {
    let Some((&how, rest)) = data.split_first() else { return };
    match how % 4 {
        0 => offer(rest),
        1 => round_trip(rest, how),
        _ => inflate(rest, usize::from(how) + 1),
    }
}

fn offer(line: &[u8]) {
    for compression in [Compression::Shared, Compression::Dedicated] {
        if let Some((_, answer)) = negotiate([line], compression, 4096) {
            assert!(answer.starts_with("permessage-deflate"), "{answer}");
            assert!(answer.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{answer:?}");
        }
    }
}

fn round_trip(message: &[u8], how: u8) {
    let bits = 8 + how % 8;
    let mut deflater = Deflater::default();
    let Some(compressed) = deflater.compress(message, bits) else { return };
    assert!(compressed.len() < message.len());
    // What we send has no mask; what we read has one.
    assert_eq!(encode_deflated(Opcode::Binary, compressed)[0], 0xc2);
    let read = read(compressed, usize::from(how) + 1);
    match message.len() <= MAX_MESSAGE {
        true => assert_eq!(read, Ok(Some(message.to_vec()))),
        false => assert_eq!(read, Err(ProtocolError::MessageTooBig)),
    }
}

fn inflate(payload: &[u8], piece: usize) {
    let whole = read(payload, usize::MAX);
    assert_eq!(whole, read(payload, piece), "in pieces of {piece}");
    assert_eq!(whole, read(payload, 1), "byte by byte");
    if payload.is_empty() {
        // Not a stream, but no harm: what is nothing inflates to nothing.
        return assert_eq!(whole, Ok(Some(Vec::new())));
    }
    // Behind a message comes what was taken off its end, and here the end of the stream.
    let stream = [payload, &[0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff]].concat();
    let theirs = decompress_to_vec_with_limit(&stream, MAX_MESSAGE);
    match (whole, theirs) {
        // Theirs ends at the first block that says it is the last one.
        (Ok(Some(ours)), Ok(theirs)) => assert!(ours.starts_with(&theirs)),
        (Ok(Some(ours)), Err(error)) => panic!("{} bytes against {error}", ours.len()),
        (Err(ProtocolError::MessageTooBig), Err(error)) => {
            assert_eq!(error.status, TINFLStatus::HasMoreOutput);
        }
        (Ok(None), _) => panic!("a whole frame is no message"),
        (Err(_), _) => {}
    }
}

/// What comes of a payload in one compressed frame that arrives in pieces of that size.
fn read(payload: &[u8], piece: usize) -> Result<Option<Vec<u8>>, ProtocolError> {
    let limits = Limits {
        role: Role::Server,
        max_message: MAX_MESSAGE,
        max_fragments: 10,
        compression: true,
    };
    let mut stream = Vec::new();
    encode_masked(Opcode::Binary, payload, [1, 2, 3, 4], &mut stream);
    stream[0] |= 0x40;
    let mut reader = Reader::new();
    let length = stream.len();
    for piece in stream.chunks_mut(piece.min(length)) {
        let mut input = piece;
        match reader.next(&mut input, &limits)? {
            None => {}
            Some(Event::Message { data, .. }) => return Ok(Some(data.into_owned())),
            Some(event) => panic!("{event:?}"),
        }
    }
    Ok(None)
}
