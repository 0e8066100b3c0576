//! Messages of several streams, of both roles, and of damaged streams.

use super::*;

#[test]
fn cross_connection_fragments() {
    let (mut a, mut b) = (Reader::new(), Reader::new());
    let open = read(&mut a, &frame(0x01, b"ALICE-SECRET "), &LIMITS);
    assert_eq!(open, (vec![], None));
    let orphan = read(&mut b, &frame(0x80, b"+bob tail"), &LIMITS);
    assert_eq!(orphan, (vec![], Some(ProtocolError::UnexpectedContinuation)));
    let rest = read(&mut a, &frame(0x80, b"+alice tail"), &LIMITS);
    assert_eq!(rest, (vec![text("ALICE-SECRET +alice tail")], None));
}

#[test]
fn orphan_continuation() {
    for first in [0x00, 0x80] {
        for payload in [b"".as_slice(), b"orphan"] {
            let error = ProtocolError::UnexpectedContinuation;
            assert_eq!(error.close_code(), 1002);
            check_bad("orphan", &[frame(first, payload)], &[], error);
        }
    }
}

#[test]
fn peer_closes_while_another_is_mid_message() {
    let (mut a, mut b) = (Reader::new(), Reader::new());
    assert_eq!(read(&mut a, &frame(0x02, b"first "), &LIMITS), (vec![], None));
    let closed = read(&mut b, &frame(0x88, b"\x03\xe8"), &LIMITS);
    assert_eq!(closed, (vec![close(1000, "")], None));
    drop(b);
    let done = read(&mut a, &frame(0x80, b"second"), &LIMITS);
    assert_eq!(done, (vec![binary(b"first second")], None));
}

#[test]
fn fragment_sum_over_limit() {
    assert_eq!(ProtocolError::MessageTooBig.close_code(), 1009);
    let fits = [frame(0x02, &[1; 600]), frame(0x00, b""), frame(0x80, &[2; 400])];
    check_good("just fits", &fits, &[binary(&[[1; 600].as_slice(), &[2; 400]].concat())]);
    for last in [0x80, 0x00] {
        let over = [frame(0x02, &[1; 600]), frame(0x89, b"?"), frame(last, &[2; 401])];
        check_bad("one over", &over, &[ping(b"?")], ProtocolError::MessageTooBig);
    }
}

#[test]
fn ping_payload_echo() {
    for payload in [b"".as_slice(), b"\0\xff", &[0x55; 125]] {
        let (events, _) = run([&*frame(0x89, payload)], &LIMITS);
        let [Event::Ping(payload)] = &events[..] else { panic!("{events:?}") };
        let answer = encode(Opcode::Pong, payload);
        let browser = Limits { role: Role::Client, ..LIMITS };
        check("echo", &answer, &browser, &(vec![pong(payload)], None));
    }
}

#[test]
fn close_code_echo() {
    let (events, _) = run([&*frame(0x88, b"\x0f\xa1reason")], &LIMITS);
    let [Event::Close(Some((code, _)))] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*encode_close(Some(*code), ""), *b"\x88\x02\x0f\xa1");
}

#[test]
fn empty_message_versus_no_data() {
    let mut reader = Reader::new();
    assert_eq!(read(&mut reader, b"", &LIMITS), (vec![], None));
    assert_eq!(read(&mut reader, &frame(0x81, b""), &LIMITS), (vec![text("")], None));
    assert_eq!(read(&mut reader, b"", &LIMITS), (vec![], None));
}

#[test]
fn both_roles_read_what_the_other_encodes() {
    let long = vec![b'z'; 70_000];
    let sent: &[(Opcode, &[u8], Event<'static>)] = &[
        (Opcode::Text, "héllo".as_bytes(), text("héllo")),
        (Opcode::Binary, b"", binary(b"")),
        (Opcode::Binary, &long[..126], binary(&long[..126])),
        (Opcode::Ping, b"?", ping(b"?")),
        (Opcode::Text, &long, text(std::str::from_utf8(&long).unwrap())),
        (Opcode::Pong, b"!", pong(b"!")),
    ];
    let (mut from_server, mut from_client) = (Vec::new(), Vec::new());
    let mut events = Vec::new();
    for (opcode, payload, event) in sent {
        from_server.extend_from_slice(&encode(*opcode, payload));
        encode_masked(*opcode, payload, KEY, &mut from_client);
        events.push(event.clone());
    }
    from_server.extend_from_slice(&encode_close(Some(1001), "bye"));
    encode_masked(Opcode::Close, b"\x03\xe9bye", KEY, &mut from_client);
    events.push(close(1001, "bye"));
    let limits = Limits { max_message: 70_000, ..LIMITS };
    check("server", &from_client, &limits, &(events.clone(), None));
    let client = Limits { role: Role::Client, ..limits };
    check("client", &from_server, &client, &(events, None));
    check("client", &from_client, &client, &(vec![], Some(ProtocolError::Masked)));
    check("server", &from_server, &limits, &(vec![], Some(ProtocolError::NotMasked)));
}

/// A linear congruential generator (Knuth's MMIX constants): the same numbers everywhere.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }

    fn payload(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Some message, as fragments with control frames between them, and the events it makes.
    fn message(&mut self) -> (Vec<u8>, Vec<Event<'static>>) {
        let is_text = self.below(2) == 0;
        let data = if is_text {
            let alphabet = ['a', ' ', 'é', '€', '😀', '\u{10ffff}'];
            let len = self.below(40);
            (0..len).map(|_| alphabet[self.below(6)]).collect::<String>().into_bytes()
        } else {
            self.payload(300)
        };
        let kind = if is_text { Kind::Text } else { Kind::Binary };
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        let (mut rest, mut opcode) = (&data[..], if is_text { 1 } else { 2 });
        for _ in 0..self.below(6) {
            let (front, back) = rest.split_at(self.below(rest.len() + 1));
            bytes.extend(frame(opcode, front));
            (rest, opcode) = (back, 0);
            if self.below(3) == 0 {
                let payload = self.payload(125);
                bytes.extend(frame(0x89, &payload));
                events.push(ping(&payload));
            }
        }
        bytes.extend(frame(0x80 | opcode, rest));
        events.push(Event::Message { kind, data: Cow::Owned(data) });
        (bytes, events)
    }

    /// The same bytes in reads of random lengths, empty ones among them.
    fn cut<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let most = [3, 30, 300][self.below(3)];
        let mut reads = Vec::new();
        while !bytes.is_empty() {
            let (front, back) = bytes.split_at(self.below(most + 1).min(bytes.len()));
            reads.push(front);
            bytes = back;
        }
        reads
    }
}

#[test]
fn random_streams_in_random_reads() {
    for seed in 0..200 {
        let mut lcg = Lcg(seed);
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        for _ in 0..lcg.below(8) {
            let (more, events) = lcg.message();
            bytes.extend(more);
            expected.extend(events);
        }
        for _ in 0..10 {
            let reads = lcg.cut(&bytes);
            let outcome = run(reads, &LIMITS);
            assert!(outcome == (expected.clone(), None), "seed {seed}: {outcome:.500?}");
        }
    }
}

/// A peer that errs is judged the same however its bytes arrive.
#[test]
fn damaged_streams_in_random_reads() {
    let mut errors = Vec::new();
    for seed in 0..2000 {
        let mut lcg = Lcg(seed);
        let mut bytes: Vec<u8> = (0..4).flat_map(|_| lcg.message().0).collect();
        for _ in 0..=lcg.below(3) {
            let at = lcg.below(bytes.len());
            bytes[at] ^= 1 << lcg.below(8);
        }
        let whole = run([&bytes[..]], &LIMITS);
        assert!(run(bytes.chunks(1), &LIMITS) == whole, "seed {seed}: byte by byte");
        for _ in 0..5 {
            let reads = lcg.cut(&bytes);
            assert!(run(reads, &LIMITS) == whole, "seed {seed}");
        }
        if let Some(error) = whole.1
            && !errors.contains(&error)
        {
            errors.push(error);
        }
    }
    assert!(errors.len() >= 8, "the damage is too tame: {errors:?}");
}
