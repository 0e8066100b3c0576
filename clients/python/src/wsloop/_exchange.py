"""What the blocking and the asyncio publisher send, what they take for an answer, and their limits.

It has no connection. Everything that can be wrong with a call is found out here, before anything
is sent: a message that was delivered and then makes an exception is published again by callers.
"""

from __future__ import annotations

import json
import operator
from typing import Any, NamedTuple, Optional, Union
from urllib.parse import parse_qs, urlsplit

import redis
from redis.crc import key_slot

from ._channels import owner
from ._history import recording
from ._message import Publishable, RedisMessage
from ._settings import Settings, whole_seconds

#: Most connections to one Redis, of one process or event loop. Who comes when all are in use waits.
MOST_CONNECTIONS = 20
#: Longest wait for one of them, in seconds.
LONGEST_WAIT = 5.0
#: What a close frame has room for besides its code, in bytes.
_MAX_REASON = 123

Command = tuple[Any, ...]


class Published(NamedTuple):
    """What became of a message."""

    #: How many channels it was published to.
    channels: int
    #: How many times a Redis client, such as a wsloop process, received it. Not browsers: a
    #: process receives a message once for all of its browsers.
    receivers: int


def publishing(
    settings: Settings, names: tuple[str, ...], message: Publishable, expire: Optional[int]
) -> list[Command]:
    """The commands that publish a message: for each channel first PUBLISH, then SETEX.

    Where a channel has a history, the script is in the place of PUBLISH and answers like it.
    """
    message = RedisMessage(message)
    if message and message == settings.heartbeat:
        raise ValueError("this message is the heartbeat, which browsers do not take for a message")
    expire = settings.expire if expire is None else whole_seconds(expire, "expire")
    commands: list[Command] = []
    word = publish_word(settings)
    for name in names:
        kept = recording(settings.history, settings.prefix, name, message, settings.sharded)
        commands.append(kept or (word, name, message))
        if expire > 0:
            commands.append(("SETEX", name, expire, message))
    return commands


def publish_word(settings: Settings) -> str:
    """The command that publishes. SPUBLISH concerns one shard of a cluster only."""
    return "SPUBLISH" if settings.sharded else "PUBLISH"


def published(commands: list[Command], replies: list[Any]) -> Published:
    """Counts the answers to these commands."""
    counts = [reply for (word, *_), reply in zip(commands, replies) if word != "SETEX"]
    return Published(len(counts), sum(counts))


def shared_out(commands: list[Command], redis_count: int) -> dict[int, list[int]]:
    """Which commands each of several Redis gets, by their places. It is in the book's page.

    A channel is at the Redis whose number is the slot of its name in a Redis Cluster modulo the
    number of Redis; its stored message and its history are with it.
    """
    shares: dict[int, list[int]] = {}
    for place, command in enumerate(commands):
        slot = key_slot(channel_of(command).encode())
        shares.setdefault(slot % redis_count, []).append(place)
    return shares


def channel_of(command: Command) -> str:
    """The channel that a command concerns."""
    # EVAL has the script, the number of keys and the history's name before it.
    return str(command[4] if command[0] == "EVAL" else command[1])


def fetching(names: tuple[str, ...]) -> list[Command]:
    """The commands that fetch what is stored at these names."""
    return [("GET", name) for name in names]


def first(values: list[Optional[bytes]]) -> Optional[bytes]:
    """The first that is there and not empty."""
    return next((value for value in values if value), None)


def disconnecting(user: Any, session: Any, group: Any, code: Any, reason: Any) -> str:
    """What wsloop is told on its control channel."""
    audience, name = owner(user, group, session)
    order: dict[str, Any] = {"disconnect": {audience: name}}
    if code is not None:
        order["code"] = _close_code(code)
    if reason is not None:
        if not isinstance(reason, str):
            raise TypeError(f"reason is a text, not {reason!r}")
        if len(reason.encode()) > _MAX_REASON:
            raise ValueError(f"reason has more than {_MAX_REASON} bytes")
        order["reason"] = reason
    return json.dumps(order)


def _close_code(code: Any) -> int:
    """A code that a close frame can carry, RFC 6455 section 7.4."""
    try:
        number = operator.index(code)
    except TypeError:
        number = None
    if number is None or isinstance(code, bool):
        raise TypeError(f"code is a number such as 4403, not {code!r}")
    if not (1000 <= number <= 1003 or 1007 <= number <= 1014 or 3000 <= number <= 4999):
        raise ValueError(f"code {number} is none that a socket is closed with, such as 4403")
    return number


def framed(commands: list[Command], transaction: bool) -> list[Command]:
    """The commands as they are sent."""
    return [("MULTI",), *commands, ("EXEC",)] if transaction else commands


def outcome(answers: list[Any], transaction: bool) -> list[Any]:
    """The answers to the commands themselves; the first error among them is raised."""
    executed = answers[-1] if transaction and isinstance(answers[-1], list) else []
    for answer in (*answers, *executed):
        if isinstance(answer, Exception):
            raise answer
    return executed if transaction else answers


def most_connections(place: Union[str, dict[str, Any]]) -> int:
    """How many connections there may be: redis-py's ``max_connections``, if it is given."""
    if isinstance(place, str):
        query = parse_qs(urlsplit(place).query)
        given = query.get("max_connections", [0])[0]
    else:
        given = place.get("max_connections") or 0
    # As for redis-py, 0 is the default.
    return int(given) or MOST_CONNECTIONS


def all_in_use(most: int) -> redis.ConnectionError:
    """The error for who has waited long enough."""
    return redis.ConnectionError(
        f"all {most} connections to Redis were in use for {LONGEST_WAIT:g} s; nothing was "
        "published. More of them are allowed by max_connections."
    )
