"""Where Redis is and what names begin with.

Each setting is looked for by itself: an argument, then, in a Django project, ``WSLOOP_…`` and
``WS4REDIS_…`` in its settings, then the environment's ``WSLOOP_…``, then the default.
"""

from __future__ import annotations

import operator
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._channels import checked_prefix
from ._history import Rule, Rules, rules_of
from ._places import Connection, Place, Sentinels, as_redis_py, place_of

#: Where ws4redis looks for Redis when nothing else is said.
DEFAULT_REDIS = "redis://127.0.0.1:6379"
#: Where wsloop's embedded broker answers Redis clients.
DEFAULT_RESP = "127.0.0.1:6380"
DEFAULT_EXPIRE = 3600
#: Longest that a message is stored, in seconds: 100 years, as for the server.
LONGEST_EXPIRE = 100 * 365 * 24 * 3600
# A web request must not hang for as long as Redis does.
_TIMEOUTS = {"socket_connect_timeout": 5, "socket_timeout": 5}

_ABSENT = object()


@dataclass(frozen=True)
class Settings:
    """What a publisher needs to know."""

    redis: Place
    prefix: str
    expire: int
    heartbeat: bytes
    history: tuple[Rule, ...]
    sharded: bool = False

    @classmethod
    def find(
        cls,
        redis: Connection = None,
        prefix: str | None = None,
        expire: int | None = None,
        history: Rules | None = None,
        sharded: bool | None = None,
    ) -> Settings:
        """What is given, and the rest from where it is set.

        What is wrong with a setting is a ValueError or TypeError with its name.
        """
        name = "redis"
        if redis is None:
            name, redis = found("REDIS", "CONNECTION", DEFAULT_REDIS)
            redis = redis or f"redis://{resp()}"
        place = place_of(redis, name, _sentinel_login)
        name = "prefix"
        if prefix is None:
            name, prefix = found("PREFIX", "PREFIX", "")
        prefix = checked_prefix(prefix or "", name)
        name = "expire"
        if expire is None:
            name, expire = found("EXPIRE", "EXPIRE", DEFAULT_EXPIRE)
            expire = _from_text(expire)
        # In ws4redis None is to store nothing.
        expire = whole_seconds(0 if expire is None else expire, name)
        name, heartbeat = found("HEARTBEAT", "HEARTBEAT", "")
        if not isinstance(heartbeat, (str, bytes, type(None))):
            raise TypeError(f"{name} is a text, not {heartbeat!r}")
        heartbeat = heartbeat.encode() if isinstance(heartbeat, str) else heartbeat or b""
        name = "history"
        if history is None:
            name, history = found("HISTORY", "HISTORY", None)
        rules = rules_of(history, name)
        name = "sharded"
        if sharded is None:
            name, sharded = found("REDIS_SHARDED", "REDIS_SHARDED", False)
        return cls(place, prefix, expire, heartbeat, rules, _is_sharded(sharded, place, name))


def whole_seconds(seconds: Any, name: str) -> int:
    """How long a message is stored: whole seconds up to 100 years; 0 and less is not at all."""
    if isinstance(seconds, (bool, str, bytes)) or not hasattr(seconds, "__int__"):
        raise TypeError(f"{name} is a whole number of seconds, not {seconds!r}")
    try:
        whole = operator.index(seconds)
    except TypeError:
        raise ValueError(f"{name} is a whole number of seconds, not {seconds!r}") from None
    if whole > LONGEST_EXPIRE:
        raise ValueError(f"{name} is {whole} seconds, which is more than 100 years")
    return whole


def redis_setting() -> Connection:
    """Where Redis is; None means that there is none but the embedded broker."""
    return setting("REDIS", "CONNECTION", DEFAULT_REDIS) or None


def setting(name: str, old_name: str, default: Any) -> Any:
    """``WSLOOP_name``, then ``WS4REDIS_old_name``. An empty environment variable is not set."""
    return found(name, old_name, default)[1]


def found(name: str, old_name: str, default: Any) -> tuple[str, Any]:
    """The same, behind the name by which it was found."""
    django = _django()
    if django is not None:
        for full_name in (f"WSLOOP_{name}", f"WS4REDIS_{old_name}"):
            value = getattr(django, full_name, _ABSENT)
            if value is not _ABSENT:
                return full_name, value
    return f"WSLOOP_{name}", os.environ.get(f"WSLOOP_{name}") or default


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
        url = as_redis_py(redis)
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


def _sentinel_login() -> tuple[str, str]:
    """Who sentinels are to take us for, which is not what their Redis wants to know."""
    user = setting("REDIS_SENTINEL_USER", "REDIS_SENTINEL_USER", "")
    name, path = found("REDIS_SENTINEL_PASSWORD", "REDIS_SENTINEL_PASSWORD", "")
    if not path:
        return "", ""
    try:
        password = Path(path).read_text("utf-8")
    except (OSError, TypeError, ValueError) as why:
        raise ValueError(f"{name} is a file with the password for sentinels: {why}") from why
    # As for the server, one line end is none of it.
    return str(user or ""), re.sub(r"\r?\n\Z", "", password)


def _is_sharded(given: Any, place: Place, name: str) -> bool:
    """Whether messages stay at their shard. `both` is for the server, which hears both forms."""
    words = {"off": False, "both": True, "on": True, "": False}
    sharded = given if isinstance(given, bool) else words.get(str(given or ""))
    if sharded is None:
        raise ValueError(f"{name} is off, both or on, or True or False")
    if sharded and isinstance(place, (str, dict, tuple, Sentinels)):
        raise ValueError(f"{name} is for a cluster, whose URL is such as redis+cluster://host,host")
    return sharded


def _from_text(value: Any) -> Any:
    """A number from the environment, which has texts only."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
