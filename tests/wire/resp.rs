//! The RESP3 decoder from outside: what it makes of streams, however they are cut into pieces, and
//! that it agrees with redis-protocol.

use redis_protocol::resp3::decode::complete;
use redis_protocol::resp3::types::OwnedFrame;
use wsloop::proto::resp::{Decoder, Item, Push, Reply, RespError, command};

const LIMIT: usize = 1000;

/// What comes of a stream: the items, written out, and how it ended.
type Outcome = (Vec<String>, Option<RespError>);

fn replay<'p>(limit: usize, pieces: impl IntoIterator<Item = &'p [u8]>) -> Outcome {
    let mut decoder = Decoder::new(limit);
    let mut items = Vec::new();
    for mut input in pieces {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(item)) => items.push(format!("{item:?}")),
                Ok(None) => break,
                Err(error) => return (items, Some(error)),
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    (items, None)
}

/// Replays whole, in two pieces cut at every byte, and byte by byte; returns the one outcome.
fn replay_all_ways(limit: usize, stream: &[u8]) -> Outcome {
    let whole = replay(limit, [stream]);
    let text = String::from_utf8_lossy(&stream[..stream.len().min(200)]);
    for at in 0..=stream.len() {
        let (head, tail) = stream.split_at(at);
        assert_eq!(replay(limit, [head, tail]), whole, "{text:?} cut at {at}");
    }
    assert_eq!(replay(limit, stream.chunks(1)), whole, "{text:?} byte by byte");
    whole
}

fn written(items: &[Item<'_>]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

fn message(payload: &'static [u8]) -> Item<'static> {
    Item::Push(Push::Message { channel: b"ch", payload, is_sharded: false })
}

#[test]
fn replies() {
    use Reply::*;
    let table: &[(&[u8], Reply<'_>)] = &[
        (b"+OK\r\n", Status("OK")),
        (b"+\r\n", Status("")),
        (b"+PONG\r\n", Status("PONG")),
        (b"-NOAUTH Authentication required.\r\n", Error("NOAUTH Authentication required.")),
        (b"-ERR unknown command 'a\xffb'\r\n", Error("ERR unknown command 'a")),
        (b"-\xff\r\n", Error("")),
        (b"!8\r\nERR a\r\nb\r\n", Error("ERR a\r\nb")),
        (b"!0\r\n\r\n", Error("")),
        (b":0\r\n", Integer(0)),
        (b":-9223372036854775808\r\n", Integer(i64::MIN)),
        (b":9223372036854775807\r\n", Integer(i64::MAX)),
        (b"$0\r\n\r\n", Bulk(b"")),
        (b"$5\r\n\xff\r\n\x00\n\r\n", Bulk(b"\xff\r\n\x00\n")),
        (b"$0000000003\r\nabc\r\n", Bulk(b"abc")),
        (b"=7\r\ntxt:abc\r\n", Bulk(b"abc")),
        (b"=4\r\nmkd:\r\n", Bulk(b"")),
        (b"_\r\n", Null),
        (b"$-1\r\n", Null),
        (b"*-1\r\n", Null),
        (b",3.25\r\n", Other),
        (b",-inf\r\n", Other),
        (b"#t\r\n", Other),
        (b"(3492890328409238509324850943850943825024385\r\n", Other),
        (b"*0\r\n", Aggregate),
        (b"%0\r\n", Aggregate),
        (b"~0\r\n", Aggregate),
        (b"*2\r\n*0\r\n*1\r\n_\r\n", Aggregate),
        (b"*3\r\n$-1\r\n*-1\r\n-ERR in here\r\n", Aggregate),
        // What redis-protocol has no place for: an array as a key, a key twice.
        (b"%2\r\n*1\r\n:1\r\n:2\r\n%0\r\n~1\r\n*0\r\n", Aggregate),
        (b"~2\r\n:1\r\n:1\r\n", Aggregate),
        // RESP2 has no pushes.
        (b"*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n", Aggregate),
    ];
    for (stream, reply) in table {
        let expected = (written(&[Item::Reply(*reply)]), None);
        assert_eq!(replay_all_ways(LIMIT, stream), expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn pushes() {
    let table: &[(&[u8], Push<'_>)] = &[
        (
            b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$4\r\n\x00\xff\r\n\r\n",
            Push::Message { channel: b"ch", payload: b"\x00\xff\r\n", is_sharded: false },
        ),
        (
            b">3\r\n$7\r\nmessage\r\n$0\r\n\r\n$0\r\n\r\n",
            Push::Message { channel: b"", payload: b"", is_sharded: false },
        ),
        (b">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n", Push::Subscribed { channel: b"ch" }),
        (b">3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n", Push::Unsubscribed { channel: b"ch" }),
        // The answer to UNSUBSCRIBE when there is nothing to unsubscribe.
        (b">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n", Push::Other),
        (b">3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", Push::Other),
        (b">2\r\n$4\r\npong\r\n$0\r\n\r\n", Push::Other),
        (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", Push::Other),
        (b">4\r\n$8\r\npmessage\r\n$1\r\n*\r\n$2\r\nch\r\n$2\r\nhi\r\n", Push::Other),
        (
            b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n",
            Push::Message { channel: b"c", payload: b"", is_sharded: true },
        ),
        (b">3\r\n$10\r\nssubscribe\r\n$2\r\nch\r\n:1\r\n", Push::Subscribed { channel: b"ch" }),
        (
            b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
            Push::ShardUnsubscribed { channel: b"c" },
        ),
        (b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n:1\r\n", Push::Other),
        (b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n*1\r\n$2\r\nhi\r\n", Push::Other),
        (b">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n$1\r\n1\r\n", Push::Other),
        (b">0\r\n", Push::Other),
    ];
    for (stream, push) in table {
        let expected = (written(&[Item::Push(*push)]), None);
        assert_eq!(replay_all_ways(LIMIT, stream), expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn pushes_come_anywhere_between_replies() {
    let push = ">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n";
    let stream = [push, ":1\r\n", push, push, "+OK\r\n", "$2\r\nhi\r\n", "*0\r\n", push].concat();
    let expected = [
        message(b"hi"),
        Item::Reply(Reply::Integer(1)),
        message(b"hi"),
        message(b"hi"),
        Item::Reply(Reply::Status("OK")),
        Item::Reply(Reply::Bulk(b"hi")),
        Item::Reply(Reply::Aggregate),
        message(b"hi"),
    ];
    assert_eq!(replay_all_ways(LIMIT, stream.as_bytes()), (written(&expected), None));
}

#[test]
fn hello_is_an_aggregate_whatever_the_limit() {
    let redis_7 = "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n\
        $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
        $4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n";
    let module = "*1\r\n%4\r\n$4\r\nname\r\n$10\r\ntimeseries\r\n$3\r\nver\r\n:11202\r\n\
        $4\r\npath\r\n$22\r\n/usr/lib/timeseries.so\r\n$4\r\nargs\r\n*2\r\n+a\r\n+b\r\n";
    let valkey_8 = "%8\r\n$6\r\nserver\r\n$6\r\nvalkey\r\n$7\r\nversion\r\n$5\r\n8.1.1\r\n\
        $5\r\nproto\r\n:3\r\n$2\r\nid\r\n:12\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n\
        $4\r\nrole\r\n$6\r\nmaster\r\n$17\r\navailability_zone\r\n$0\r\n\r\n\
        $7\r\nmodules\r\n*0\r\n";
    let expected = written(&[Item::Reply(Reply::Aggregate), Item::Reply(Reply::Status("OK"))]);
    for hello in [redis_7.to_owned() + "*0\r\n", redis_7.to_owned() + module, valkey_8.to_owned()] {
        let stream = hello + "+OK\r\n";
        assert_eq!(replay_all_ways(LIMIT, stream.as_bytes()), (expected.clone(), None));
        assert_eq!(replay_all_ways(0, stream.as_bytes()), (expected.clone(), None));
    }
}

#[test]
fn what_is_no_resp3_we_asked_for_is_an_error() {
    use RespError::*;
    let table: &[(&[u8], RespError)] = &[
        (b"HELLO 3\r\n", UnknownType(b'H')),
        (b"\r\n", UnknownType(b'\r')),
        (b"*1\r\n\x00", UnknownType(0)),
        (b"|1\r\n+ttl\r\n:1\r\n:2\r\n", Attribute),
        (b"*1\r\n|0\r\n:2\r\n", Attribute),
        (b"$?\r\n;1\r\na\r\n;0\r\n", Streamed),
        (b"*?\r\n.\r\n", Streamed),
        (b"*1\r\n%?\r\n", Streamed),
        (b";0\r\n", Streamed),
        (b".\r\n", Streamed),
        (b"*1\r\n>0\r\n", NestedPush),
        (b"$\r\n", BadLength),
        (b"$-\r\n", BadLength),
        (b"$--1\r\n", BadLength),
        (b"$-?\r\n", BadLength),
        (b"$1?\r\n", BadLength),
        (b"$+1\r\n", BadLength),
        (b"$ 1\r\n", BadLength),
        (b"$1x\r\n", BadLength),
        (b"$1\n", BadLength),
        (b"$-0\r\n", BadLength),
        (b"$-2\r\n", BadLength),
        (b">-1\r\n", BadLength),
        (b"%-1\r\n", BadLength),
        (b"=-1\r\n", BadLength),
        (b"=3\r\ntxt\r\n", BadLength),
        (b"$4294967296\r\n", BadLength),
        (b"$9223372036854775807\r\n", BadLength),
        (b"*9223372036854775807\r\n", BadLength),
        (b"$18446744073709551617\r\na", BadLength),
        (b"$00000000001\r\na\r\n", BadLength),
        (b"$1\r\r", BadLineEnd),
        (b"$1\r\nab\r\n", BadLineEnd),
        (b"$1\r\na\n", BadLineEnd),
        (b"$1\r\na\rb", BadLineEnd),
        (b"+OK\n", BadLineEnd),
        (b"+\n", BadLineEnd),
        (b"*1000000000\r\n", TooManyElements),
        (b"*4097\r\n", TooManyElements),
        (b"%2049\r\n", TooManyElements),
        (b"%4294967295\r\n", TooManyElements),
        (b"*2\r\n*4094\r\n", Streamed),
        (b"*2\r\n*4095\r\n", TooManyElements),
        (b"!65537\r\n", TextTooLong),
        (b":\r\n", BadValue),
        (b":one\r\n", BadValue),
        (b":9223372036854775808\r\n", BadValue),
        (b",x\r\n", BadValue),
        (b"#y\r\n", BadValue),
        (b"+\xff\r\n", BadValue),
        (b"=7\r\nxyz:abc\r\n", BadValue),
        (b">3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:one\r\n", BadValue),
    ];
    for (stream, error) in table {
        let stream = [b"+OK\r\n", *stream, b"."].concat();
        let expected = (written(&[Item::Reply(Reply::Status("OK"))]), Some(*error));
        assert_eq!(replay_all_ways(LIMIT, &stream), expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn an_error_stays_and_says_what_was_wrong() {
    for (stream, error) in [(":x\r\n", RespError::BadValue), (".\r\n", RespError::Streamed)] {
        let mut decoder = Decoder::new(LIMIT);
        assert_eq!(decoder.next(&mut stream.as_bytes()), Err(error));
        let mut input = b"+OK\r\n".as_slice();
        assert_eq!(decoder.next(&mut input), Err(error));
        assert_eq!(input, b"+OK\r\n");
    }
    assert_eq!(RespError::BadValue.to_string(), "a RESP3 value does not fit its type");
    assert_eq!(
        RespError::UnknownType(b'H').to_string(),
        "not RESP3: an item begins with byte 0x48"
    );
}

#[test]
fn nesting_has_a_limit() {
    for open in [b"*1\r\n", b"%1\r\n", b"~1\r\n"] {
        let deep = open.repeat(100_000);
        assert_eq!(replay(LIMIT, [deep.as_slice()]), (vec![], Some(RespError::TooDeep)));
        assert_eq!(replay(LIMIT, deep.chunks(3)), (vec![], Some(RespError::TooDeep)));
    }
    let eight = [b"*1\r\n".repeat(8).as_slice(), b":1\r\n"].concat();
    assert_eq!(replay_all_ways(LIMIT, &eight).0, written(&[Item::Reply(Reply::Aggregate)]));
    let nine = [b"*1\r\n".repeat(8).as_slice(), b"*0\r\n"].concat();
    assert_eq!(replay_all_ways(LIMIT, &nine), (vec![], Some(RespError::TooDeep)));
    // A push is a level too.
    let nine = [b">1\r\n", b"*1\r\n".repeat(8).as_slice(), b":1\r\n"].concat();
    assert_eq!(replay_all_ways(LIMIT, &nine), (vec![], Some(RespError::TooDeep)));
}

#[test]
fn lines_have_a_limit() {
    let text = "x".repeat(64 * 1024);
    let longest = format!("-{text}\r\n+OK\r\n");
    let items = written(&[Item::Reply(Reply::Error(&text)), Item::Reply(Reply::Status("OK"))]);
    let too_long = format!("-{text}x\r\n+OK\r\n");
    for piece in [1, 1000, 64 * 1024 + 1, 64 * 1024 + 2, usize::MAX] {
        assert_eq!(replay(LIMIT, longest.as_bytes().chunks(piece)), (items.clone(), None));
        let error = (vec![], Some(RespError::TextTooLong));
        assert_eq!(replay(LIMIT, too_long.as_bytes().chunks(piece)), error);
    }
    let blob = format!("!{}\r\n{text}\r\n+OK\r\n", text.len());
    assert_eq!(replay(LIMIT, [blob.as_bytes()]), (items, None));
}

#[test]
fn elements_have_a_limit() {
    let most = [b"*4096\r\n".as_slice(), &b":1\r\n".repeat(4096)].concat();
    let expected = (written(&[Item::Reply(Reply::Aggregate); 2]), None);
    assert_eq!(replay(LIMIT, [most.as_slice(), most.as_slice()]), expected);
}

#[test]
fn what_is_too_large_is_skipped() {
    let table: &[(&[u8], Item<'_>)] = &[
        (b"$4\r\nabcd\r\n", Item::Reply(Reply::Bulk(b"abcd"))),
        (b"$5\r\nabcde\r\n", Item::Reply(Reply::TooLarge)),
        (b"$6\r\n\r\n\r\n\r\n\r\n", Item::Reply(Reply::TooLarge)),
        (b"=8\r\ntxt:abcd\r\n", Item::Reply(Reply::Bulk(b"abcd"))),
        (b"=9\r\ntxt:abcde\r\n", Item::Reply(Reply::TooLarge)),
        (b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$4\r\nabcd\r\n", message(b"abcd")),
        (b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nabcde\r\n", Item::Push(Push::TooLarge)),
        (b">3\r\n$7\r\nmessage\r\n*1\r\n$5\r\nabcde\r\n:1\r\n", Item::Push(Push::TooLarge)),
        (b">4\r\n:1\r\n:1\r\n$5\r\nabcde\r\n*-1\r\n", Item::Push(Push::TooLarge)),
        (b">4\r\n:1\r\n:1\r\n$5\r\nabcde\r\n*0\r\n", Item::Push(Push::TooLarge)),
        (b"!5\r\nabcde\r\n", Item::Reply(Reply::Error("abcde"))),
    ];
    for (stream, item) in table {
        let stream = [*stream, b"+OK\r\n"].concat();
        let expected = (written(&[*item, Item::Reply(Reply::Status("OK"))]), None);
        assert_eq!(replay_all_ways(4, &stream), expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn names_and_fields_have_a_limit_of_their_own() {
    let ok = Item::Reply(Reply::Status("OK"));
    let most = "n".repeat(64 * 1024);
    for (name, fits) in [(most.clone(), true), (most + "n", false)] {
        let bulk = format!("${}\r\n{name}\r\n", name.len());
        let channel = format!(">3\r\n$7\r\nmessage\r\n{bulk}$0\r\n\r\n+OK\r\n");
        let read = Push::Message { channel: name.as_bytes(), payload: b"", is_sharded: false };
        let push = if fits { read } else { Push::TooLarge };
        let expected = (written(&[Item::Push(push), ok]), None);
        assert_eq!(replay(4, channel.as_bytes().chunks(1000)), expected);
        // A high limit for values is none for names.
        assert_eq!(replay(1 << 20, [channel.as_bytes()]), expected);

        let field = format!("%1\r\n:1\r\n*2\r\n{bulk}:1\r\n+OK\r\n");
        let reply = if fits { Reply::Aggregate } else { Reply::TooLarge };
        let expected = (written(&[Item::Reply(reply), ok]), None);
        assert_eq!(replay(4, field.as_bytes().chunks(1000)), expected);
        let expected = (written(&[Item::Reply(Reply::Aggregate), ok]), None);
        assert_eq!(replay(1 << 20, [field.as_bytes()]), expected);
    }
}

#[test]
fn ten_mebibytes_stream_by() {
    let size = 10 << 20;
    let bulk = [format!("${size}\r\n").into_bytes(), vec![b'\n'; size], b"\r\n".into()].concat();
    let push = [b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n".as_slice(), &bulk].concat();
    let array = [b"*2\r\n".as_slice(), &bulk, b":1\r\n"].concat();
    let stream = [&bulk, b"+OK\r\n".as_slice(), &push, &array, b":7\r\n"].concat();
    let expected = written(&[
        Item::Reply(Reply::TooLarge),
        Item::Reply(Reply::Status("OK")),
        Item::Push(Push::TooLarge),
        Item::Reply(Reply::TooLarge),
        Item::Reply(Reply::Integer(7)),
    ]);
    for piece in [999, 4096, usize::MAX] {
        assert_eq!(replay(4, stream.chunks(piece)), (expected.clone(), None));
    }
}

#[test]
fn whole_items_are_borrowed_from_the_input() {
    let stream = b"$5\r\nhello\r\n>3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$2\r\nhi\r\n";
    let range = stream.as_ptr_range();
    let mut decoder = Decoder::new(LIMIT);
    let mut input = stream.as_slice();
    let mut seen = 0;
    while let Some(item) = decoder.next(&mut input).expect("the stream is valid") {
        let (Item::Reply(Reply::Bulk(bytes)) | Item::Push(Push::Message { payload: bytes, .. })) =
            item
        else {
            panic!("{item:?} is neither");
        };
        assert!(range.contains(&bytes.as_ptr()));
        seen += 1;
    }
    assert_eq!(seen, 2);
}

/// A linear congruential generator; the high bits of its state are the better ones.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    fn bulk(&mut self, out: &mut Vec<u8>) {
        let len = self.below(30);
        out.extend_from_slice(format!("${len}\r\n").as_bytes());
        out.extend((0..len).map(|_| b"\r\n$:*ab\x00\xff"[self.below(9)]));
        out.extend_from_slice(b"\r\n");
    }

    fn scalar(&mut self, out: &mut Vec<u8>) {
        let number = self.below(1 << 31) as i64 - (1 << 30);
        let text = match self.below(9) {
            0 => format!("+{number}\r\n"),
            1 => format!("-ERR {number}\r\n"),
            2 => format!(":{number}\r\n"),
            3 => format!(",{number}.5\r\n"),
            4 => "#f\r\n".to_owned(),
            5 => "_\r\n".to_owned(),
            6 => "=7\r\ntxt:a\r\n\r\n".to_owned(),
            7 => "!5\r\nERR \r\r\n".to_owned(),
            _ => return self.bulk(out),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn item(&mut self, out: &mut Vec<u8>) {
        let count = self.below(5);
        match self.below(9) {
            0 => out.extend_from_slice(format!("*{count}\r\n").as_bytes()),
            1 => out.extend_from_slice(format!("~{count}\r\n").as_bytes()),
            2 => out.extend_from_slice(format!(">{count}\r\n").as_bytes()),
            3 => {
                out.extend_from_slice(format!("%{count}\r\n").as_bytes());
                (0..count).for_each(|_| self.bulk(out));
            }
            kind @ 4..=6 => {
                let kind = ["$7\r\nmessage", "$9\r\nsubscribe", "$11\r\nunsubscribe"][kind - 4];
                out.extend_from_slice(format!(">3\r\n{kind}\r\n").as_bytes());
                self.bulk(out);
                return self.scalar(out);
            }
            _ => return self.scalar(out),
        }
        (0..count).for_each(|_| self.scalar(out));
    }
}

/// What redis-protocol makes of a frame, in our words.
fn in_our_words(frame: &OwnedFrame) -> Item<'_> {
    let text = |bytes| std::str::from_utf8(bytes).expect("texts here are ASCII");
    Item::Reply(match frame {
        OwnedFrame::SimpleString { data, .. } => Reply::Status(text(data)),
        OwnedFrame::SimpleError { data, .. } => Reply::Error(data),
        OwnedFrame::BlobError { data, .. } => Reply::Error(text(data)),
        OwnedFrame::Number { data, .. } => Reply::Integer(*data),
        OwnedFrame::BlobString { data, .. } => Reply::Bulk(data),
        OwnedFrame::VerbatimString { data, .. } => Reply::Bulk(data),
        OwnedFrame::Null => Reply::Null,
        OwnedFrame::Double { .. } | OwnedFrame::Boolean { .. } => Reply::Other,
        OwnedFrame::Array { .. } | OwnedFrame::Map { .. } | OwnedFrame::Set { .. } => {
            Reply::Aggregate
        }
        OwnedFrame::Push { data, .. } => {
            use OwnedFrame::{BlobString, Number};
            return Item::Push(match data.as_slice() {
                [
                    BlobString { data: kind, .. },
                    BlobString { data: channel, .. },
                    BlobString { data: payload, .. },
                ] if kind == b"message" || kind == b"smessage" => {
                    Push::Message { channel, payload, is_sharded: kind == b"smessage" }
                }
                [
                    BlobString { data: kind, .. },
                    BlobString { data: channel, .. },
                    Number { .. },
                ] => match &kind[..] {
                    b"subscribe" | b"ssubscribe" => Push::Subscribed { channel },
                    b"unsubscribe" => Push::Unsubscribed { channel },
                    b"sunsubscribe" => Push::ShardUnsubscribed { channel },
                    _ => Push::Other,
                },
                _ => Push::Other,
            });
        }
        other => panic!("{other:?} is not generated"),
    })
}

#[test]
fn agrees_with_redis_protocol() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..2000 {
        let (mut random, mut stream) = (Random(seed), Vec::new());
        (0..20).for_each(|_| random.item(&mut stream));
        let (mut expected, mut rest) = (Vec::new(), stream.as_slice());
        while !rest.is_empty() {
            let item = complete::decode(rest).expect("generated items are valid");
            let (frame, used) = item.expect("generated items are complete");
            let item = format!("{:?}", in_our_words(&frame));
            kinds.insert(item.split(['(', '{']).take(2).collect::<String>());
            expected.push(item);
            rest = &rest[used..];
        }
        assert_eq!(expected.len(), 20);
        assert_eq!(replay(LIMIT, [stream.as_slice()]), (expected.clone(), None), "seed {seed}");
        let pieces = stream.chunks(1 + random.below(40));
        assert_eq!(replay(LIMIT, pieces), (expected, None), "seed {seed}");
    }
    // Statuses, errors, integers, strings, nulls, others, aggregates; three pushes, and others.
    assert_eq!(kinds.len(), 11, "{kinds:?}");
}

#[test]
fn commands_are_arrays_of_bulk_strings() {
    let mut out = b"before".to_vec();
    command(&mut out, &[b"HELLO", b"3"]);
    command(&mut out, &[b"SET", b"k\r\n", b"", b"EX", b"10"]);
    command(&mut out, &[b"PING".as_slice(); 12]);
    let mut expected = b"before*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n\
        *5\r\n$3\r\nSET\r\n$3\r\nk\r\n\r\n$0\r\n\r\n$2\r\nEX\r\n$2\r\n10\r\n*12\r\n"
        .to_vec();
    expected.extend(b"$4\r\nPING\r\n".repeat(12));
    assert_eq!(out.escape_ascii().to_string(), expected.escape_ascii().to_string());
}
