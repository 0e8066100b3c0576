"""Where Redis is and what names begin with.

Each setting is looked for by itself: an argument, then, in a Django project, ``WSLOOP_…`` and
``WS4REDIS_…`` in its settings, then the environment's ``WSLOOP_…``, then the default.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any, Union

#: A URL, redis-py's keyword arguments, or a client of redis-py.
Connection = Union[str, "dict[str, Any]", Any]

#: Where ws4redis looks for Redis when nothing else is said.
DEFAULT_REDIS = "redis://127.0.0.1:6379"
#: Where wsloop's embedded broker answers Redis clients.
DEFAULT_RESP = "127.0.0.1:6380"
DEFAULT_EXPIRE = 3600
# A web request must not hang for as long as Redis does.
_TIMEOUTS = {"socket_connect_timeout": 5, "socket_timeout": 5}

_ABSENT = object()


@dataclass(frozen=True)
class Settings:
    """What a publisher needs to know."""

    redis: Connection
    prefix: str
    expire: int
    heartbeat: bytes

    @classmethod
    def find(
        cls, redis: Connection = None, prefix: str | None = None, expire: int | None = None
    ) -> Settings:
        """What is given, and the rest from where it is set."""
        if redis is None:
            redis = redis_setting() or f"redis://{resp()}"
        if prefix is None:
            prefix = setting("PREFIX", "PREFIX", "")
        if expire is None:
            expire = setting("EXPIRE", "EXPIRE", DEFAULT_EXPIRE)
        heartbeat = setting("HEARTBEAT", "HEARTBEAT", "") or ""
        if isinstance(heartbeat, str):
            heartbeat = heartbeat.encode()
        return cls(redis, str(prefix or ""), int(expire or 0), heartbeat)


def redis_setting() -> Connection:
    """Where Redis is; None means that there is none but the embedded broker."""
    return setting("REDIS", "CONNECTION", DEFAULT_REDIS) or None


def setting(name: str, old_name: str, default: Any) -> Any:
    """``WSLOOP_name``, then ``WS4REDIS_old_name``. An empty environment variable is not set."""
    django = _django()
    if django is not None:
        for full_name in (f"WSLOOP_{name}", f"WS4REDIS_{old_name}"):
            value = getattr(django, full_name, _ABSENT)
            if value is not _ABSENT:
                return value
    return os.environ.get(f"WSLOOP_{name}") or default


def resp() -> str:
    """Where the embedded broker answers, ``host:port``."""
    return str(setting("RESP", "RESP", DEFAULT_RESP))


def arguments(redis: str | dict[str, Any], retry: Any) -> tuple[str | None, dict[str, Any]]:
    """A URL as redis-py spells it, or None, and keyword arguments for redis-py.

    Messages are bytes, whatever else the project uses the same settings for. Retrying is up to
    the caller, and `retry` never does: a PUBLISH whose answer is late has been done already.
    """
    usual = {**_TIMEOUTS, "retry": retry}
    if isinstance(redis, str):
        # wsloop's own spelling of a Unix socket.
        url = redis[len("redis+") :] if redis.startswith("redis+unix:") else redis
        if url.startswith("unix:"):
            # Older versions of redis-py refuse it there.
            del usual["socket_connect_timeout"]
        return url, {**usual, "decode_responses": False}
    return None, {**usual, **redis, "decode_responses": False}


def _django() -> Any:
    """Django's settings, in a process that uses Django."""
    conf = sys.modules.get("django.conf")
    if conf is None:
        return None
    usable = conf.settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE")
    return conf.settings if usable else None
