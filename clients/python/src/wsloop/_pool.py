"""Connections to Redis for programs that may block: to one, to the master that sentinels name, to
a cluster, or to several.

Rules:
- A process has a bounded number of connections to each Redis. Who comes when all are in use waits,
  for a limited time.
- A connection that has come to its end while it was idle is replaced before anything is sent. What
  was sent is never sent again: it may have been published.
- An exchange that does not end as it should takes its connection with it, so that nobody reads the
  answers to somebody else's commands.
- A forked process begins with no connections, whatever other threads were doing at the fork.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import time
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Optional, Protocol, Union

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

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
from ._slots import QUESTIONS, Course, Slots, Unreached, said_of
from ._watch import (
    PAUSE,
    Address,
    Watch,
    is_master,
    may_pass,
    state_of,
    tells_of_a_replica,
)


class Exchanging(Protocol):
    """What takes commands somewhere."""

    def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""


class Pool:
    """The connections to one Redis, for all threads."""

    def __init__(self, place: Union[str, dict[str, Any]]) -> None:
        url, options = arguments(place, Retry(NoBackoff(), 0))
        client = redis.Redis.from_url(url, **options) if url else redis.Redis(**options)
        pool = client.connection_pool
        self._make = partial(pool.connection_class, **pool.connection_kwargs)
        self._most = most_connections(place)
        # What is wrong with the arguments is told here, and not when somebody publishes.
        self._make()
        self.forget()

    def forget(self) -> None:
        """Begins anew, without closing anything."""
        self._kept: list[Any] = []
        self._turns = threading.Semaphore(self._most)

    def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""
        return outcome(self.answers(framed(commands, transaction)), transaction)

    def answers(self, sent: list[Command]) -> list[Any]:
        """The answers to what is sent as it is, with the errors among them."""
        if not self._turns.acquire(timeout=LONGEST_WAIT):
            raise all_in_use(self._most)
        try:
            connection = self._connected()
            try:
                connection.send_packed_command(connection.pack_commands(sent))
                answers = [_answer(connection) for _ in sent]
            except BaseException:
                self._end(connection)
                raise
            self._keep(connection, answers)
        finally:
            self._turns.release()
        return answers

    def _connected(self) -> Any:
        connection = self._kept_one()
        if connection is None:
            connection = self._make()
            connection.connect()
        return connection

    def _kept_one(self, address: Optional[Address] = None) -> Any:
        """One that is kept and has not ended, at this address if there is one."""
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            is_there = address is None or (connection.host, connection.port) == address
            if is_there and not _has_ended(connection):
                return connection
            connection.disconnect()

    def _keep(self, connection: Any, answers: list[Any]) -> None:
        self._kept.append(connection)

    def _end(self, connection: Any) -> None:
        connection.disconnect()


class Followed(Pool):
    """The connections to the master that sentinels name. Nothing is sent before it is found."""

    def __init__(self, place: Sentinels) -> None:
        self._place = place
        self._sentinels = [Pool(each) for each in place.sentinels]
        super().__init__(place.master)

    def forget(self) -> None:
        """Begins anew, without closing anything."""
        super().forget()
        self._watch = Watch(self._place)
        self._looking = threading.Lock()
        for sentinel in self._sentinels:
            sentinel.forget()

    def _connected(self) -> Any:
        end = time.monotonic() + LONGEST_WAIT
        while True:
            try:
                address = self._found()
                return self._kept_one(address) or self._dialed(address)
            except (redis.RedisError, OSError) as why:
                if not may_pass(why) or time.monotonic() >= end:
                    raise
            time.sleep(PAUSE)

    def _found(self) -> Address:
        known = self._watch.known
        if known and not self._watch.is_due(time.monotonic()):
            return known
        # Whoever knows where it was does not wait for another who is asking.
        if not self._looking.acquire(timeout=0 if known else LONGEST_WAIT):
            if known:
                return known
            raise redis.ConnectionError("the sentinels are slow; nothing was published")
        try:
            known = self._watch.known
            if known and not self._watch.is_due(time.monotonic()):
                return known
            return self._asked()
        finally:
            self._looking.release()

    def _asked(self) -> Address:
        answers, failures = [], []
        for at in self._watch.to_ask(time.monotonic()):
            try:
                [reply] = self._sentinels[at].exchange([self._watch.question()])
                answers.append(state_of(reply))
            except (redis.RedisError, OSError) as why:
                failures.append((at, why))
                self._watch.is_silent(at, time.monotonic())
        return self._watch.concluded(answers, failures, time.monotonic())

    def _dialed(self, address: Address) -> Any:
        host, port = address
        connection = self._make(host=host, port=port)
        try:
            connection.connect()
            connection.send_command("ROLE")
            role = _answer(connection)
            if not is_master(role) and not isinstance(role, NoPermissionError):
                raise redis.ConnectionError(f"{host}:{port} is no master; nothing was published")
        except BaseException:
            connection.disconnect()
            self._watch.doubt(address)
            raise
        return connection

    def _keep(self, connection: Any, answers: list[Any]) -> None:
        if tells_of_a_replica(answers):
            connection.disconnect()
            self._watch.doubt((connection.host, connection.port))
        else:
            super()._keep(connection, answers)

    def _end(self, connection: Any) -> None:
        super()._end(connection)
        self._watch.doubt()


class Node(Pool):
    """The connections to one node of a cluster."""

    def _connected(self) -> Any:
        try:
            return super()._connected()
        except (redis.RedisError, OSError) as why:
            raise Unreached(why) from why


class Clustered:
    """The connections to the nodes of a cluster. Each command goes to where its slot is."""

    def __init__(self, place: Cluster) -> None:
        self._place = place
        # What is wrong with the arguments is told here, and not when somebody publishes.
        Node(place.at(place.addresses[0]))
        self.forget()

    def forget(self) -> None:
        """Begins anew, without closing anything."""
        self._nodes: dict[tuple[Address, Optional[int]], Node] = {}
        self._slots = Slots(self._place)
        self._looking = threading.Lock()

    def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent node by node."""
        course = Course(self._slots, commands, transaction, time.monotonic())
        while True:
            self._look()
            for parcel in course.parcels():
                try:
                    answers = self._node(parcel.address).answers(parcel.sent)
                except Unreached as why:
                    course.unreached(parcel, why.why)
                except (redis.RedisError, OSError) as why:
                    course.failed(why)
                else:
                    course.answered(parcel, answers)
            if course.is_over(time.monotonic()):
                return course.outcome()
            time.sleep(course.pause())

    def _node(self, address: Address, timeout: Optional[int] = None) -> Node:
        # Threads may make one at the same time; then one of them is kept.
        known = self._nodes.get((address, timeout))
        return known or self._nodes.setdefault(
            (address, timeout), Node(self._place.at(address, timeout))
        )

    def _look(self) -> None:
        """Asks who has which slots, if that is due."""
        if not self._slots.is_due(time.monotonic()):
            return
        # Whoever knows enough to go on does not wait for another who is asking.
        is_known = self._slots.is_known
        if not self._looking.acquire(timeout=0 if is_known else LONGEST_WAIT):
            return
        try:
            if self._slots.is_due(time.monotonic()):
                self._ask()
        finally:
            self._looking.release()

    def _ask(self) -> None:
        others, failures = [], []
        asked = self._slots.to_ask(time.monotonic())
        for address in asked:
            try:
                answers = self._node(address, SENTINEL_TIMEOUT).exchange(QUESTIONS)
                said = said_of(answers, address)
            except (Unreached, redis.RedisError, OSError) as why:
                failures.append((address, why.why if isinstance(why, Unreached) else why))
                self._slots.is_silent(address, time.monotonic())
                continue
            if self._slots.believes(said):
                for key in [key for key in self._nodes if not self._slots.has(key[0])]:
                    self._nodes.pop(key, None)
                return
            others.append(said)
        self._slots.concluded(len(asked), others, failures)


class Several:
    """Several Redis: each command goes to the one that its channel is at."""

    def __init__(self, pools: list[Exchanging]) -> None:
        self._pools = pools

    def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands. A Redis that fails keeps nothing from the others."""
        answers: list[Any] = [None] * len(commands)
        failures: list[Exception] = []
        for at, places in shared_out(commands, len(self._pools)).items():
            try:
                theirs = [commands[place] for place in places]
                for place, answer in zip(places, self._pools[at].exchange(theirs, transaction)):
                    answers[place] = answer
            except Exception as why:
                failures.append(why)
        if failures:
            raise failures[0]
        return answers


class Foreign:
    """A client of redis-py that the program has made itself, with its own ways."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def exchange(self, commands: list[Command], transaction: bool = False) -> list[Any]:
        """The answers to these commands, which are sent together."""
        pipeline = self._client.pipeline(transaction=transaction)
        if iscoroutinefunction(pipeline.execute):
            raise TypeError("redis is a client for asyncio, which is for wsloop.aio")
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = pipeline.execute()
        return answers


def pool(place: Place) -> Exchanging:
    """The connections to this place, as long as the process lives."""
    if isinstance(place, tuple):
        return Several([pool(each) for each in place])
    if not isinstance(place, (str, dict, Sentinels, Cluster)):
        return Foreign(place)
    with _lock:
        for known_place, known in _pools:
            if known_place == place:
                return known
        made = _made(place)
        _pools.append((copy.copy(place), made))
        return made


def _made(place: Union[str, dict[str, Any], Sentinels, Cluster]) -> Union[Pool, Clustered]:
    if isinstance(place, Cluster):
        return Clustered(place)
    return Followed(place) if isinstance(place, Sentinels) else Pool(place)


def told(place: Place, command: Command) -> Any:
    """The answer of the first of several Redis that is there. The command may be done twice."""
    *others, last = map(pool, each_of(place))
    for each in others:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return each.exchange([command])[0]
    return last.exchange([command])[0]


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        # The answers to the other commands are still to come.
        return error


def _has_ended(connection: Any) -> bool:
    """No answer is due, so what there is to be read is the end, or nothing that was asked for."""
    try:
        return bool(connection.can_read(0))
    except (redis.RedisError, OSError):
        return True


# A list, since redis-py's arguments need not be hashable, and there is rarely more than one.
_pools: list[tuple[Any, Union[Pool, Clustered]]] = []
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for _, made in _pools:
        made.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
