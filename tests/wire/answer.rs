//! The response reader from outside: what it makes of answers, however they are cut, and the
//! request that is written to get one.

use wsloop::internals::access::ask::question;
use wsloop::internals::access::proxies::Client;
use wsloop::proto::http;
use wsloop::proto::http::answer::{
    Answer, AnswerError, AnswerReader, MAX_ANSWER, MAX_BODY, MAX_HEAD,
};
use wsloop::{AskSettings, Target};

const WANTED: &[&str] = &["X-User", "X-Groups"];

/// The answers, and the error that ends the stream.
type Outcome = (Vec<Answer>, Option<AnswerError>);

fn replay<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Outcome, AnswerReader) {
    let mut reader = AnswerReader::new(WANTED);
    let mut answers = Vec::new();
    for mut input in pieces {
        loop {
            match reader.next(&mut input) {
                Ok(Some(answer)) => answers.push(answer),
                Ok(None) => break,
                Err(error) => return ((answers, Some(error)), reader),
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    ((answers, None), reader)
}

/// Replays whole, in two pieces cut at every byte, and byte by byte; returns the one outcome.
fn replay_all_ways(stream: &[u8]) -> (Outcome, AnswerReader) {
    let (whole, reader) = replay([stream]);
    let text = stream[..stream.len().min(200)].escape_ascii();
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(replay([head, tail]).0, whole, "{text} cut at {at}");
    }
    assert_eq!(replay(stream.chunks(1)).0, whole, "{text} byte by byte");
    (whole, reader)
}

#[track_caller]
fn one(stream: &[u8]) -> Answer {
    let ((mut answers, error), _) = replay_all_ways(stream);
    assert_eq!((answers.len(), error), (1, None), "{}", stream.escape_ascii());
    answers.remove(0)
}

#[test]
fn what_an_answer_says() {
    let answer = one(b"HTTP/1.1 200 OK\r\nx-user:  john \r\nX-Groups: a\r\nServer: s\r\n\
                       X-GROUPS: b,\xff\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((answer.status, answer.keeps_alive), (200, true));
    assert_eq!(answer.body, b"hi");
    assert_eq!(answer.values("X-User").collect::<Vec<_>>(), [b"john"]);
    assert_eq!(answer.values("x-groups").collect::<Vec<_>>(), [&b"a"[..], b"b,\xff"]);
    assert_eq!(answer.values("Server").count(), 0);
}

#[test]
fn where_an_answer_ends_and_whether_the_connection_goes_on() {
    let table: &[(&str, u16, &str, bool)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        ("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        ("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!", 403, "no!", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1,1\r\nContent-Length: 1\r\n\r\na", 200, "a", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: Close\r\n\r\na", 200, "a", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, close\r\n\r\na", 200, "a", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", 200, "a", false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na", 200, "a", true),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive, close\r\n\r\na",
            200,
            "a",
            false,
        ),
        ("HTTP/1.1 204 None\r\n\r\n", 204, "", true),
        ("HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", 204, "", true),
        ("HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n", 204, "", false),
        ("HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", false),
        ("HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", 304, "", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n00a;x=\"y\"\r\n\
             0123456789\r\n0\r\n\r\n",
            200,
            "ab0123456789",
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\nC: d\r\n\r\n",
            200,
            "",
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-User: a\r\n\r\n\
             HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno",
            401,
            "no",
            true,
        ),
    ];
    for (text, status, body, keeps_alive) in table {
        let answer = one(text.as_bytes());
        let found = (answer.status, answer.body.as_slice(), answer.keeps_alive);
        assert_eq!(found, (*status, body.as_bytes(), *keeps_alive), "{text:?}");
        assert_eq!(answer.values("X-User").count(), 0, "an interim answer's: {text:?}");
        // The next answer begins where this one ends.
        let twice = [text.as_bytes(), text.as_bytes()].concat();
        let ((answers, error), _) = replay_all_ways(&twice);
        assert_eq!((answers.len(), error), (2, None), "{text:?}");
        // And until there it is not whole.
        for end in 0..text.len() {
            let ((answers, error), mut reader) = replay([&text.as_bytes()[..end]]);
            assert_eq!((answers.len(), error), (0, None), "{text:?} up to {end}");
            assert_eq!(reader.is_begun(), end > 0);
            assert_eq!(reader.ended(), Err(AnswerError::Unfinished), "{text:?} up to {end}");
        }
    }
}

#[test]
fn an_answer_without_a_length_ends_with_the_connection() {
    for version in ["1.0", "1.1"] {
        let text =
            format!("HTTP/{version} 403 No\r\nConnection: keep-alive\r\n\r\ntwo\r\n\r\nlines");
        let ((answers, error), mut reader) = replay_all_ways(text.as_bytes());
        assert_eq!((answers.len(), error), (0, None));
        let answer = reader.ended().expect("it is whole");
        assert_eq!((answer.status, answer.keeps_alive), (403, false));
        assert_eq!(answer.body, b"two\r\n\r\nlines");
    }
}

#[test]
fn answers_that_are_none() {
    use AnswerError::*;
    let headers = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n");
    let chunks =
        |chunks: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    let table = [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), StatusLine),
        ("\x15\x03\x01\0\x02".to_owned(), StatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 600 OK\r\n\r\n".to_owned(), StatusLine),
        ("HTTP/1.1 101 Switching\r\n\r\n".to_owned(), Upgrade),
        (headers("X-User : a"), HeaderLine),
        (headers("X-User: a\r\n folded"), HeaderLine),
        (headers("X-User: a\0"), HeaderLine),
        (headers(&["A: b"; 101].join("\r\n")), HeaderLine),
        (headers("Content-Length: 1\r\nContent-Length: 2"), Length),
        (headers("Content-Length: 1, 2"), Length),
        (headers("Content-Length: 1,"), Length),
        (headers("Content-Length:"), Length),
        (headers("Content-Length: +1"), Length),
        (headers("Content-Length: -1"), Length),
        (headers("Content-Length: 0x1"), Length),
        (headers("Content-Length: 1 1"), Length),
        (headers("Content-Length: 99999999999999999999"), Length),
        (headers("Content-Length: 0\r\nTransfer-Encoding: chunked"), Length),
        (headers("Transfer-Encoding: gzip, chunked"), Length),
        (headers("Transfer-Encoding: chunked, chunked"), Length),
        (headers("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Length),
        (headers("Transfer-Encoding: identity"), Length),
        (headers("Transfer-Encoding:"), Length),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), Length),
        (headers("Content-Length: 65537"), TooLarge),
        (chunks("10001\r\n"), TooLarge),
        (chunks("00000000000000001\r\n"), Chunk),
        (chunks("\r\n"), Chunk),
        (chunks("g\r\n"), Chunk),
        (chunks("+1\r\n"), Chunk),
        (chunks("1 \r\n"), Chunk),
        (chunks("1\n"), Chunk),
        (chunks("1\r\r\n"), Chunk),
        (chunks("1;a\nb"), Chunk),
        (chunks("1\r\nab"), Chunk),
        (chunks("1\r\na\n"), Chunk),
        (chunks("0\r\nA: b\n"), Chunk),
        (chunks("0\r\n\rX"), Chunk),
    ];
    for (text, expected) in table {
        let ((answers, error), _) = replay_all_ways(text.as_bytes());
        assert_eq!((answers.len(), error), (0, Some(expected)), "{text:?}");
    }
}

/// Replays whole and in pieces of several sizes, for streams too long to be cut at every byte.
fn replay_some_ways(stream: &[u8]) -> Outcome {
    let (whole, _) = replay([stream]);
    for piece in [997, MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1, MAX_ANSWER] {
        assert_eq!(replay(stream.chunks(piece)).0, whole, "in pieces of {piece}");
    }
    whole
}

#[test]
fn limits() {
    let head = |length: usize| {
        let frame = "HTTP/1.1 204 None\r\nA: \r\n\r\n".len();
        format!("HTTP/1.1 204 None\r\nA: {}\r\n\r\n", "a".repeat(length - frame))
    };
    let (answers, error) = replay_some_ways(head(MAX_HEAD).as_bytes());
    assert_eq!((answers.len(), error), (1, None));
    let (answers, error) = replay_some_ways(head(MAX_HEAD + 1).as_bytes());
    assert_eq!((answers.len(), error), (0, Some(AnswerError::HeadTooLarge)));

    let sized = |whole: usize| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 00000\r\n\r\n".len();
        let body = whole - head;
        format!("HTTP/1.1 200 OK\r\nContent-Length: {body:05}\r\n\r\n{}", "b".repeat(body))
    };
    let (answers, error) = replay_some_ways(sized(MAX_ANSWER).as_bytes());
    assert_eq!((answers.len(), error), (1, None));
    assert_eq!(answers[0].body, b"b".repeat(MAX_BODY));
    let (answers, error) = replay_some_ways(sized(MAX_ANSWER + 1).as_bytes());
    assert_eq!((answers.len(), error), (0, Some(AnswerError::TooLarge)));

    let endless = ["HTTP/1.1 200 OK\r\n\r\n", &"b".repeat(MAX_ANSWER)].concat();
    assert_eq!(replay_some_ways(endless.as_bytes()), (vec![], Some(AnswerError::TooLarge)));
    let interim = "HTTP/1.1 102 Wait\r\n\r\n".repeat(MAX_ANSWER / 20);
    assert_eq!(replay_some_ways(interim.as_bytes()), (vec![], Some(AnswerError::TooLarge)));
    let chunks = "1\r\nc\r\n".repeat(MAX_ANSWER / 6);
    let chunked = ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &chunks].concat();
    assert_eq!(replay_some_ways(chunked.as_bytes()), (vec![], Some(AnswerError::TooLarge)));
}

fn auth(host: &str, path: &str, keep_alive: bool) -> AskSettings {
    AskSettings {
        target: Target::Unix("/app.sock".into()),
        host: host.to_owned(),
        path: path.to_owned(),
        timeout_ms: 1,
        connections: 1,
        keep_alive,
        waiting: 1,
    }
}

/// The question about a request with these header lines; each character is a byte.
fn asked(lines: &str, address: &str) -> String {
    let head = format!("GET /ws/a?b=c&d=%0d%0a HTTP/1.1\r\n{lines}\r\n");
    let head: Vec<u8> = head.chars().map(|c| u8::try_from(c).expect("a byte")).collect();
    let (head, _) = http::parse_head(&head, 8192).expect("a head").expect("all of it");
    let address = Some(address.parse().expect("an address"));
    let scheme = head.header("X-Forwarded-Proto").and_then(http::Scheme::parse);
    let client = Client { address, scheme, host: None };
    let bytes =
        question(&auth("app:8000", "/auth?x", true), &head, &client).expect("nothing ends a line");
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn a_question_repeats_what_the_browser_said_of_itself() {
    let head = "Host: h\r\nCookie: a=\"b c\"; d\r\nAuthorization: Basic eA==\r\n\
                User-Agent: U (\u{e9})\r\nOrigin: https://h\r\nX-Real-IP: 6.6.6.6\r\n\
                X-Forwarded-For: 6.6.6.6\r\n\
                X-Wsloop-User: root\r\nContent-Length: 5\r\ncookie: \te=f\r\n";
    assert_eq!(
        asked(head, "::ffff:127.0.0.1"),
        "GET /auth?x HTTP/1.1\r\nHost: app:8000\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\
         X-Original-URI: /ws/a?b=c&d=%0d%0a\r\nX-Real-IP: 127.0.0.1\r\n\
         X-Forwarded-For: 127.0.0.1\r\nAuthorization: Basic eA==\r\nOrigin: https://h\r\n\
         User-Agent: U (\u{e9})\r\nCookie: a=\"b c\"; d; e=f\r\n\r\n"
    );
}

#[test]
fn a_question_says_which_scheme_a_proxy_saw_if_it_is_one() {
    for (line, expected) in [
        ("X-Forwarded-Proto: https\r\n", "X-Forwarded-Proto: https\r\n\r\n"),
        ("X-Forwarded-Proto: http\r\n", "X-Forwarded-Proto: http\r\n\r\n"),
        ("X-Forwarded-Proto: https, http\r\n", "X-Forwarded-For: ::1\r\n\r\n"),
        ("X-Forwarded-Proto: gopher\r\n", "X-Forwarded-For: ::1\r\n\r\n"),
        ("", "X-Forwarded-For: ::1\r\n\r\n"),
    ] {
        assert!(asked(line, "::1").ends_with(expected), "{line}");
    }
}

#[test]
fn a_question_says_that_it_is_the_only_one_on_its_connection() {
    let (head, _) = http::parse_head(b"GET /a HTTP/1.1\r\n\r\n", 99).expect("a head").expect("all");
    let address = Some("::1".parse().expect("an address"));
    let client = Client { address, scheme: None, host: None };
    for keep_alive in [false, true] {
        let bytes = question(&auth("h", "/", keep_alive), &head, &client).expect("a question");
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(text.contains("\r\nConnection: close\r\n"), !keep_alive, "{text}");
    }
}

#[test]
fn a_question_goes_nowhere_else() {
    let (head, _) = http::parse_head(b"GET /a HTTP/1.1\r\n\r\n", 99).expect("a head").expect("all");
    let address = Some("::1".parse().expect("an address"));
    let client = Client { address, scheme: None, host: None };
    for (host, path) in
        [("h\r\nA: b", "/"), ("h\n", "/"), ("h\0", "/"), ("h", "/ HTTP/1.1\r\nA: b")]
    {
        assert_eq!(question(&auth(host, path, false), &head, &client), None, "{host:?} {path:?}");
    }
    let mut forged = head.clone();
    forged.path = "/a\r\nX-Wsloop-User: root";
    assert_eq!(question(&auth("h", "/", false), &forged, &client), None);
}
