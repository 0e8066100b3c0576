"""Connections to Redis for asyncio programs: as in ``_pool``, for each event loop its own.

They are closed when the loop closes its asynchronous generators, as ``asyncio.run`` does at its
end, and they belong to the loop alone, so that nothing of it stays when it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import select
from collections import deque
from collections.abc import AsyncGenerator
from functools import partial
from inspect import iscoroutinefunction, ismethod
from typing import Any, Union

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ._exchange import LONGEST_WAIT, Command, all_in_use, framed, most_connections, outcome
from ._settings import Connection, arguments

# The loop's attribute with what is open in it. Anything that is kept elsewhere, by whatever kind of
# dictionary, keeps the loop alive, for connections refer to it.
_OPEN = "_wsloop_open"


class Turns:
    """So many may be at work; others wait for their turn, first come, first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Waits for a turn."""
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait({turn}, timeout=LONGEST_WAIT)
        except BaseException:
            self._renounce(turn)
            raise
        if not turn.done():
            self._renounce(turn)
            raise all_in_use(self._most)

    def give_back(self) -> None:
        """Hands the turn to who has waited for longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _renounce(self, turn: asyncio.Future[None]) -> None:
        # It may have come in the same moment.
        if turn.done():
            self.give_back()
        else:
            turn.cancel()


class Pool:
    """The connections to one Redis in one event loop."""

    def __init__(self, place: Union[str, dict[str, Any]]) -> None:
        url, options = arguments(place, Retry(NoBackoff(), 0))
        client = Redis.from_url(url, **options) if url else Redis(**options)
        pool = client.connection_pool
        # Where redis-py closes what is forgotten, it does so in whatever loop runs just then.
        kind = type("Connection", (pool.connection_class,), {"__del__": lambda self: None})
        self._make = partial(kind, **pool.connection_kwargs)
        self._turns = Turns(most_connections(place))
        self._kept: list[Any] = []
        self._closed = False

    async def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""
        await self._turns.take()
        try:
            connection = await self._connected()
            sent = framed(commands, transaction)
            try:
                await connection.send_packed_command(connection.pack_commands(sent))
                answers = [await _answer(connection) for _ in sent]
            except BaseException:
                await _end(connection)
                raise
            if self._closed:
                await _end(connection)
            else:
                self._kept.append(connection)
        finally:
            self._turns.give_back()
        return outcome(answers, transaction)

    async def close(self) -> None:
        """Closes what is open, and what is in use when it no longer is."""
        self._closed = True
        while self._kept:
            await _end(self._kept.pop())

    async def _connected(self) -> Any:
        while self._kept:
            connection = self._kept.pop()
            if not _has_ended(connection):
                return connection
            await _end(connection)
        connection = self._make()
        try:
            await connection.connect()
        except BaseException:
            await _end(connection)
            raise
        return connection


class Foreign:
    """A client of ``redis.asyncio`` that the program has made itself, with its own ways."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""
        pipeline = self._client.pipeline(transaction=transaction)
        # It would publish, and then there would be nothing to wait for.
        if ismethod(pipeline.execute) and not iscoroutinefunction(pipeline.execute):
            raise TypeError("redis is a client that blocks; wsloop.aio needs one of redis.asyncio")
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute()
        return answers


class _Open:
    """What is open in an event loop."""

    def __init__(self) -> None:
        self.pools: list[tuple[Any, Pool]] = []
        self.end = self._until_the_end()

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for _, made in self.pools:
                await made.close()
            self.pools.clear()


async def pool(place: Connection) -> Union[Pool, Foreign]:
    """The connections of this event loop to this place."""
    if not isinstance(place, (str, dict)):
        return Foreign(place)
    loop = asyncio.get_running_loop()
    opened = getattr(loop, _OPEN, None)
    if opened is None:
        opened = _Open()
        setattr(loop, _OPEN, opened)
        # The loop knows a generator, and will end it, from its first step on.
        await opened.end.__anext__()
    for known_place, known in opened.pools:
        if known_place == place:
            return known
    made = Pool(place)
    opened.pools.append((copy.copy(place), made))
    return made


async def close() -> None:
    """Closes the connections that publishers opened in this event loop."""
    loop = asyncio.get_running_loop()
    opened = getattr(loop, _OPEN, None)
    if opened is not None:
        delattr(loop, _OPEN)
        await opened.end.aclose()


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except redis.ResponseError as error:
        # The answers to the other commands are still to come.
        return error


def _has_ended(connection: Any) -> bool:
    """No answer is due, so what there is to be read is the end, or nothing that was asked for.

    The event loop may not have had the time to notice it, so the socket is asked.
    """
    reader, writer = connection._reader, connection._writer
    if reader is None or writer is None or reader.at_eof() or writer.is_closing():
        return True
    descriptor = writer.get_extra_info("socket").fileno()
    if descriptor < 0:
        return True
    if not hasattr(select, "poll"):
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


async def _end(connection: Any) -> None:
    """Closes it at once: whatever is still to be sent or read is nobody's any more."""
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()
    with contextlib.suppress(Exception):
        await connection.disconnect()
