"""The publisher of an asyncio program: as in ``wsloop``, and its methods are awaited.

With a request, the publisher finds out who SELF is when it is first awaited: in Django that may
ask the database, which is done in a thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Optional, Union

from ._aio_pool import close, pool, told
from ._channels import CONTROL, SELF, Who, channels, named, stored_at
from ._exchange import (
    Published,
    disconnecting,
    fetching,
    first,
    publish_word,
    published,
    publishing,
)
from ._history import Rules
from ._message import Publishable, RedisMessage
from ._names import HasName, HasUsername
from ._places import Connection
from ._settings import Settings

__all__ = ["SELF", "Published", "RedisMessage", "RedisPublisher", "close", "disconnect"]


class RedisPublisher:
    """``wsloop.RedisPublisher`` for asyncio; ``redis`` may be a client of ``redis.asyncio``."""

    def __init__(
        self,
        *,
        request: Any = None,
        facility: Union[str, int, None] = None,
        broadcast: bool = False,
        groups: Who = None,
        users: Who = None,
        sessions: Who = None,
        redis: Connection = None,
        prefix: Optional[str] = None,
        expire: Optional[int] = None,
        history: Optional[Rules] = None,
        sharded: Optional[bool] = None,
    ) -> None:
        self._settings = Settings.find(redis, prefix, expire, history, sharded)
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
        connections = await pool(self._settings.redis)
        return published(commands, await connections.exchange(commands, transaction))

    async def fetch_message(
        self, request: Any, facility: Union[str, int], audience: str = "any"
    ) -> Optional[bytes]:
        """The message stored for the request's session, user, groups or everybody."""
        prefix = self._settings.prefix
        names = await _in_thread(partial(stored_at, prefix, request, facility, audience))
        if not names:
            return None
        connections = await pool(self._settings.redis)
        return first(await connections.exchange(fetching(names)))


async def disconnect(
    *,
    user: Union[str, int, HasUsername, None] = None,
    session: Union[str, int, None] = None,
    group: Union[str, int, HasName, None] = None,
    code: Optional[int] = None,
    reason: Optional[str] = None,
    redis: Connection = None,
    prefix: Optional[str] = None,
    sharded: Optional[bool] = None,
) -> int:
    """Closes the sockets of one user, session or group; returns how many processes were told."""
    settings = Settings.find(redis, prefix, sharded=sharded)
    order = disconnecting(user, session, group, code, reason)
    channel = named(settings.prefix, CONTROL)
    return int(await told(settings.redis, (publish_word(settings), channel, order)))


async def _in_thread(ask: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    # Django's users and sessions are lazy. Whoever has Django has asgiref.
    if "django.conf" in sys.modules:
        from asgiref.sync import sync_to_async

        found: tuple[str, ...] = await sync_to_async(ask)()
        return found
    return ask()
