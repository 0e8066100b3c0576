//! Any bytes as what an application answers: the outcome does not depend on how they arrived, what
//! is held is bounded, and an answer ends where its own headers say.

use wsloop::proto::http::answer::{Answer, AnswerError, AnswerReader, MAX_ANSWER, MAX_BODY};

const WANTED: &[&str] = &["X-Wsloop-User", "Content-Length", "Transfer-Encoding"];

/// The answers with their bytes, and what is left when the peer hangs up within one, or the error.
type Answers<'s> = (Vec<(Answer, &'s [u8])>, Option<Result<Answer, AnswerError>>);

/// Panics when the answers are read wrongly. The first byte says how they are cut.
pub fn check(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else { return };
    let whole = answers(stream, stream.len().max(1));
    assert_eq!(whole, answers(stream, usize::from(cut) + 1), "cut into pieces of {cut} + 1");
    assert_eq!(whole, answers(stream, 1), "byte by byte");
    for (answer, taken) in &whole.0 {
        assert!((200..600).contains(&answer.status) && answer.body.len() <= MAX_BODY);
        assert!(taken.len() <= MAX_ANSWER);
        check_end(answer, taken);
    }
}

/// The answers of a stream that arrives in pieces of that size; behind it the peer hangs up.
fn answers(stream: &[u8], piece: usize) -> Answers<'_> {
    let mut reader = AnswerReader::new(WANTED);
    let mut answers = Vec::new();
    let (mut from, mut read) = (0, 0);
    for piece in stream.chunks(piece) {
        let mut input = piece;
        read += piece.len();
        loop {
            match reader.next(&mut input) {
                Ok(Some(answer)) => {
                    assert!(!reader.is_begun());
                    let end = read - input.len();
                    answers.push((answer, &stream[from..end]));
                    from = end;
                }
                Ok(None) => break,
                Err(error) => return (answers, Some(Err(error))),
            }
        }
        assert!(input.is_empty(), "the reader left bytes behind");
    }
    assert_eq!(reader.is_begun(), from < stream.len());
    let end = reader.is_begun().then(|| reader.ended());
    (answers, end)
}

/// Holds where the answer ends against its headers, by another way than the reader's.
fn check_end(answer: &Answer, taken: &[u8]) {
    let length = answer.values("Content-Length").next();
    let chunked = answer.values("Transfer-Encoding").next().is_some();
    if answer.status == 204 || answer.status == 304 {
        assert!(answer.body.is_empty() && taken.ends_with(b"\n"));
        return;
    }
    if chunked {
        assert!(length.is_none(), "two lengths");
        assert!(taken.ends_with(b"\r\n"));
        return;
    }
    let first = length.expect("without a length it ends with the connection");
    let first = first.split(|byte| *byte == b',').next().expect("a list has a first element");
    let text = std::str::from_utf8(first).expect("digits").trim();
    let length: usize = text.parse().expect("a length");
    let (head, body) = taken.split_at(taken.len() - length);
    assert!(head.ends_with(b"\n") && body.starts_with(&answer.body));
    assert_eq!(answer.body.len(), length.min(MAX_BODY));
}
