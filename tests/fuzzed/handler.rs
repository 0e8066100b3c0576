//! Any bytes from an application that handles conns: nothing panics, what is held is bounded, what
//! was read is what was written, and it does not depend on how the bytes arrived.

use wsloop::proto::handler::{
    FramingError, HEAD, HandlerFrame, HandlerKind, HandlerReader, HandlerSaid, MAX_CONNS,
    MAX_WORDS, append,
};

const MAX_MESSAGE: usize = 256;
/// More than what is held of a frame that is not whole, whichever its kind.
const MOST_HELD: usize = 2 * (HEAD + MAX_MESSAGE + 4 + 8 * MAX_CONNS) + 2 * MAX_WORDS;

/// Frames by kind, conn and payload, and the error behind them.
type Read = (Vec<(u8, u64, Vec<u8>)>, Option<FramingError>);

/// Panics when a stream is read wrongly. The first byte says how it is cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = read(stream, stream.len().max(1));
    assert_eq!(whole, read(stream, usize::from(cut) + 1), "cut into pieces of {cut} + 1");
    assert_eq!(whole, read(stream, 1), "byte by byte");
    let mut again = Vec::new();
    for (kind, conn, payload) in &whole.0 {
        let Some(kind) = HandlerKind::of(*kind) else { return };
        append(kind, *conn, &[payload], &mut again);
    }
    assert!(stream.starts_with(&again), "what was read is what was written");
}

/// What comes of a stream that arrives in pieces of that size.
fn read(stream: &[u8], piece: usize) -> Read {
    let mut reader = HandlerReader::new(MAX_MESSAGE);
    let mut frames = Vec::new();
    for mut input in stream.chunks(piece) {
        loop {
            match reader.next(&mut input) {
                Ok(Some(frame)) => {
                    judge(&frame, frames.is_empty());
                    frames.push((frame.kind, frame.conn, frame.payload.to_vec()));
                }
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (frames, Some(error));
                }
            }
        }
        assert!(input.is_empty(), "bytes are left behind");
        assert!(reader.held_bytes() <= MOST_HELD.min(stream.len() * 2 + 8192));
    }
    (frames, None)
}

/// What a frame means is bounded by what is in it.
fn judge(frame: &HandlerFrame<'_>, is_first: bool) {
    if is_first && let Ok(hello) = frame.hello() {
        assert_eq!(frame.payload[..3], [0, 1, frame.payload[2]]);
        assert_eq!(hello.decides, frame.payload[2] & 1 == 1);
    }
    let most = frame.payload.len();
    match frame.said() {
        Ok(HandlerSaid::Text(_, text)) => assert!(text.len() <= MAX_MESSAGE),
        Ok(HandlerSaid::Binary(_, bytes)) => assert!(bytes.len() <= MAX_MESSAGE),
        Ok(HandlerSaid::BroadcastText(conns, text)) => {
            assert_eq!(4 + 8 * conns.len() + text.len(), most);
        }
        Ok(HandlerSaid::BroadcastBinary(conns, bytes)) => {
            assert_eq!(4 + 8 * conns.len() + bytes.len(), most);
        }
        Ok(HandlerSaid::Publish(channel, message)) => {
            assert_eq!(2 + channel.len() + message.len(), most);
        }
        Ok(HandlerSaid::Accept(_, _, headers)) => {
            assert!(
                headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= most
            );
        }
        Ok(_) => {}
        Err(wrong) => assert!(!wrong.to_string().is_empty()),
    }
}
