"""The publisher of a program that may block.

All commands of one call go to Redis together and are answered in one round trip.
"""

from __future__ import annotations

import copy
import json
import threading
from typing import Any, NamedTuple, Optional, Union

import redis as redis_py
from redis.backoff import NoBackoff
from redis.retry import Retry

from ._channels import CONTROL, Who, channels, named, stored_at
from ._message import Publishable, RedisMessage
from ._settings import Connection, Settings, arguments


class Published(NamedTuple):
    """What became of a message."""

    #: How many channels it was published to.
    channels: int
    #: How many times a Redis client, such as a wsloop process, received it. Not browsers: a
    #: process receives a message once for all of its browsers.
    receivers: int


class RedisPublisher:
    """Publishes to the channels of one facility.

    ``groups``, ``users`` and ``sessions`` are one name or several; ``SELF`` among them means the
    request's own. ``redis`` is a URL, a dict of redis-py's arguments or a client of redis-py;
    it, ``prefix`` and ``expire`` come from the settings otherwise. With no audience there is
    nothing to publish to, and it only fetches.
    """

    def __init__(
        self,
        *,
        request: Any = None,
        facility: Optional[str] = None,
        broadcast: bool = False,
        groups: Who = None,
        users: Who = None,
        sessions: Who = None,
        redis: Connection = None,
        prefix: Optional[str] = None,
        expire: Optional[int] = None,
    ) -> None:
        self._settings = Settings.find(redis, prefix, expire)
        self._redis = client(self._settings.redis)
        self.channels = channels(
            self._settings.prefix, facility, request, broadcast, groups, users, sessions
        )

    def publish_message(self, message: Publishable, expire: Optional[int] = None) -> Published:
        """Publishes, and stores the message for browsers that come within ``expire`` seconds.

        None is the default of the settings, 0 stores nothing and leaves what is stored.
        """
        return self.pipeline_publish_message(message, expire)

    def pipeline_publish_message(
        self, message: Publishable, expire: Optional[int] = None, transaction: bool = False
    ) -> Published:
        """The same; with ``transaction`` all channels get it at one time, by MULTI and EXEC."""
        commands = publishing(self._settings, self.channels, message, expire)
        if not commands:
            return Published(0, 0)
        pipeline = self._redis.pipeline(transaction=transaction)
        for command in commands:
            pipeline.execute_command(*command)
        return published(commands, pipeline.execute())

    def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> Optional[bytes]:
        """The message stored for the request's session, user, groups or everybody.

        The first of these that has one; ``audience`` names one to look for it alone.
        """
        names = stored_at(self._settings.prefix, request, facility, audience)
        return first(self._redis.mget(names)) if names else None


def disconnect(
    *,
    user: Optional[str] = None,
    session: Optional[str] = None,
    group: Optional[str] = None,
    code: Optional[int] = None,
    reason: Optional[str] = None,
    redis: Connection = None,
    prefix: Optional[str] = None,
) -> int:
    """Closes the sockets of one user, session or group in every wsloop process.

    Returns how many processes were told. Without ``code`` they close with 4403, after which
    wsloop's JavaScript does not come back by itself.
    """
    settings = Settings.find(redis, prefix)
    order = disconnecting(user, session, group, code, reason)
    told: int = client(settings.redis).publish(named(settings.prefix, CONTROL), order)
    return told


def publishing(
    settings: Settings, names: tuple[str, ...], message: Publishable, expire: Optional[int]
) -> list[tuple[Any, ...]]:
    """The commands that publish a message: for each channel first PUBLISH, then SETEX."""
    message = RedisMessage(message)
    if message and message == settings.heartbeat:
        raise ValueError("this message is the heartbeat, which browsers do not take for a message")
    expire = settings.expire if expire is None else expire
    commands: list[tuple[Any, ...]] = []
    for name in names:
        commands.append(("PUBLISH", name, message))
        if expire > 0:
            commands.append(("SETEX", name, expire, message))
    return commands


def published(commands: list[tuple[Any, ...]], replies: list[Any]) -> Published:
    """Counts the answers to these commands."""
    counts = [reply for (word, *_), reply in zip(commands, replies) if word == "PUBLISH"]
    return Published(len(counts), sum(counts))


def first(values: list[Optional[bytes]]) -> Optional[bytes]:
    """The first that is there and not empty."""
    return next((value for value in values if value), None)


def disconnecting(
    user: Optional[str],
    session: Optional[str],
    group: Optional[str],
    code: Optional[int],
    reason: Optional[str],
) -> str:
    """What wsloop is told on its control channel."""
    who = {"user": user, "session": session, "group": group}
    whom = {audience: str(name) for audience, name in who.items() if name}
    if len(whom) != 1:
        raise ValueError("one of user, session and group says whose sockets are closed")
    order: dict[str, Any] = {"disconnect": whom}
    if code is not None:
        order["code"] = code
    if reason is not None:
        order["reason"] = reason
    return json.dumps(order)


# One pool of connections for each place, as long as the process lives. A list, since redis-py's
# arguments need not be hashable, and there is rarely more than one.
_clients: list[tuple[Union[str, dict[str, Any]], Any]] = []
_clients_lock = threading.Lock()


def client(redis: Connection) -> Any:
    """The client for this place; a client is its own."""
    if not isinstance(redis, (str, dict)):
        return redis
    with _clients_lock:
        for place, known in _clients:
            if place == redis:
                return known
        url, options = arguments(redis, Retry(NoBackoff(), 0))
        made = redis_py.Redis.from_url(url, **options) if url else redis_py.Redis(**options)
        _clients.append((copy.copy(redis), made))
        return made
