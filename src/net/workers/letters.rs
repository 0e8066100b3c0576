//! L3: what a master and a worker say to each other: single bytes on the socket between them. One
//! that the master sends may have a socket with it.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The master: here is somebody who runs the server.
pub(super) const OPERATOR: u8 = b'o';
/// The master: read the configuration again.
pub(super) const RELOAD: u8 = b'r';
/// The master: the end is asked for.
pub(super) const END: u8 = b'e';
/// The master: another process has the listening sockets too, and serves.
pub(super) const HANDED_OVER: u8 = b'h';
/// The master: does the loop go round? And the answer of the worker.
pub(super) const ALIVE: u8 = b'a';
/// The worker: it serves. ([`inherited::serves`](crate::net::inherited::serves) says it.)
pub(super) const SERVES: u8 = b'1';
/// The worker: the configuration is read again.
pub(super) const RELOADED: u8 = b'd';

/// Says it, with a socket or without. Nobody is waited for.
pub(in crate::net) fn say(
    to: impl AsFd,
    letter: u8,
    with: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut sent = SendAncillaryBuffer::new(&mut room);
    if let Some(socket) = &with {
        sent.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(socket)));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(to, &[IoSlice::new(&[letter])], &mut sent, flags)?;
    Ok(())
}

/// Waits for the next letter, and the socket that comes with it. An end is an error.
pub(super) fn hear(from: impl AsFd) -> io::Result<(u8, Option<OwnedFd>)> {
    let mut letter = [0];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut received = RecvAncillaryBuffer::new(&mut room);
    let into = &mut [IoSliceMut::new(&mut letter)];
    let heard = loop {
        match recvmsg(from.as_fd(), into, &mut received, RecvFlags::CMSG_CLOEXEC) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            heard => break heard?,
        }
    };
    let socket = received.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    match heard.bytes {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        _ => Ok((letter[0], socket)),
    }
}
