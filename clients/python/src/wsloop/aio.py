"""The publisher of an asyncio program: as in ``wsloop``, and its methods are awaited.

With a request, the publisher finds out who SELF is when it is first awaited: in Django that may
ask the database, which is done in a thread.
"""

from __future__ import annotations

import asyncio
import copy
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Optional

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ._channels import CONTROL, SELF, Who, channels, named, stored_at
from ._message import Publishable, RedisMessage
from ._settings import Connection, Settings, arguments
from .publisher import Published, disconnecting, first, published, publishing

__all__ = ["SELF", "Published", "RedisMessage", "RedisPublisher", "close", "disconnect"]


class RedisPublisher:
    """``wsloop.RedisPublisher`` for asyncio; ``redis`` may be a client of ``redis.asyncio``."""

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
        audiences = (broadcast, groups, users, sessions)
        name_prefix = self._settings.prefix
        self._names = partial(channels, name_prefix, facility, request, *audiences)
        # Without a request nothing has to be found out, and a mistake is told here.
        self._channels = self._names() if request is None else None

    async def publish_message(
        self, message: Publishable, expire: Optional[int] = None
    ) -> Published:
        """Publishes, and stores the message for browsers that come within ``expire`` seconds."""
        return await self.pipeline_publish_message(message, expire)

    async def pipeline_publish_message(
        self, message: Publishable, expire: Optional[int] = None, transaction: bool = False
    ) -> Published:
        """The same; with ``transaction`` all channels get it at one time, by MULTI and EXEC."""
        if self._channels is None:
            self._channels = await _in_thread(self._names)
        commands = publishing(self._settings, self._channels, message, expire)
        if not commands:
            return Published(0, 0)
        pipeline = _client(self._settings.redis).pipeline(transaction=transaction)
        for command in commands:
            pipeline.execute_command(*command)
        return published(commands, await pipeline.execute())

    async def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> Optional[bytes]:
        """The message stored for the request's session, user, groups or everybody."""
        prefix = self._settings.prefix
        names = await _in_thread(partial(stored_at, prefix, request, facility, audience))
        return first(await _client(self._settings.redis).mget(names)) if names else None


async def disconnect(
    *,
    user: Optional[str] = None,
    session: Optional[str] = None,
    group: Optional[str] = None,
    code: Optional[int] = None,
    reason: Optional[str] = None,
    redis: Connection = None,
    prefix: Optional[str] = None,
) -> int:
    """Closes the sockets of one user, session or group; returns how many processes were told."""
    settings = Settings.find(redis, prefix)
    order = disconnecting(user, session, group, code, reason)
    told: int = await _client(settings.redis).publish(named(settings.prefix, CONTROL), order)
    return told


async def close() -> None:
    """Closes the connections that publishers opened in this event loop."""
    for _, made in _clients.pop(asyncio.get_running_loop(), []):
        await (made.aclose() if hasattr(made, "aclose") else made.close())


async def _in_thread(ask: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    # Django's users and sessions are lazy. Whoever has Django has asgiref.
    if "django.conf" in sys.modules:
        from asgiref.sync import sync_to_async

        found: tuple[str, ...] = await sync_to_async(ask)()
        return found
    return ask()


# A connection belongs to the event loop that opened it.
_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[Any, Any]]]
_clients = weakref.WeakKeyDictionary()


def _client(redis: Connection) -> Any:
    if not isinstance(redis, (str, dict)):
        return redis
    known = _clients.setdefault(asyncio.get_running_loop(), [])
    for place, made in known:
        if place == redis:
            return made
    url, options = arguments(redis, Retry(NoBackoff(), 0))
    made = Redis.from_url(url, **options) if url else Redis(**options)
    known.append((copy.copy(redis), made))
    return made
