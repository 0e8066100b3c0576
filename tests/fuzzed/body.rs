//! Any bytes as a body: what is read does not depend on how it arrived, and what is written of it
//! anew is read as the same.

use wsloop::proto::http::body::{BodyError, BodyReader, Framing, push_data, push_end};

/// Panics when a body is read wrongly. The first byte says how it is framed, the second how it is
/// cut.
pub fn check(data: &[u8]) {
    let [kind, cut, stream @ ..] = data else { return };
    let framing = match kind % 4 {
        0 => Framing::Chunked,
        1 => Framing::Sized(u64::from(kind / 4)),
        2 => Framing::UntilEnd,
        _ => Framing::Empty,
    };
    let whole = read(framing, stream, stream.len().max(1));
    assert_eq!(whole, read(framing, stream, usize::from(*cut) + 1), "cut into {cut} + 1");
    assert_eq!(whole, read(framing, stream, 1), "byte by byte");
    let Ok(body) = whole else { return };
    assert!(body.taken <= stream.len());
    if !body.done {
        assert_eq!(body.taken, stream.len(), "bytes are left behind");
        return;
    }
    let mut out = Vec::new();
    push_data(&mut out, Framing::Chunked, &body.data);
    let lines: Vec<(&str, &[u8])> =
        body.trailers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    push_end(&mut out, Framing::Chunked, &lines);
    let length = out.len();
    out.extend_from_slice(b"behind");
    // Blanks around values are gone, so no more trailers come out than went in.
    let again = read(Framing::Chunked, &out, out.len()).expect("what was written is read");
    assert_eq!((again.taken, again.done), (length, true), "the end is where it was written");
    assert_eq!((again.data, again.trailers), (body.data, body.trailers));
}

#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    taken: usize,
    done: bool,
}

/// What is read of a stream that arrives in pieces of that size.
fn read(framing: Framing, stream: &[u8], piece: usize) -> Result<Body, BodyError> {
    let mut reader = BodyReader::new(framing);
    let (mut data, mut taken) = (Vec::new(), 0);
    for piece in stream.chunks(piece) {
        let mut input = piece;
        while let Some(run) = reader.next(&mut input)? {
            assert!(!run.is_empty(), "a run of nothing");
            data.extend_from_slice(run);
        }
        taken += piece.len() - input.len();
    }
    let owned = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
    let trailers = reader.trailers().into_iter().map(owned).collect();
    Ok(Body { data, trailers, taken, done: reader.is_done() })
}
