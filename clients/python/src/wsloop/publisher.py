"""The publisher of a program that may block.

All commands of one call go to Redis together and are answered in one round trip.
"""

from __future__ import annotations

from typing import Any, Optional, Union

from ._channels import CONTROL, Who, channels, named, stored_at
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
from ._message import Publishable
from ._names import HasName, HasUsername
from ._pool import pool, told
from ._places import Connection
from ._settings import Settings


class RedisPublisher:
    """Publishes to the channels of one facility.

    ``groups``, ``users`` and ``sessions`` are one name or several; ``SELF`` among them means the
    request's own. ``redis`` is a URL, a dict of redis-py's arguments or a client of redis-py;
    it, ``prefix``, ``expire`` and ``history`` come from the settings otherwise. ``history`` are the
    rules of the server's ``--history``, as in ``chat/*=100/300``: what is published on such a
    channel is added to its last messages. ``sharded`` is for a Redis Cluster:
    messages are published by SPUBLISH, which the server has to hear. With no audience there is
    nothing to publish to, and it only fetches.
    """

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
        self._pool = pool(self._settings.redis)
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
        return published(commands, self._pool.exchange(commands, transaction))

    def fetch_message(
        self, request: Any, facility: Union[str, int], audience: str = "any"
    ) -> Optional[bytes]:
        """The message stored for the request's session, user, groups or everybody.

        The first of these that has one; ``audience`` names one to look for it alone.
        """
        names = stored_at(self._settings.prefix, request, facility, audience)
        if not names:
            return None
        return first(self._pool.exchange(fetching(names)))


def disconnect(
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
    """Closes the sockets of one user, session or group in every wsloop process.

    Returns how many processes were told. Without ``code`` they close with 4403, after which
    wsloop's JavaScript does not come back by itself.
    """
    settings = Settings.find(redis, prefix, sharded=sharded)
    order = disconnecting(user, session, group, code, reason)
    channel = named(settings.prefix, CONTROL)
    return int(told(settings.redis, (publish_word(settings), channel, order)))
