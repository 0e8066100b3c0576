"""Connections to Redis for programs that may block.

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

import copy
import os
import threading
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, Union

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ._exchange import LONGEST_WAIT, Command, all_in_use, framed, most_connections, outcome
from ._settings import Connection, arguments


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
        if not self._turns.acquire(timeout=LONGEST_WAIT):
            raise all_in_use(self._most)
        try:
            connection = self._connected()
            sent = framed(commands, transaction)
            try:
                connection.send_packed_command(connection.pack_commands(sent))
                answers = [_answer(connection) for _ in sent]
            except BaseException:
                connection.disconnect()
                raise
            self._kept.append(connection)
        finally:
            self._turns.release()
        return outcome(answers, transaction)

    def _connected(self) -> Any:
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                break
            if not _has_ended(connection):
                return connection
            connection.disconnect()
        connection = self._make()
        connection.connect()
        return connection


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


def pool(place: Connection) -> Union[Pool, Foreign]:
    """The connections to this place, as long as the process lives."""
    if not isinstance(place, (str, dict)):
        return Foreign(place)
    with _lock:
        for known_place, known in _pools:
            if known_place == place:
                return known
        made = Pool(place)
        _pools.append((copy.copy(place), made))
        return made


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
_pools: list[tuple[Union[str, dict[str, Any]], Pool]] = []
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for _, made in _pools:
        made.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
