//! The floor: the cheapest WebSocket fan-out that can be written with epoll and `send`.
//!
//! Not a server to use. It believes its peers, checks nothing, times nothing out and drops whoever
//! is slow, so that what is left is what the kernel takes. A connection is one byte: whether the
//! descriptor of that number is free, awaits a request, or is open.
//!
//! Usage: `wsloop-floor --listen PORT --redis PORT --channel NAME [--echo]`. Every connection gets
//! what Redis brings on the channel; with `--echo` it gets its own frames back instead. Where the
//! kernel takes no more it waits, which harms nobody as long as every peer reads what comes.

use std::ffi::c_int;
use std::ptr;

use base64::prelude::{BASE64_STANDARD, Engine};
use libc::{EPOLL_CTL_ADD, EPOLLIN, MSG_NOSIGNAL, SOCK_NONBLOCK};
use sha1_smol::Sha1;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY: &[u8] = b"sec-websocket-key: ";
/// A key is 16 bytes in base64.
const KEY_LEN: usize = 24;

const FREE: u8 = 0;
const HEAD: u8 = 1;
const OPEN: u8 = 2;

/// The longest head of a masked frame.
const MOST_HEAD: usize = 14;

const LOOPBACK: u32 = 0x7f00_0001;
const EVENTS: usize = 1024;

struct Floor {
    epoll: c_int,
    listener: c_int,
    redis: c_int,
    echo: bool,
    /// By descriptor.
    states: Vec<u8>,
    /// By descriptor: where in a frame its echo is.
    frames_under_way: Vec<Partial>,
    /// One past the highest descriptor ever open.
    end: usize,
    /// Where everything is read.
    scratch: Box<[u8; 65536]>,
    /// Of Redis, what is not a whole push yet.
    pushes: Vec<u8>,
    /// The frames of one read from Redis.
    frames: Vec<u8>,
}

/// A frame of which not all has come.
#[derive(Clone, Copy, Default)]
struct Partial {
    /// Bytes of payload that are still to come, and their mask.
    left: usize,
    mask: [u8; 4],
    /// What has come of a head.
    head: [u8; MOST_HEAD],
    head_length: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let port = |name: &str| {
        let text = value(name).unwrap_or_else(|| panic!("{name} is missing"));
        text.parse::<u16>().unwrap_or_else(|_| panic!("{name} takes a port"))
    };
    let echo = arguments.iter().any(|argument| argument == "--echo");
    // SAFETY: every pointer given to the kernel below is to memory that outlives the call.
    unsafe {
        let redis = match value("--channel") {
            Some(channel) if !echo => subscribe(port("--redis"), &channel),
            _ => -1,
        };
        let mut floor = Floor {
            epoll: check(libc::epoll_create1(0)),
            listener: listen(port("--listen")),
            redis,
            echo,
            states: vec![FREE; descriptors()],
            frames_under_way: vec![Partial::default(); if echo { descriptors() } else { 0 }],
            end: 0,
            scratch: Box::new([0; 65536]),
            pushes: Vec::new(),
            frames: Vec::new(),
        };
        floor.watch(floor.listener);
        if redis >= 0 {
            floor.watch(redis);
        }
        println!("listening");
        floor.run();
    }
}

impl Floor {
    unsafe fn run(&mut self) {
        unsafe {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
            loop {
                let count = libc::epoll_wait(self.epoll, events.as_mut_ptr(), EVENTS as c_int, -1);
                for event in &events[..count.max(0) as usize] {
                    let fd = event.u64 as c_int;
                    if fd == self.listener {
                        self.accept();
                    } else if fd == self.redis {
                        self.fan_out();
                    } else {
                        self.readable(fd);
                    }
                }
            }
        }
    }

    unsafe fn watch(&self, fd: c_int) {
        let mut event = libc::epoll_event { events: EPOLLIN as u32, u64: fd as u64 };
        check(unsafe { libc::epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &mut event) });
    }

    unsafe fn accept(&mut self) {
        unsafe {
            loop {
                let (address, length) = (ptr::null_mut(), ptr::null_mut());
                let fd = libc::accept4(self.listener, address, length, SOCK_NONBLOCK);
                if fd < 0 {
                    return;
                }
                self.states[fd as usize] = HEAD;
                self.end = self.end.max(fd as usize + 1);
                self.watch(fd);
            }
        }
    }

    unsafe fn readable(&mut self, fd: c_int) {
        unsafe {
            // What has come of a frame's head goes before what comes now.
            let before = self.frames_under_way.get(fd as usize).map_or(0, |of| of.head_length);
            if before > 0 {
                let head = self.frames_under_way[fd as usize].head;
                self.scratch[..before].copy_from_slice(&head[..before]);
            }
            let scratch = self.scratch.as_mut_ptr().add(before).cast();
            let got = libc::recv(fd, scratch, self.scratch.len() - before, 0);
            if got <= 0 {
                self.close(fd);
            } else if self.states[fd as usize] == HEAD {
                self.upgrade(fd, got as usize);
            } else if self.echo {
                self.echo(fd, before + got as usize);
            }
        }
    }

    /// Answers a request head, which is believed to have come in one piece.
    unsafe fn upgrade(&mut self, fd: c_int, length: usize) {
        let head = &self.scratch[..length];
        let at = head.windows(KEY.len()).position(|found| found.eq_ignore_ascii_case(KEY));
        let key = at.and_then(|at| head[at + KEY.len()..].get(..KEY_LEN));
        let Some(key) = key else {
            return unsafe { self.close(fd) };
        };
        let mut sha = Sha1::new();
        sha.update(key);
        sha.update(GUID);
        let mut answer = *b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: \
            Upgrade\r\nSec-WebSocket-Accept: 0123456789012345678901234567\r\n\r\n";
        let accept = answer.len() - 32..answer.len() - 4;
        let encoded = BASE64_STANDARD.encode_slice(sha.digest().bytes(), &mut answer[accept]);
        encoded.expect("28 characters are a digest");
        self.states[fd as usize] = OPEN;
        unsafe { self.send(fd, answer.as_ptr(), answer.len()) };
    }

    /// Sends back what came of masked frames, in one write: a frame is begun before all of it is
    /// there.
    unsafe fn echo(&mut self, fd: c_int, length: usize) {
        unsafe {
            let partial = &mut self.frames_under_way[fd as usize];
            let (base, end) = (self.scratch.as_mut_ptr(), length);
            let (mut from, mut to, mut start) = (0, 0, None);
            if partial.left > 0 {
                from = partial.left.min(end);
                unmask(base, from, &mut partial.mask);
                partial.left -= from;
                (to, start) = (from, Some(0));
            }
            while let Some((first, size, mask, head_length)) =
                masked_head(base.add(from), end - from)
            {
                from += head_length;
                // The first head goes right before its payload, which then need not be moved.
                let mut made = [0; 10];
                let made_length = head(made.as_mut_ptr(), first, size);
                if start.is_none() {
                    to = from - made_length;
                    start = Some(to);
                }
                ptr::copy_nonoverlapping(made.as_ptr(), base.add(to), made_length);
                to += made_length;
                let here = size.min(end - from);
                (partial.left, partial.mask) = (size - here, mask);
                unmask(base.add(from), here, &mut partial.mask);
                if to != from {
                    ptr::copy(base.add(from), base.add(to), here);
                }
                (from, to) = (from + here, to + here);
                if first == 0x88 {
                    return self.close(fd);
                }
            }
            partial.head_length = end - from;
            ptr::copy_nonoverlapping(base.add(from), partial.head.as_mut_ptr(), end - from);
            let start = start.unwrap_or(to);
            self.send_all(fd, base.add(start), to - start);
        }
    }

    /// Sends, and waits for the peer to read where it must.
    unsafe fn send_all(&mut self, fd: c_int, mut bytes: *const u8, mut length: usize) {
        unsafe {
            while length > 0 {
                let sent = libc::send(fd, bytes.cast(), length, MSG_NOSIGNAL);
                if sent < 0 && *libc::__errno_location() != libc::EAGAIN {
                    return self.close(fd);
                }
                bytes = bytes.add(sent.max(0) as usize);
                length -= sent.max(0) as usize;
                if length > 0 {
                    let mut wait = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
                    libc::poll(&mut wait, 1, -1);
                }
            }
        }
    }

    /// One read from Redis, one buffer of frames, one `send` for each connection.
    unsafe fn fan_out(&mut self) {
        unsafe {
            let scratch = self.scratch.as_mut_ptr().cast();
            let got = libc::recv(self.redis, scratch, self.scratch.len(), 0);
            assert!(got > 0, "Redis is gone");
            self.pushes.extend_from_slice(&self.scratch[..got as usize]);
            self.frames.clear();
            let mut done = 0;
            while let Some((payload, length)) = push(&self.pushes[done..]) {
                let mut frame = [0; 10];
                let written = head(frame.as_mut_ptr(), 0x81, payload.len());
                self.frames.extend_from_slice(&frame[..written]);
                self.frames.extend_from_slice(payload);
                done += length;
            }
            self.pushes.drain(..done);
            if self.frames.is_empty() {
                return;
            }
            for fd in 0..self.end {
                if self.states[fd] == OPEN {
                    self.send_all(fd as c_int, self.frames.as_ptr(), self.frames.len());
                }
            }
        }
    }

    unsafe fn send(&mut self, fd: c_int, bytes: *const u8, length: usize) {
        unsafe {
            if libc::send(fd, bytes.cast(), length, MSG_NOSIGNAL) != length as isize {
                self.close(fd);
            }
        }
    }

    unsafe fn close(&mut self, fd: c_int) {
        self.states[fd as usize] = FREE;
        if self.echo {
            self.frames_under_way[fd as usize] = Partial::default();
        }
        unsafe { libc::close(fd) };
    }
}

/// Takes the mask off in place, and turns it for the byte behind these.
unsafe fn unmask(bytes: *mut u8, length: usize, mask: &mut [u8; 4]) {
    let bytes = unsafe { std::slice::from_raw_parts_mut(bytes, length) };
    let key = u32::from_ne_bytes(*mask);
    let (words, tail) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(*mask) {
        *byte ^= key;
    }
    mask.rotate_left(length % 4);
}

/// The first byte of a masked frame, the size of its payload, its mask and the length of its head,
/// if that is whole.
unsafe fn masked_head(bytes: *const u8, length: usize) -> Option<(u8, usize, [u8; 4], usize)> {
    let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
    let (size, at) = match *bytes.get(1)? & 0x7f {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?) as usize, 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        size => (size as usize, 2),
    };
    Some((bytes[0], size, bytes.get(at..at + 4)?.try_into().ok()?, at + 4))
}

/// Writes the head of an unmasked frame and returns its length.
unsafe fn head(to: *mut u8, first: u8, size: usize) -> usize {
    unsafe {
        *to = first;
        if size < 126 {
            *to.add(1) = size as u8;
            return 2;
        }
        if size < 65536 {
            *to.add(1) = 126;
            ptr::copy_nonoverlapping((size as u16).to_be_bytes().as_ptr(), to.add(2), 2);
            return 4;
        }
        *to.add(1) = 127;
        ptr::copy_nonoverlapping((size as u64).to_be_bytes().as_ptr(), to.add(2), 8);
        10
    }
}

/// The payload of the push that `bytes` begin with, and the push's length:
/// `*3 $7 message $N channel $M payload`, each on its line.
fn push(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let mut at = bytes.iter().position(|byte| *byte == b'\n')? + 1;
    let mut value: &[u8] = &[];
    for _ in 0..3 {
        let end = at + bytes.get(at..)?.iter().position(|byte| *byte == b'\n')?;
        let digits = bytes[at + 1..end - 1].iter();
        let length = digits.fold(0, |sum, digit| sum * 10 + (digit - b'0') as usize);
        value = bytes.get(end + 1..end + 1 + length)?;
        at = end + 1 + length + 2;
    }
    (at <= bytes.len()).then_some((value, at))
}

unsafe fn subscribe(port: u16, channel: &str) -> c_int {
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0));
        let address = loopback(port);
        check(libc::connect(fd, (&raw const address).cast(), size_of_val(&address) as u32));
        let length = channel.len();
        let command = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${length}\r\n{channel}\r\n");
        libc::send(fd, command.as_ptr().cast(), command.len(), MSG_NOSIGNAL);
        // The confirmation is waited for; afterwards nothing may block.
        let mut confirmed = [0u8; 4096];
        assert!(libc::recv(fd, confirmed.as_mut_ptr().cast(), confirmed.len(), 0) > 0);
        check(libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK));
        fd
    }
}

unsafe fn listen(port: u16) -> c_int {
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_STREAM | SOCK_NONBLOCK, 0));
        // Accepted sockets inherit it, which saves a call for each.
        for (level, option) in
            [(libc::SOL_SOCKET, libc::SO_REUSEADDR), (libc::IPPROTO_TCP, libc::TCP_NODELAY)]
        {
            let on: c_int = 1;
            let size = size_of_val(&on) as u32;
            check(libc::setsockopt(fd, level, option, (&raw const on).cast(), size));
        }
        let address = loopback(port);
        check(libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32));
        check(libc::listen(fd, 4096));
        fd
    }
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: LOOPBACK.to_be() },
        sin_zero: [0; 8],
    }
}

/// How many descriptors the process may have, after asking for all that it can get.
unsafe fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit));
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &limit));
    }
    limit.rlim_max as usize
}

fn check(result: c_int) -> c_int {
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result
}
