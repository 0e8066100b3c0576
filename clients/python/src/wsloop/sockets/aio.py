"""Events of conns, one after the other, for asyncio.

::

    from wsloop.sockets import Message
    from wsloop.sockets.aio import Sockets

    async with Sockets("/run/chat.sock") as sockets:
        async for event in sockets:
            if isinstance(event, Message):
                await sockets.send(event.conn, event.data)
"""

from __future__ import annotations

import asyncio
import os
from typing import AsyncIterator, Dict, Iterable, List, Optional, Tuple, Union

from . import _link
from ._events import Conn, Event, Sent
from ._link import Link, NoWsloop, log
from ._listen import listen

#: Bytes that are read at a time, and events that may wait for the application.
READ = 256 << 10
EVENTS = 256


class Sockets:
    """As ``wsloop.sockets.Sockets``, to be awaited. It begins with ``async with``."""

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
        self._mode = mode
        self._links: Dict[int, Tuple[Link, asyncio.StreamWriter]] = {}
        self._numbers = 0

    async def __aenter__(self) -> Sockets:
        listener = listen(self._path, self._mode)
        self._file = os.stat(self._path).st_ino
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            if os.stat(self._path).st_ino == self._file:
                os.unlink(self._path)
        except FileNotFoundError:
            pass

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            yield await self.recv()

    async def recv(self) -> Event:
        """Waits for the next event."""
        return await self._events.get()

    def recv_nb(self) -> Optional[Event]:
        """The next event, if there is one already; None when there is none yet."""
        try:
            return self._events.get_nowait()
        except asyncio.QueueEmpty:
            return None

    async def send(self, conn: Conn, data: Union[str, bytes]) -> Sent:
        """Sends a message: ``str`` as text, ``bytes`` as binary."""
        return await self._message(conn, data, False)

    async def send_binary(self, conn: Conn, data: Union[str, bytes]) -> Sent:
        """Sends a binary message."""
        return await self._message(conn, data, True)

    async def broadcast(self, conns: Iterable[Conn], data: Union[str, bytes]) -> None:
        """Sends a message to all of these. It goes to wsloop once, and is made into a frame once."""
        names: Dict[int, List[int]] = {}
        for conn in conns:
            names.setdefault(conn.link, []).append(conn.name)
        for number, some in names.items():
            if number in self._links:
                await self._give(number, self._links[number][0].broadcast(some, data))

    async def close(self, conn: Conn, code: int = 1000, reason: str = "") -> None:
        """Begins the close handshake; what was sent before goes out before."""
        await self._give(conn.link, _link.close(conn.name, code, reason))

    async def accept(
        self,
        conn: Conn,
        subprotocol: Optional[str] = None,
        headers: Iterable[Tuple[str, str]] = (),
    ) -> None:
        """Lets a conn in that has asked, with a sub-protocol that it offers, or none."""
        await self._give(conn.link, _link.accept(conn.name, subprotocol, headers))

    async def refuse(self, conn: Conn, status: int = 403, text: str = "") -> None:
        """Refuses a conn that has asked."""
        order = _link.refuse(conn.name, status, text)
        if conn.link in self._links:
            self._links[conn.link][0].open.discard(conn.name)
        await self._give(conn.link, order)

    async def subscribe(self, conn: Conn, channel: str) -> None:
        """Forwards to a conn what the broker delivers on a channel, without this application."""
        name = _link.channel_name(channel)
        await self._give(conn.link, _link.frame(_link.SUBSCRIBE, conn.name, name))

    async def unsubscribe(self, conn: Conn, channel: str) -> None:
        """Forwards no more of a channel."""
        name = _link.channel_name(channel)
        await self._give(conn.link, _link.frame(_link.UNSUBSCRIBE, conn.name, name))

    async def publish(self, channel: str, data: Union[str, bytes]) -> bool:
        """Publishes a message on a channel of the broker, over whichever link there is; whether there
        is one."""
        for number, (link, _) in list(self._links.items()):
            if link.path is not None and await self._give(number, link.publish(channel, data)):
                return True
        return False

    async def pause(self, conn: Conn) -> None:
        """Has a conn not read, until ``resume``: its peer waits. What has come already still comes."""
        await self._give(conn.link, _link.frame(_link.PAUSE, conn.name))

    async def resume(self, conn: Conn) -> None:
        """Has it read again."""
        await self._give(conn.link, _link.frame(_link.RESUME, conn.name))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._numbers += 1
        link = Link(self._numbers, self._decides, self._credit)
        self._links[link.number] = (link, writer)
        try:
            writer.write(link.hello())
            while data := await reader.read(READ):
                link.received(data)
                while link.has_events():
                    event, repaid = link.next()
                    if event is not None:
                        await self._events.put(event)
                    writer.write(repaid)
                await writer.drain()
        except asyncio.CancelledError:
            # It ends: the loop's own callback would log it.
            return
        except NoWsloop as error:
            log.error("whoever dialed %s is no wsloop: %s", self._path, error)
        except OSError as error:
            log.warning("the link to wsloop has failed: %s", error)
        finally:
            self._links.pop(link.number, None)
            writer.close()
            self._tasks.discard(task)
        for event in link.lost():
            await self._events.put(event)

    async def _message(self, conn: Conn, data: Union[str, bytes], binary: bool) -> Sent:
        if conn.link not in self._links:
            return Sent.CLOSED
        link, _ = self._links[conn.link]
        sent = link.sent(conn.name)
        if sent is Sent.CLOSED:
            return sent
        is_given = await self._give(conn.link, link.message(conn.name, data, binary))
        return sent if is_given else Sent.CLOSED

    async def _give(self, number: int, frames: bytes) -> bool:
        """Sends frames; whether the link is there."""
        if number not in self._links:
            return False
        _, writer = self._links[number]
        try:
            writer.write(frames)
            await writer.drain()
            return True
        except OSError:
            return False
