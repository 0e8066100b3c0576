//! permessage-deflate from both sides: what is agreed on, what becomes of messages and what comes
//! back, against Python's zlib (vectors) and against a slow inflater that measures distances.

use wsloop::proto::ws::deflate::{Agreement, Compression, Deflater, Inflater, Window, negotiate};
use wsloop::proto::ws::frame::ProtocolError;

#[test]
fn offers_and_answers() {
    let shared = "; server_no_context_takeover; client_no_context_takeover";
    // Lines of the header, and what follows the extension's name in the two answers.
    let rows: &[(&[&str], &str, &str)] = &[
        (&["permessage-deflate"], shared, ""),
        (&["permessage-deflate; client_max_window_bits"], shared, "; client_max_window_bits=12"),
        (&["permessage-deflate;client_max_window_bits=9"], shared, "; client_max_window_bits=9"),
        (&["permessage-deflate; client_max_window_bits=15"], shared, "; client_max_window_bits=12"),
        (
            &["permessage-deflate; server_no_context_takeover"],
            shared,
            "; server_no_context_takeover",
        ),
        (
            &["permessage-deflate; client_no_context_takeover ; client_max_window_bits"],
            shared,
            "; client_no_context_takeover",
        ),
        (
            &["permessage-deflate ; server_max_window_bits = 10"],
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10",
            "; server_max_window_bits=10",
        ),
        (
            &["permessage-deflate; server_max_window_bits=\"8\"; client_max_window_bits=\"13\""],
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=8",
            "; server_max_window_bits=8; client_max_window_bits=12",
        ),
        // What cannot be taken is passed over, in whatever line.
        (&["x-webkit-deflate-frame, permessage-deflate"], shared, ""),
        (&["permessage-deflate; x, permessage-deflate"], shared, ""),
        (&["", " ,, ", "a; b=\"permessage-deflate, c\"", "permessage-deflate"], shared, ""),
        (&["a; b=\"\\\", permessage-deflate; \\\"\"", "permessage-deflate"], shared, ""),
        (&["permessage-deflate; server_max_window_bits=16, permessage-deflate"], shared, ""),
        (
            &["permessage-deflate; server_max_window_bits=9", "permessage-deflate"],
            "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9",
            "; server_max_window_bits=9",
        ),
    ];
    for (lines, in_shared, in_dedicated) in rows {
        let answer = |compression| {
            let lines = lines.iter().map(|line| line.as_bytes());
            negotiate(lines, compression, 4096).map(|(_, answer)| answer)
        };
        assert_eq!(answer(Compression::Off), None, "{lines:?}");
        let expected = format!("permessage-deflate{in_shared}");
        assert_eq!(answer(Compression::Shared), Some(expected), "{lines:?}");
        let expected = format!("permessage-deflate{in_dedicated}");
        assert_eq!(answer(Compression::Dedicated), Some(expected), "{lines:?}");
    }
}

#[test]
fn offers_that_are_declined() {
    for parameters in [
        "; ",
        "; x",
        "; x=1",
        "; =8",
        "; server_no_context_takeover=1",
        "; server_no_context_takeover=\"\"",
        "; client_no_context_takeover=10",
        "; client_no_context_takeover=true",
        "; server_no_context_takeover; server_no_context_takeover",
        "; client_no_context_takeover; client_no_context_takeover",
        "; server_max_window_bits",
        "; server_max_window_bits=",
        "; server_max_window_bits=\"\"",
        "; server_max_window_bits=\"10",
        "; server_max_window_bits=10\"",
        "; server_max_window_bits=\"10\"\"",
        "; server_max_window_bits=7",
        "; server_max_window_bits=16",
        "; server_max_window_bits=08",
        "; server_max_window_bits=+8",
        "; server_max_window_bits=-8",
        "; server_max_window_bits=8.0",
        "; server_max_window_bits=0x8",
        "; server_max_window_bits=1 0",
        "; server_max_window_bits=266",
        "; server_max_window_bits=99999999999999999999",
        "; server_max_window_bits=10; server_max_window_bits=10",
        "; client_max_window_bits=",
        "; client_max_window_bits=7",
        "; client_max_window_bits=16",
        "; client_max_window_bits=09",
        "; client_max_window_bits; client_max_window_bits",
        "; client_max_window_bits; client_max_window_bits=10",
        "; Server_No_Context_Takeover",
        "=8",
        "\u{e9}",
        "x",
    ] {
        let offer = format!("permessage-deflate{parameters}");
        for compression in [Compression::Shared, Compression::Dedicated] {
            assert_eq!(negotiate([offer.as_bytes()], compression, 4096), None, "{offer}");
        }
    }
    for offer in ["", "deflate", "Permessage-Deflate", "\"permessage-deflate\"", "; ,;=,\"\\"] {
        assert_eq!(negotiate([offer.as_bytes()], Compression::Shared, 4096), None, "{offer}");
    }
    assert_eq!(negotiate([], Compression::Shared, 4096), None);
}

#[test]
fn what_is_agreed_on() {
    let agreed = |offer: &str, compression| {
        let offer = format!("permessage-deflate{offer}");
        negotiate([offer.as_bytes()], compression, 4096).expect("an offer that is taken").0
    };
    let plain = Agreement {
        server_bits: 15,
        server_takeover: false,
        client_bits: 15,
        client_takeover: false,
    };
    let both = Agreement { server_takeover: true, client_takeover: true, ..plain };
    let rows = [
        ("", plain, both),
        ("; client_max_window_bits=9", plain, Agreement { client_bits: 9, ..both }),
        ("; client_max_window_bits", plain, Agreement { client_bits: 12, ..both }),
        (
            "; server_max_window_bits=8; server_no_context_takeover",
            Agreement { server_bits: 8, ..plain },
            Agreement { server_bits: 8, server_takeover: false, ..both },
        ),
        ("; client_no_context_takeover", plain, Agreement { client_takeover: false, ..both }),
    ];
    for (offer, shared, dedicated) in rows {
        assert_eq!(agreed(offer, Compression::Shared), shared, "{offer}");
        assert_eq!(agreed(offer, Compression::Dedicated), dedicated, "{offer}");
    }
}

/// Made with Python's `zlib.compressobj`, `Z_SYNC_FLUSH`, less the tail.
const VECTORS: [(&str, &str); 12] = [
    ("", "00"),
    ("", ""),
    // Stored, with fixed codes, in two blocks, with a last block (RFC 7692 section 7.2.3).
    ("Hello", "000500faff48656c6c6f00"),
    ("Hello", "f248cdc9c90700"),
    ("Hello", "f248cd01000000ffffcac90700"),
    ("Hello", "f348cdc9c9070000"),
    // The same, its sender having forgotten the block after the last.
    ("Hello", "f348cdc9c90700"),
    // Two streams of a last block each.
    ("HelloHello", "f348cdc9c90700f348cdc9c9070000"),
    // Dynamic codes.
    (
        "{\"user\":\"grüße\",\"text\":\"€😀\"}{\"user\":\"grüße\",\"text\":\"€😀\"}\
         {\"user\":\"grüße\",\"text\":\"€😀\"}",
        "04c1410940211040c12eef6c02fb2cdef7af208820a6f0b6058ce0cd262630c29fa9e44f9448d2b38f0b\
         01936244ee58cf67a755f2274a24e9d9c7858049312277ace7b3d32af9132592f4ece342c0a418913bd6f3d9\
         693f00",
    ),
    // A window of 9 bits.
    (
        "{\"user\":\"grüße\",\"text\":\"€😀\"}{\"user\":\"grüße\",\"text\":\"€😀\"}\
         {\"user\":\"grüße\",\"text\":\"€😀\"}",
        "aa562a2d4e2d52b2524a2f3abce7f0fc54251da592d48a12a0c0a3a6351fe6cf6850aaada68a120000",
    ),
    // Nothing but empty blocks.
    ("", "0200"),
    ("", "000000ffff00"),
];

#[test]
fn what_others_compress_is_inflated_however_it_is_cut() {
    let mut inflater = Inflater::default();
    for (text, hex) in VECTORS {
        let bytes = unhex(hex);
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            let outcome = inflate(&mut inflater, &[front, back], None);
            assert_eq!(outcome.as_deref(), Ok(text.as_bytes()), "{hex} cut at {at}");
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(inflate(&mut inflater, &bytewise, None).as_deref(), Ok(text.as_bytes()));
    }
}

#[test]
fn what_is_no_whole_message_is_refused() {
    let mut inflater = Inflater::default();
    let bad = [
        // A reserved type of block, lengths that disagree, a distance beyond the first byte.
        "06",
        "000500faff48656c6c6f0007",
        "000500fbff48656c6c6f00",
        "f20011000000",
        // Cut short: within a stored block, within its header, before the end of a block.
        "000500faff4865",
        "00ff0000ff48",
        "000500fa",
        "f248cdc9",
        // What should have been taken off is still there, half.
        "f248cdc907000000",
        "f248cdc9070000ff",
    ];
    for hex in bad {
        let bytes = unhex(hex);
        for at in 0..=bytes.len() {
            let (front, back) = bytes.split_at(at);
            let outcome = inflate(&mut inflater, &[front, back], None);
            assert_eq!(outcome, Err(ProtocolError::NotDeflated), "{hex} cut at {at}");
        }
        // And nothing of it is left behind.
        assert_eq!(inflate(&mut inflater, &[&unhex("f248cdc90700")], None), Ok(b"Helo".to_vec()));
    }
    // Whatever is cut off a message, it is noticed, or what is left is a beginning of the message.
    let message = messages().swap_remove(3 * 7 + 1);
    let compressed = Deflater::default().compress(&message, 15).expect("it compresses").to_vec();
    for end in 1..compressed.len() {
        if let Ok(part) = inflate(&mut inflater, &[&compressed[..end]], None) {
            assert!(message.starts_with(&part), "cut at {end}");
        }
    }
}

#[test]
fn a_window_is_what_later_messages_may_refer_to() {
    let mut inflater = Inflater::default();
    let mut window = Window::new(15);
    let (first, second) = (unhex("f248cdc9c90700"), unhex("f200110000"));
    assert_eq!(inflate(&mut inflater, &[&first], Some(&window)), Ok(b"Hello".to_vec()));
    window.push(b"Hello");
    assert_eq!(inflate(&mut inflater, &[&second], Some(&window)), Ok(b"Hello".to_vec()));
    // The state that served that conn tells another nothing.
    let error = Err(ProtocolError::NotDeflated);
    assert_eq!(inflate(&mut inflater, &[&second], None), error);
    let mut short = Window::new(15);
    short.push(b"abc");
    assert_eq!(inflate(&mut inflater, &[&second], Some(&short)), error);
    // What has left the window is gone.
    let noise = messages().swap_remove(3 * 7 + 2);
    let repeated = &noise[..100];
    for (bits, whole) in [(9, false), (10, true)] {
        let mut ours = Window::new(10);
        let mut theirs = Window::new(bits);
        for piece in noise[..600].chunks(7) {
            ours.push(piece);
            theirs.push(piece);
        }
        let compressed =
            Deflater::default().compress_after(repeated, &mut ours).map(<[u8]>::to_vec);
        let outcome = inflate(&mut inflater, &[&compressed.expect("shorter")], Some(&theirs));
        assert_eq!(outcome, if whole { Ok(repeated.to_vec()) } else { error.clone() }, "{bits}");
    }
}

/// Every message in every window comes back, by our inflater and by the slow one, and refers no
/// further back than the window says.
#[test]
fn compressing_and_inflating_is_the_identity() {
    let mut deflater = Deflater::default();
    let mut inflater = Inflater::default();
    let (mut tried, mut smaller) = (0, 0);
    for bits in 8..=15 {
        for message in messages() {
            tried += 1;
            let Some(compressed) = deflater.compress(&message, bits) else { continue };
            smaller += 1;
            assert!(compressed.len() < message.len());
            let back = inflate(&mut inflater, &[compressed], None);
            assert!(back.as_deref() == Ok(&message), "{} bytes in {bits}", message.len());
            let (slow, furthest) = slowly(compressed, &[]);
            assert!(slow == message, "{} bytes in {bits}", message.len());
            assert!(furthest <= 1 << bits, "{furthest} in {bits}");
        }
    }
    assert_eq!(deflater.compressions(), tried);
    assert!(smaller * 2 > tried, "{smaller} of {tried}");
}

#[test]
fn takeover_refers_no_further_back_than_the_window() {
    let mut deflater = Deflater::default();
    let mut inflater = Inflater::default();
    for bits in 8..=15 {
        let (mut ours, mut theirs) = (Window::kept(bits, 4096), Window::new(bits));
        let mut before: Vec<u8> = Vec::new();
        let (mut alone, mut together) = (0, 0);
        for message in messages().into_iter().chain(messages()) {
            alone += deflater.compress(&message, bits.min(12)).map_or(message.len(), <[u8]>::len);
            let Some(compressed) = deflater.compress_after(&message, &mut ours) else {
                together += message.len();
                continue;
            };
            together += compressed.len();
            let back = inflate(&mut inflater, &[compressed], Some(&theirs));
            assert!(back.as_deref() == Ok(&message), "{} bytes in {bits}", message.len());
            theirs.push(&message);
            let (slow, furthest) = slowly(compressed, &before);
            assert!(slow == message && furthest <= 1 << bits, "{furthest} in {bits}");
            before.extend_from_slice(&message);
        }
        assert!(together <= alone, "{together} {alone} in {bits}");
    }
}

#[test]
fn a_bomb_comes_out_in_chunks_that_can_be_stopped() {
    let mut deflater = Deflater::default();
    let zeros = vec![0; 8 << 20];
    let bomb = deflater.compress(&zeros, 15).expect("it compresses").to_vec();
    assert!(bomb.len() < zeros.len() / 900);
    let mut inflating = Inflater::default().begin(None).expect("nothing to remind of");
    let mut input = &bomb[..];
    let chunk = inflating.next(&mut input).expect("it is good").expect("there is more").len();
    assert!(chunk <= 16 << 10, "{chunk}");
    assert!(!input.is_empty(), "nor is more taken than that chunk needs");
}

/// A message in pieces.
fn inflate(
    inflater: &mut Inflater,
    pieces: &[&[u8]],
    window: Option<&Window>,
) -> Result<Vec<u8>, ProtocolError> {
    let mut inflating = inflater.begin(window)?;
    let mut message = Vec::new();
    for mut piece in pieces.iter().copied() {
        while let Some(chunk) = inflating.next(&mut piece)? {
            assert!(!chunk.is_empty());
            message.extend_from_slice(chunk);
        }
        assert!(piece.is_empty(), "None means that all was taken");
    }
    assert_eq!(inflating.taken(), pieces.concat().len());
    inflating.finish()?;
    inflater.end(inflating);
    Ok(message)
}

/// Of all sizes that mean something to frames, windows and chunks, and of all kinds.
fn messages() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut state = 1_u32;
    for len in [0, 1, 5, 125, 126, 250, 257, 1000, 4097, 16_384, 16_385, 40_000] {
        messages.push(vec![b'a'; len]);
        let line = |i: usize| format!("{{\"id\":{},\"price\":{}}},", i * 7, i * i % 9973);
        messages.push((0..).flat_map(|i| line(i).into_bytes()).take(len).collect());
        // Noise, some of which comes again after various distances.
        let mut noise: Vec<u8> = Vec::new();
        while noise.len() < len {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let back = (state >> 8) as usize % 40_000;
            if state >> 30 == 0 && back < noise.len() {
                let from = noise.len() - back - 1;
                noise.extend_from_within(from..(from + 20).min(noise.len()));
            }
            noise.push((state >> 16) as u8);
        }
        noise.truncate(len);
        messages.push(noise);
    }
    messages
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

/// Inflates bit by bit as RFC 1951 tells it, and says what came out and what the furthest distance
/// was that anything referred to.
fn slowly(compressed: &[u8], before: &[u8]) -> (Vec<u8>, usize) {
    let bytes = [compressed, &[0, 0, 0xff, 0xff]].concat();
    let mut bits = Bits { bytes: &bytes, at: 0 };
    let mut out = before.to_vec();
    let mut furthest = 0;
    while bits.at + 8 <= bytes.len() * 8 {
        assert_eq!(bits.take(1), 0, "no last block is made here");
        match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let len = bits.take(16);
                assert_eq!(bits.take(16), len ^ 0xffff);
                (0..len).for_each(|_| out.push(bits.take(8) as u8));
            }
            kind => {
                let (literals, distances) = match kind {
                    1 => {
                        let of = |(count, len): (usize, u8)| vec![len; count];
                        let lens = [(144, 8), (112, 9), (24, 7), (8, 8)].map(of).concat();
                        (Code::new(&lens), Code::new(&[5; 30]))
                    }
                    _ => codes(&mut bits),
                };
                loop {
                    match bits.symbol(&literals) {
                        byte @ 0..256 => out.push(byte as u8),
                        256 => break,
                        symbol => {
                            let len = length(symbol - 257, &mut bits);
                            let symbol = bits.symbol(&distances);
                            let distance = distance(symbol, &mut bits);
                            furthest = furthest.max(distance);
                            (0..len).for_each(|_| out.push(out[out.len() - distance]));
                        }
                    }
                }
            }
        }
    }
    (out.split_off(before.len()), furthest)
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> usize {
        (0..count).fold(0, |value, i| {
            let bit = self.bytes[self.at / 8] >> (self.at % 8) & 1;
            self.at += 1;
            value | usize::from(bit) << i
        })
    }

    fn symbol(&mut self, code: &Code) -> usize {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for count in &code.counts {
            value = value << 1 | self.take(1);
            if value < first + count {
                return code.symbols[index + value - first];
            }
            index += count;
            first = (first + count) << 1;
        }
        panic!("no such code");
    }
}

/// A canonical code: how many symbols there are of each length from 1 on, and which in that order.
struct Code {
    counts: Vec<usize>,
    symbols: Vec<usize>,
}

impl Code {
    fn new(lens: &[u8]) -> Code {
        let of = |len: u8| (0..lens.len()).filter(move |&symbol| lens[symbol] == len);
        let counts = (1..=15).map(|len| of(len).count()).collect();
        Code { counts, symbols: (1..=15).flat_map(of).collect() }
    }
}

fn codes(bits: &mut Bits<'_>) -> (Code, Code) {
    let (literals, distances, codes) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut lens = vec![0; 19];
    let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    order.iter().take(codes).for_each(|&at| lens[at] = bits.take(3) as u8);
    let code = Code::new(&lens);
    let mut all: Vec<u8> = Vec::new();
    while all.len() < literals + distances {
        let (len, times) = match bits.symbol(&code) {
            16 => (*all.last().expect("one to repeat"), 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            len => (len as u8, 1),
        };
        all.extend(vec![len; times]);
    }
    let distances = all.split_off(literals);
    (Code::new(&all), Code::new(&distances))
}

fn length(symbol: usize, bits: &mut Bits<'_>) -> usize {
    match symbol {
        0..8 => symbol + 3,
        28 => 258,
        _ => {
            let extra = symbol / 4 - 1;
            3 + ((4 + symbol % 4) << extra) + bits.take(extra)
        }
    }
}

fn distance(symbol: usize, bits: &mut Bits<'_>) -> usize {
    match symbol {
        0..4 => symbol + 1,
        _ => {
            let extra = symbol / 2 - 1;
            1 + ((2 + symbol % 2) << extra) + bits.take(extra)
        }
    }
}
