"""One link to a wsloop: frames to events and orders to frames, without a socket.

The page "WebSockets in any language" of wsloop's book is the reference of the framing.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from typing import Deque, Iterable, List, Optional, Set, Tuple, Union

from ._events import Asked, Closed, Conn, Event, Message, Opened, Request, Sent, Slow

log = logging.getLogger("wsloop.sockets")

VERSION = 1
HEAD = struct.Struct(">IBQ")
#: The credit of who counts none.
UNCOUNTED = 0xFFFFFFFF
#: Most conns that one broadcast names.
MOST_CONNS = 1 << 16
#: Longest frame besides its message: more is no frame of wsloop's.
MOST_WORDS = 16 << 20

HELLO, TEXT, BINARY, CLOSE, OPENED, RESUMED, ASKED, ACCEPT, REFUSE = range(9)
SUBSCRIBE, UNSUBSCRIBE, PUBLISH, BROADCAST_TEXT, BROADCAST_BINARY = range(9, 14)
CREDIT, SLOW, PAUSE, RESUME, ERROR = range(14, 19)


class NoWsloop(Exception):
    """Whoever has dialed does not speak as wsloop does."""


def frame(kind: int, conn: int = 0, *parts: bytes) -> bytes:
    """One frame, whose payload are these parts."""
    return b"".join((HEAD.pack(sum(map(len, parts)), kind, conn), *parts))


class Link:
    """What is known of one link."""

    def __init__(self, number: int, decides: bool, credit: Optional[int]) -> None:
        self.number = number
        self.max_message = MOST_WORDS
        #: The path of wsloop's endpoint, when it has greeted.
        self.path: Optional[str] = None
        self.open: Set[int] = set()
        self.slow: Set[int] = set()
        self._credit = credit
        self._owed = 0
        self._bytes = bytearray()
        #: Events that have come, each with what its frame took of the credit.
        self._events: Deque[Tuple[Event, int]] = deque()
        self._hello = frame(
            HELLO, 0, struct.pack(">HBI", VERSION, decides, UNCOUNTED if credit is None else credit)
        )

    def hello(self) -> bytes:
        """What is sent first."""
        return self._hello

    def conn(self, name: int) -> Conn:
        return Conn(self.number, name)

    def received(self, data: bytes) -> None:
        """Takes bytes that have arrived."""
        buffer = self._bytes
        buffer += data
        start = 0
        while len(buffer) - start >= HEAD.size:
            length, kind, name = HEAD.unpack_from(buffer, start)
            if self.path is None and (kind != HELLO or length < 6):
                raise NoWsloop("the first frame is no greeting")
            if length > self.max_message + MOST_WORDS:
                raise NoWsloop(f"a frame of {length} bytes")
            end = start + HEAD.size + length
            if len(buffer) < end:
                break
            self._frame(kind, name, bytes(memoryview(buffer)[start + HEAD.size : end]))
            start = end
        del buffer[:start]

    def next(self) -> Tuple[Optional[Event], bytes]:
        """The next event, if there is one, and what is to be sent for having taken it."""
        if not self._events:
            return None, b""
        event, size = self._events.popleft()
        if isinstance(event, Closed):
            self.slow.discard(event.conn.name)
        return event, self._repay(size)

    def has_events(self) -> bool:
        return bool(self._events)

    def lost(self) -> List[Event]:
        """The link has ended, and with it every conn."""
        left: List[Event] = [event for event, _ in self._events]
        gone = [Closed(self.conn(name), 1006, "the link to wsloop is lost") for name in self.open]
        self._events.clear()
        self.open.clear()
        return left + list(gone)

    def _repay(self, size: int) -> bytes:
        if self._credit is None:
            return b""
        self._owed += size
        if self._owed * 2 < self._credit:
            return b""
        owed, self._owed = self._owed, 0
        return frame(CREDIT, 0, struct.pack(">I", owed))

    def _frame(self, kind: int, name: int, payload: bytes) -> None:
        conn = self.conn(name)
        event: Event
        if kind == TEXT:
            event = Message(conn, payload.decode())
        elif kind == BINARY:
            event = Message(conn, payload)
        elif kind in (OPENED, RESUMED):
            self.open.add(name)
            event = Opened(conn, Request(payload), kind == RESUMED)
        elif kind == ASKED:
            self.open.add(name)
            event = Asked(conn, Request(payload))
        elif kind == CLOSE:
            self.open.discard(name)
            event = Closed(conn, struct.unpack_from(">H", payload)[0], payload[2:].decode())
        elif kind == SLOW:
            waiting = struct.unpack_from(">I", payload)[0]
            (self.slow.add if waiting else self.slow.discard)(name)
            event = Slow(conn, waiting)
        else:
            if kind == HELLO:
                version, self.max_message = struct.unpack_from(">HI", payload)
                if version != VERSION:
                    raise NoWsloop(f"it speaks version {version} of the framing, not {VERSION}")
                self.path = payload[6:].decode()
            elif kind == ERROR:
                log.error("wsloop refused %s", payload.decode("utf-8", "replace"))
            # What a later version says besides is passed over, and costs its credit.
            self._owed += 0 if kind == HELLO else HEAD.size + len(payload)
            return
        self._events.append((event, HEAD.size + len(payload)))

    # Orders, as frames. What comes to nothing is none.

    def sent(self, name: int) -> Sent:
        if name not in self.open:
            return Sent.CLOSED
        return Sent.SLOW if name in self.slow else Sent.QUEUED

    def message(self, name: int, data: Union[str, bytes], binary: bool = False) -> bytes:
        payload = self._checked(data)
        return frame(TEXT if isinstance(data, str) and not binary else BINARY, name, payload)

    def broadcast(self, names: Iterable[int], data: Union[str, bytes]) -> bytes:
        names, payload = list(names), self._checked(data)
        kind = BROADCAST_TEXT if isinstance(data, str) else BROADCAST_BINARY
        frames = []
        for start in range(0, len(names), MOST_CONNS):
            some = names[start : start + MOST_CONNS]
            frames.append(frame(kind, 0, struct.pack(f">I{len(some)}Q", len(some), *some), payload))
        return b"".join(frames)

    def publish(self, channel: str, data: Union[str, bytes]) -> bytes:
        name, payload = channel_name(channel), self._checked(data)
        return frame(PUBLISH, 0, struct.pack(">H", len(name)), name, payload)

    def _checked(self, data: Union[str, bytes]) -> bytes:
        payload = data.encode() if isinstance(data, str) else bytes(data)
        if len(payload) > self.max_message:
            raise ValueError(
                f"a message of {len(payload)} bytes is over wsloop's --max-message-size of "
                f"{self.max_message}"
            )
        return payload


def channel_name(channel: str) -> bytes:
    name = channel.encode()
    if not 1 <= len(name) <= 512:
        raise ValueError("a channel's name has 1 to 512 bytes")
    return name


def close(name: int, code: int, reason: str) -> bytes:
    allowed = 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    if not allowed:
        raise ValueError(f"{code} is no code to close with: use 1000, or one from 3000 to 4999")
    words = reason.encode()
    if len(words) > 123:
        raise ValueError("a reason has at most 123 bytes")
    return frame(CLOSE, name, struct.pack(">H", code), words)


def accept(name: int, subprotocol: Optional[str], headers: Iterable[Tuple[str, str]]) -> bytes:
    lines = [(":protocol", subprotocol)] if subprotocol else []
    for line in (*lines, *headers):
        if any(character in part for part in line for character in "\r\n\0"):
            raise ValueError(f"{line!r} cannot be said in a handshake")
    text = "".join(f"{key}: {value}\n" for key, value in (*lines, *headers))
    return frame(ACCEPT, name, text.encode())


def refuse(name: int, status: int, text: str) -> bytes:
    if not 400 <= status < 600:
        raise ValueError(f"{status} refuses nothing: use a status from 400 to 599")
    return frame(REFUSE, name, struct.pack(">H", status), text.encode())
