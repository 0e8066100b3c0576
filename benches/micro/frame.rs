//! Frames: read, decoded and unmasked, beside tungstenite and fastwebsockets on the same bytes; and
//! encoded.
//!
//! The frames are binary, so that no one's UTF-8 check is in the figures. A stream in memory brings
//! at most 64 KiB a read, and the copy that it makes is in everyone's figures. What is timed is one
//! round of as many frames as 64 KiB hold, or a single larger one.

use std::io::{self, Read, Write};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wsloop::proto::ws::deflate::Inflater;
use wsloop::proto::ws::frame::{self, Opcode, Role};
use wsloop::proto::ws::message::{Event, Limits, Reader};
use wsloop_benches::{READ, text};

const SIZES: [usize; 6] = [16, 125, 1 << 10, 16 << 10, 64 << 10, 1 << 20];

/// The last byte of every payload.
const LAST: u8 = b'.';

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES, sample_size = 10)]
fn decode_wsloop(bencher: Bencher, size: usize) {
    let (mut wire, frames) = wire(size);
    let limits =
        Limits { role: Role::Server, max_message: 1 << 20, max_fragments: 128, compression: false };
    let (mut reader, mut inflater) = (Reader::new(), Inflater::default());
    let mut scratch = vec![0; READ];
    counted(bencher, size, frames).bench_local(|| {
        let mut seen = 0;
        while seen < frames {
            let read = wire.read(&mut scratch).expect("memory is always there");
            let mut input = &mut scratch[..read];
            while let Some(event) =
                reader.next_with(&mut input, &limits, &mut inflater).expect("good frames")
            {
                let Event::Message { data, .. } = black_box(event) else { panic!("a message") };
                assert!(is_whole(&data, size));
                seen += 1;
            }
        }
    });
}

#[divan::bench(args = SIZES, sample_size = 10)]
fn decode_tungstenite(bencher: Bencher, size: usize) {
    let (wire, frames) = wire(size);
    let role = tungstenite::protocol::Role::Server;
    let mut socket = tungstenite::WebSocket::from_raw_socket(wire, role, None);
    counted(bencher, size, frames).bench_local(|| {
        for _ in 0..frames {
            let message = black_box(socket.read().expect("good frames"));
            assert!(is_whole(&message.into_data(), size));
        }
    });
}

#[divan::bench(args = SIZES, sample_size = 10)]
fn decode_fastwebsockets(bencher: Bencher, size: usize) {
    let (wire, frames) = wire(size);
    let role = fastwebsockets::Role::Server;
    let mut socket = fastwebsockets::WebSocket::after_handshake(wire, role);
    counted(bencher, size, frames).bench_local(|| {
        for _ in 0..frames {
            let frame = black_box(at_once(socket.read_frame()).expect("good frames"));
            assert!(is_whole(&frame.payload, size));
        }
    });
}

#[divan::bench(args = SIZES, sample_size = 100)]
fn encode_wsloop(bencher: Bencher, size: usize) {
    let payload = text(size);
    counted(bencher, size, 1).bench_local(|| {
        // Freed within: the harness would keep what is returned, and the memory would be new.
        drop(black_box(frame::encode(Opcode::Binary, black_box(payload.as_bytes()))));
    });
}

/// The least that a frame which is to be shared can cost: one allocation and one copy.
#[divan::bench(args = SIZES, sample_size = 100)]
fn encode_floor(bencher: Bencher, size: usize) {
    let payload = text(size);
    counted(bencher, size, 1).bench_local(|| {
        drop(black_box(Arc::<[u8]>::from(black_box(payload.as_bytes()))));
    });
}

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, size: usize, frames: usize) -> Bencher<'a, 'b> {
    bencher.counter(BytesCount::new(size * frames)).counter(ItemsCount::new(frames))
}

/// Frames of one size, again and again, and how many are in a round.
fn wire(size: usize) -> (Wire, usize) {
    let mut frame = Vec::new();
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    frame::encode_masked(Opcode::Binary, &payload(size), mask, &mut frame);
    let frames = (READ / frame.len()).max(1);
    (Wire { bytes: frame.repeat(frames), at: 0 }, frames)
}

fn payload(size: usize) -> Vec<u8> {
    let mut payload = text(size).into_bytes();
    payload[size - 1] = LAST;
    payload
}

/// Whether a payload came out unmasked to its end: as much as can be told without reading it all.
fn is_whole(payload: &[u8], size: usize) -> bool {
    payload.len() == size && payload.last() == Some(&LAST)
}

/// A stream in memory that begins anew when it has ended, and takes everything.
struct Wire {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = &self.bytes[self.at..];
        let length = left.len().min(into.len()).min(READ);
        into[..length].copy_from_slice(&left[..length]);
        self.at = (self.at + length) % self.bytes.len();
        Ok(length)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = &self.bytes[self.at..];
        let length = left.len().min(into.remaining()).min(READ);
        into.put_slice(&left[..length]);
        self.at = (self.at + length) % self.bytes.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Runs what never waits, because it reads memory.
fn at_once<F: Future>(work: F) -> F::Output {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("memory is always there"),
    }
}
