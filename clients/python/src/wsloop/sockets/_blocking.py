"""Events of conns, one after the other, for an application that may block."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import deque
from typing import Deque, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from . import _link
from ._events import Conn, Ended, Event, Sent
from ._link import Link, NoWsloop, log
from ._listen import listen

#: Bytes that are read at a time.
READ = 256 << 10


class _Open:
    """A link, its socket, and the lock of who sends on it."""

    def __init__(self, link: Link, stream: socket.socket) -> None:
        self.link = link
        self.stream = stream
        self.lock = threading.Lock()


class Sockets:
    """The conns of an endpoint, which wsloop hands to whoever listens at ``path``.

    One thread receives; every thread may send. What is sent waits only while wsloop does not take it,
    which is for a short time: a slow conn keeps nobody waiting.

    With ``decides`` every conn begins with ``Asked``, and is let in by ``accept``. At most ``credit``
    bytes of events are under way at a time; without it, as many as the socket's buffer takes. While no
    event is received, conns are not read, and their peers wait.
    """

    def __init__(
        self,
        path: Union[str, "os.PathLike[str]"],
        *,
        decides: bool = False,
        credit: Optional[int] = None,
        mode: int = 0o600,
    ) -> None:
        self._path = os.fspath(path)
        self._decides = decides
        self._credit = credit
        self._listener = listen(self._path, mode)
        self._file = os.stat(self._path).st_ino
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        #: Held while events are received.
        self._receiving = threading.Lock()
        self._is_over = False
        self._woken, self._waker = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._links: Dict[int, _Open] = {}
        self._numbers = 0
        self._left: Deque[Event] = deque()
        #: Links that may have more events in hand, in turn.
        self._ready: Deque[_Open] = deque()

    def __enter__(self) -> Sockets:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def __iter__(self) -> Iterator[Event]:
        try:
            while True:
                yield self.recv()
        except Ended:
            pass

    def recv(self) -> Event:
        """Waits for the next event. Behind ``end`` there is none, and ``Ended`` is raised."""
        while True:
            event = self.recv_timeout(None)
            if event is not None:
                return event

    def recv_nb(self) -> Optional[Event]:
        """The next event, if there is one already; None when there is none yet."""
        return self.recv_timeout(0)

    def recv_timeout(self, seconds: Optional[float]) -> Optional[Event]:
        """Waits for the next event for so long; None when none has come."""
        until = None if seconds is None else time.monotonic() + seconds
        with self._receiving:
            while True:
                if self._is_over:
                    raise Ended("these sockets were ended")
                event = self._in_hand()
                if event is not None:
                    return event
                left = None if until is None else max(0.0, until - time.monotonic())
                ready = self._selector.select(left)
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.data is not None:
                        self._read(key.data)
                if not ready and left == 0.0:
                    return None

    def send(self, conn: Conn, data: Union[str, bytes]) -> Sent:
        """Sends a message: ``str`` as text, ``bytes`` as binary."""
        return self._message(conn, data, False)

    def send_binary(self, conn: Conn, data: Union[str, bytes]) -> Sent:
        """Sends a binary message."""
        return self._message(conn, data, True)

    def broadcast(self, conns: Iterable[Conn], data: Union[str, bytes]) -> None:
        """Sends a message to all of these. It goes to wsloop once, and is made into a frame once."""
        names: Dict[int, List[int]] = {}
        for conn in conns:
            names.setdefault(conn.link, []).append(conn.name)
        for number, some in names.items():
            opened = self._links.get(number)
            if opened is not None:
                self._give(opened, opened.link.broadcast(some, data))

    def close(self, conn: Conn, code: int = 1000, reason: str = "") -> None:
        """Begins the close handshake; what was sent before goes out before."""
        self._order(conn, _link.close(conn.name, code, reason))

    def accept(
        self,
        conn: Conn,
        subprotocol: Optional[str] = None,
        headers: Iterable[Tuple[str, str]] = (),
    ) -> None:
        """Lets a conn in that has asked, with a sub-protocol that it offers, or none."""
        self._order(conn, _link.accept(conn.name, subprotocol, headers))

    def refuse(self, conn: Conn, status: int = 403, text: str = "") -> None:
        """Refuses a conn that has asked."""
        order = _link.refuse(conn.name, status, text)
        opened = self._links.get(conn.link)
        if opened is not None:
            opened.link.open.discard(conn.name)
        self._order(conn, order)

    def subscribe(self, conn: Conn, channel: str) -> None:
        """Forwards to a conn what the broker delivers on a channel, without this application."""
        self._order(conn, _link.frame(_link.SUBSCRIBE, conn.name, _link.channel_name(channel)))

    def unsubscribe(self, conn: Conn, channel: str) -> None:
        """Forwards no more of a channel."""
        self._order(conn, _link.frame(_link.UNSUBSCRIBE, conn.name, _link.channel_name(channel)))

    def publish(self, channel: str, data: Union[str, bytes]) -> bool:
        """Publishes a message on a channel of the broker, over whichever link there is; whether there
        is one."""
        for opened in list(self._links.values()):
            if opened.link.path is not None and self._give(
                opened, opened.link.publish(channel, data)
            ):
                return True
        return False

    def pause(self, conn: Conn) -> None:
        """Has a conn not read, until ``resume``: its peer waits. What has come already still comes."""
        self._order(conn, _link.frame(_link.PAUSE, conn.name))

    def resume(self, conn: Conn) -> None:
        """Has it read again."""
        self._order(conn, _link.frame(_link.RESUME, conn.name))

    def end(self) -> None:
        """Listens no more, and closes every link: wsloop sees that this application has gone. Any
        thread may call it; whoever receives is told."""
        self._is_over = True
        with contextlib.suppress(OSError):
            self._waker.send(b".")
        with self._receiving:
            if self._selector.get_map() is None:
                return
            self._selector.close()
            links = list(self._links.values())
            self._links.clear()
            for each in (self._listener, self._woken, self._waker):
                each.close()
            for opened in links:
                opened.stream.close()
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == self._file:
                    os.unlink(self._path)

    def _in_hand(self) -> Optional[Event]:
        if self._left:
            return self._left.popleft()
        while self._ready:
            opened = self._ready[0]
            event, repaid = opened.link.next()
            if repaid:
                self._give(opened, repaid)
            if not opened.link.has_events():
                self._ready.popleft()
            if event is not None:
                return event
        return None

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except BlockingIOError:
            return
        stream.setblocking(True)
        self._numbers += 1
        opened = _Open(Link(self._numbers, self._decides, self._credit), stream)
        self._links[self._numbers] = opened
        self._selector.register(stream, selectors.EVENT_READ, opened)
        self._give(opened, opened.link.hello())

    def _read(self, opened: _Open) -> None:
        try:
            data = opened.stream.recv(READ)
            if data:
                opened.link.received(data)
                if opened.link.has_events():
                    self._ready.append(opened)
                return
        except NoWsloop as error:
            log.error("whoever dialed %s is no wsloop: %s", self._path, error)
        except OSError as error:
            log.warning("the link to wsloop has failed: %s", error)
        self._selector.unregister(opened.stream)
        self._links.pop(opened.link.number, None)
        opened.stream.close()
        self._left.extend(opened.link.lost())

    def _message(self, conn: Conn, data: Union[str, bytes], binary: bool) -> Sent:
        opened = self._links.get(conn.link)
        sent = Sent.CLOSED if opened is None else opened.link.sent(conn.name)
        if opened is None or sent is Sent.CLOSED:
            return Sent.CLOSED
        is_given = self._give(opened, opened.link.message(conn.name, data, binary))
        return sent if is_given else Sent.CLOSED

    def _order(self, conn: Conn, order: bytes) -> None:
        opened = self._links.get(conn.link)
        if opened is not None:
            self._give(opened, order)

    def _give(self, opened: _Open, frames: bytes) -> bool:
        """Sends frames; whether the link is there. When it is lost, the receiver finds that out."""
        try:
            with opened.lock:
                opened.stream.sendall(frames)
            return True
        except OSError:
            return False
