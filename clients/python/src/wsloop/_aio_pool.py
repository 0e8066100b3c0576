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
from typing import Any, Optional, Protocol, Union

import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from ._exchange import (
    LONGEST_WAIT,
    Command,
    all_in_use,
    framed,
    most_connections,
    outcome,
    shared_out,
)
from ._places import SENTINEL_TIMEOUT, Cluster, Place, Sentinels, each_of
from ._settings import arguments
from ._slots import QUESTIONS, Course, Parcel, Slots, Unreached, said_of
from ._watch import (
    PAUSE,
    Address,
    Watch,
    is_master,
    may_pass,
    state_of,
    tells_of_a_replica,
)

# The loop's attribute with what is open in it. Anything that is kept elsewhere, by whatever kind of
# dictionary, keeps the loop alive, for connections refer to it.
_OPEN = "_wsloop_open"


class Exchanging(Protocol):
    """What takes commands somewhere."""

    async def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""


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
        return outcome(await self.answers(framed(commands, transaction)), transaction)

    async def answers(self, sent: list[Command]) -> list[Any]:
        """The answers to what is sent as it is, with the errors among them."""
        await self._turns.take()
        try:
            connection = await self._connected()
            try:
                await connection.send_packed_command(connection.pack_commands(sent))
                answers = [await _answer(connection) for _ in sent]
            except BaseException:
                await self._fail(connection)
                raise
            if self._closed:
                await _end(connection)
            else:
                await self._keep(connection, answers)
        finally:
            self._turns.give_back()
        return answers

    async def close(self) -> None:
        """Closes what is open, and what is in use when it no longer is."""
        self._closed = True
        while self._kept:
            await _end(self._kept.pop())

    async def _connected(self) -> Any:
        return await self._kept_one() or await self._opened(self._make())

    async def _kept_one(self, address: Optional[Address] = None) -> Any:
        """One that is kept and has not ended, at this address if there is one."""
        while self._kept:
            connection = self._kept.pop()
            is_there = address is None or (connection.host, connection.port) == address
            if is_there and not _has_ended(connection):
                return connection
            await _end(connection)
        return None

    async def _opened(self, connection: Any) -> Any:
        try:
            await connection.connect()
        except BaseException:
            await _end(connection)
            raise
        return connection

    async def _keep(self, connection: Any, answers: list[Any]) -> None:
        self._kept.append(connection)

    async def _fail(self, connection: Any) -> None:
        await _end(connection)


class Followed(Pool):
    """The connections to the master that sentinels name. Nothing is sent before it is found."""

    def __init__(self, place: Sentinels) -> None:
        super().__init__(place.master)
        self._sentinels = [Pool(each) for each in place.sentinels]
        self._watch = Watch(place)
        self._looking = asyncio.Lock()

    async def close(self) -> None:
        """Closes what is open, and what is in use when it no longer is."""
        await super().close()
        for sentinel in self._sentinels:
            await sentinel.close()

    async def _connected(self) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + LONGEST_WAIT
        while True:
            try:
                address = await self._found()
                return await self._kept_one(address) or await self._dialed(address)
            except (redis.RedisError, OSError) as why:
                if not may_pass(why) or loop.time() >= end:
                    raise
            await asyncio.sleep(PAUSE)

    async def _found(self) -> Address:
        loop = asyncio.get_running_loop()
        known = self._watch.known
        # Whoever knows where it was does not wait for another who is asking.
        if known and (self._looking.locked() or not self._watch.is_due(loop.time())):
            return known
        async with self._looking:
            known = self._watch.known
            if known and not self._watch.is_due(loop.time()):
                return known
            return await self._asked()

    async def _asked(self) -> Address:
        loop = asyncio.get_running_loop()
        answers, failures = [], []
        for at in self._watch.to_ask(loop.time()):
            try:
                [reply] = await self._sentinels[at].exchange([self._watch.question()])
                answers.append(state_of(reply))
            except (redis.RedisError, OSError) as why:
                failures.append((at, why))
                self._watch.is_silent(at, loop.time())
        return self._watch.concluded(answers, failures, loop.time())

    async def _dialed(self, address: Address) -> Any:
        host, port = address
        try:
            connection = await self._opened(self._make(host=host, port=port))
            try:
                await connection.send_command("ROLE")
                role = await _answer(connection)
                if not is_master(role) and not isinstance(role, NoPermissionError):
                    why = f"{host}:{port} is no master; nothing was published"
                    raise redis.ConnectionError(why)
            except BaseException:
                await _end(connection)
                raise
        except BaseException:
            self._watch.doubt(address)
            raise
        return connection

    async def _keep(self, connection: Any, answers: list[Any]) -> None:
        if tells_of_a_replica(answers):
            await _end(connection)
            self._watch.doubt((connection.host, connection.port))
        else:
            await super()._keep(connection, answers)

    async def _fail(self, connection: Any) -> None:
        await super()._fail(connection)
        self._watch.doubt()


class Node(Pool):
    """The connections to one node of a cluster."""

    async def _connected(self) -> Any:
        try:
            return await super()._connected()
        except (redis.RedisError, OSError) as why:
            raise Unreached(why) from why


class Clustered:
    """The connections to the nodes of a cluster. Each command goes to where its slot is."""

    def __init__(self, place: Cluster) -> None:
        self._place = place
        self._nodes: dict[tuple[Address, Optional[int]], Node] = {}
        self._slots = Slots(place)
        self._looking = asyncio.Lock()

    async def close(self) -> None:
        """Closes what is open, and what is in use when it no longer is."""
        for node in self._nodes.values():
            await node.close()

    async def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent to all nodes at one time."""
        loop = asyncio.get_running_loop()
        course = Course(self._slots, commands, transaction, loop.time())

        async def one(parcel: Parcel) -> None:
            try:
                answers = await self._node(parcel.address).answers(parcel.sent)
            except Unreached as why:
                course.unreached(parcel, why.why)
            except (redis.RedisError, OSError) as why:
                course.failed(why)
            else:
                course.answered(parcel, answers)

        while True:
            await self._look()
            await asyncio.gather(*(one(parcel) for parcel in course.parcels()))
            if course.is_over(loop.time()):
                return course.outcome()
            await asyncio.sleep(course.pause())

    def _node(self, address: Address, timeout: Optional[int] = None) -> Node:
        known = self._nodes.get((address, timeout))
        if known is None:
            known = self._nodes[(address, timeout)] = Node(self._place.at(address, timeout))
        return known

    async def _look(self) -> None:
        """Asks who has which slots, if that is due."""
        loop = asyncio.get_running_loop()
        # Whoever knows enough to go on does not wait for another who is asking.
        if not self._slots.is_due(loop.time()) or (
            self._slots.is_known and self._looking.locked()
        ):
            return
        async with self._looking:
            if self._slots.is_due(loop.time()):
                await self._ask()

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        others, failures = [], []
        asked = self._slots.to_ask(loop.time())
        for address in asked:
            try:
                answers = await self._node(address, SENTINEL_TIMEOUT).exchange(QUESTIONS)
                said = said_of(answers, address)
            except (Unreached, redis.RedisError, OSError) as why:
                failures.append((address, why.why if isinstance(why, Unreached) else why))
                self._slots.is_silent(address, loop.time())
                continue
            if self._slots.believes(said):
                await self._forget_strangers()
                return
            others.append(said)
        self._slots.concluded(len(asked), others, failures)

    async def _forget_strangers(self) -> None:
        """Nodes that are no more are in nobody's way."""
        for key in [key for key in self._nodes if not self._slots.has(key[0])]:
            await self._nodes.pop(key).close()


class Several:
    """Several Redis: each command goes to the one that its channel is at."""

    def __init__(self, pools: list[Exchanging]) -> None:
        self._pools = pools

    async def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands. A Redis that fails keeps nothing from the others."""
        answers: list[Any] = [None] * len(commands)

        async def one(at: int, places: list[int]) -> None:
            theirs = [commands[place] for place in places]
            for place, answer in zip(places, await self._pools[at].exchange(theirs, transaction)):
                answers[place] = answer

        shares = shared_out(commands, len(self._pools))
        done = await asyncio.gather(
            *(one(at, places) for at, places in shares.items()), return_exceptions=True
        )
        for failure in done:
            if failure is not None:
                raise failure
        return answers


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
        self.pools: list[tuple[Any, Union[Pool, Clustered]]] = []
        self.end = self._until_the_end()

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for _, made in self.pools:
                await made.close()
            self.pools.clear()


async def pool(place: Place) -> Exchanging:
    """The connections of this event loop to this place."""
    if isinstance(place, tuple):
        return Several([await pool(each) for each in place])
    if not isinstance(place, (str, dict, Sentinels, Cluster)):
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
    made: Union[Pool, Clustered]
    if isinstance(place, Cluster):
        made = Clustered(place)
    else:
        made = Followed(place) if isinstance(place, Sentinels) else Pool(place)
    opened.pools.append((copy.copy(place), made))
    return made


async def told(place: Place, command: Command) -> Any:
    """The answer of the first of several Redis that is there. The command may be done twice."""
    *others, last = [await pool(each) for each in each_of(place)]
    for each in others:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return (await each.exchange([command]))[0]
    return (await last.exchange([command]))[0]


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
