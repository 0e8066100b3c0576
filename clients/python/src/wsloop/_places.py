"""What says where Redis is, read into one of a few forms that connections are made from.

It opens no connection, and knows redis-py by its words only.

Rules:
- What is wrong is a ValueError or TypeError with the setting's name. It repeats nothing of a URL,
  for any part of it may be a password.
- Of several Redis the order is part of the meaning: it decides which channel is where.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

#: A URL, redis-py's keyword arguments, a client of redis-py, or a list of these.
Connection = Union[str, "dict[str, Any]", "list[Any]", "tuple[Any, ...]", Any]

#: Says who we are to sentinels: user and password, each of which may be empty.
Login = Callable[[], "tuple[str, str]"]

#: Where a Redis and a Redis Sentinel answer when nothing else is said.
REDIS_PORT = 6379
SENTINEL_PORT = 26379
#: Most Redis that channels are spread over, as for the server.
MOST_REDIS = 64
#: Most sentinels of one Redis, as for the server.
MOST_SENTINELS = 16
#: Most nodes of a cluster that are named, as for the server.
MOST_SEEDS = 64
#: Longest that one sentinel, or one node of a cluster that is asked about it, is waited for, in
#: seconds. There are others.
SENTINEL_TIMEOUT = 1

_FORM = (
    "redis://[user:password@]host[:port][/db], rediss:// for TLS, redis+unix:///path?db=N, "
    "redis+sentinel://[user:password@]host[:port],host[:port]/NAME[/db], or "
    "redis+cluster://[user:password@]host[:port],host[:port]"
)
# wsloop's own spellings.
_SPELLINGS = (
    ("redis+unix:", "unix:"),
    ("valkey:", "redis:"),
    ("valkeys:", "rediss:"),
    ("valkey+sentinel:", "redis+sentinel:"),
    ("valkeys+sentinel:", "rediss+sentinel:"),
    ("valkey+cluster:", "redis+cluster:"),
    ("valkeys+cluster:", "rediss+cluster:"),
)
# A comma elsewhere is part of a URL, as between sentinels.
_BETWEEN = re.compile(r"[\s,]+(?=[a-zA-Z0-9+]+://)")
_SENTINEL = re.compile(r"(rediss?)\+sentinel://", re.IGNORECASE)
_CLUSTER = re.compile(r"(rediss?)\+cluster://", re.IGNORECASE)


@dataclass(frozen=True)
class Sentinels:
    """A Redis whose address its sentinels know: a URL or arguments each, as for one Redis."""

    #: What the sentinels call it.
    name: str
    #: Everything about it but its address.
    master: Union[str, dict[str, Any]] = field(repr=False)
    #: The sentinels themselves.
    sentinels: tuple[Union[str, dict[str, Any]], ...] = field(repr=False)
    #: Their hosts and ports.
    addresses: tuple[tuple[str, int], ...]
    #: Who they are to take us for.
    login: tuple[str, str] = field(default=("", ""), repr=False)


@dataclass(frozen=True)
class Cluster:
    """A Redis Cluster, of which some nodes are known: a URL or arguments, as for one Redis."""

    #: Everything about its nodes but their addresses.
    node: Union[str, dict[str, Any]] = field(repr=False)
    #: The hosts and ports of those that are known.
    addresses: tuple[tuple[str, int], ...]

    def at(
        self, address: tuple[str, int], timeout: Optional[int] = None
    ) -> Union[str, dict[str, Any]]:
        """One of its nodes, which is waited for so long, in seconds."""
        host, port = address
        waits = [] if timeout is None else ["socket_timeout", "socket_connect_timeout"]
        if isinstance(self.node, dict):
            return {**self.node, **dict.fromkeys(waits, timeout), "host": host, "port": port}
        parts = urlsplit(self.node)
        login, at, _ = parts.netloc.rpartition("@")
        given = [each for each in parse_qsl(parts.query) if each[0] not in waits]
        query = urlencode([*given, *((each, str(timeout)) for each in waits)])
        netloc = f"{login}{at}{_text(*address)}"
        return parts._replace(netloc=netloc, query=query).geturl()


#: What connections are made from: the last is a client, or several of all these.
Place = Union[str, "dict[str, Any]", Sentinels, Cluster, "tuple[Any, ...]", Any]


def _nobody() -> tuple[str, str]:
    return "", ""


def place_of(redis: Connection, name: str, login: Login = _nobody) -> Place:
    """Where Redis is, as far as it can be seen from here; several are a tuple.

    ``login`` says who we are to sentinels, and is asked where there are some.
    """
    several = _several(redis)
    places = [_one(each, name, login) for each in several]
    if len(places) == 1:
        return places[0]
    if not places:
        raise ValueError(f"{name} names no Redis")
    if len(places) > MOST_REDIS:
        raise ValueError(f"{name} names {len(places)} Redis, more than {MOST_REDIS}")
    if any(isinstance(place, Cluster) for place in places):
        raise ValueError(f"{name} has a cluster beside another Redis; a cluster is given alone")
    where = [_where(place) for place in places]
    if any(place == other for at, place in enumerate(where) for other in where[:at]):
        raise ValueError(f"{name} names the same Redis twice; all databases of one share channels")
    return tuple(places)


def each_of(place: Place) -> tuple[Any, ...]:
    """The Redis one by one, the one that sessions are read from first."""
    return place if isinstance(place, tuple) else (place,)


def as_redis_py(url: str) -> str:
    """A URL as redis-py spells it."""
    for ours, theirs in _SPELLINGS:
        if url.lower().startswith(ours):
            return theirs + url[len(ours) :]
    return url


def is_sentinel_url(url: str) -> bool:
    """Whether it names sentinels."""
    return bool(_SENTINEL.match(as_redis_py(url)))


def is_cluster_url(url: str) -> bool:
    """Whether it names nodes of a cluster."""
    return bool(_CLUSTER.match(as_redis_py(url)))


def _several(redis: Connection) -> list[Any]:
    if isinstance(redis, str):
        return _BETWEEN.split(redis.strip())
    return list(redis) if isinstance(redis, (list, tuple)) else [redis]


def _where(place: Any) -> Any:
    """Which Redis this is, whoever we are there."""
    if isinstance(place, Sentinels):
        return place.name, frozenset(place.addresses)
    if isinstance(place, str):
        parts = urlsplit(as_redis_py(place))
        return parts.path if parts.scheme == "unix" else (parts.hostname, parts.port or REDIS_PORT)
    if isinstance(place, dict):
        path, port = place.get("unix_socket_path"), place.get("port")
        return path or (place.get("host") or "localhost", int(port or REDIS_PORT))
    return id(place)


def _one(redis: Any, name: str, login: Login) -> Any:
    if isinstance(redis, dict):
        if "startup_nodes" in redis:
            return _cluster_of_arguments(redis, name)
        return _sentinels_of_arguments(redis, name, login) if "sentinels" in redis else redis
    if not isinstance(redis, str):
        if hasattr(redis, "pipeline"):
            return redis
        kind = type(redis).__name__
        raise TypeError(f"{name} is a URL, redis-py's arguments or its client, not {kind}")
    who = login() if is_sentinel_url(redis) else _nobody()
    try:
        found: Any
        if is_cluster_url(redis):
            found = _cluster_of_url(redis)
        else:
            found = _sentinels_of_url(redis, who) if is_sentinel_url(redis) else _url(redis)
    except ValueError:
        found = None
    if found is None:
        raise ValueError(f"{name} is no URL of a Redis; write it such as {_FORM}")
    return found


def _url(url: str) -> Optional[str]:
    parts = urlsplit(as_redis_py(url))
    if parts.scheme == "unix":
        return url if parts.path else None
    is_one = parts.scheme in ("redis", "rediss") and _is_db(parts.path) and parts.port != 0
    return url if is_one else None


def _is_db(path: str) -> bool:
    # redis-py takes what is no number for database 0.
    return path in ("", "/") or path[1:].isdecimal()


def _sentinels_of_url(url: str, login: tuple[str, str]) -> Optional[Sentinels]:
    start, _, query = as_redis_py(url).partition("?")
    scheme, _, rest = start.partition("+sentinel://")
    authority, _, path = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    name, _, db = path.partition("/")
    addresses = tuple(_address(each) for each in hosts.split(","))
    if not name or not (db == "" or db.isdecimal()) or not _are_sentinels(addresses):
        return None
    if at and ":" not in userinfo:
        return None
    # The address comes from the sentinels; redis-py reads the rest.
    master = f"{scheme}://{userinfo}{at}sentinel.invalid:1/{db or 0}"
    secured = [each for each in parse_qsl(query) if each[0].startswith("ssl_")]
    waits = [(f"socket_{of}timeout", str(SENTINEL_TIMEOUT)) for of in ("", "connect_")]
    user, password = (quote(each, safe="") for each in login)
    who = f"{user}:{password}@" if password else ""
    sentinels = tuple(
        f"{scheme}://{who}{_text(*each)}/?{urlencode([*secured, *waits])}" for each in addresses
    )
    master = f"{master}?{query}".rstrip("?")
    return Sentinels(unquote(name), master, sentinels, addresses, login)


def _cluster_of_url(url: str) -> Optional[Cluster]:
    start, _, query = as_redis_py(url).partition("?")
    scheme, _, rest = start.partition("+cluster://")
    authority, _, db = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    addresses = tuple(_address(each, REDIS_PORT) for each in hosts.split(","))
    # A cluster has the database 0 and no other.
    if db not in ("", "0") or (at and ":" not in userinfo) or not _are_nodes(addresses):
        return None
    node = f"{scheme.lower()}://{userinfo}{at}cluster.invalid:1/0?{query}".rstrip("?")
    return Cluster(node, addresses)


def _cluster_of_arguments(arguments: dict[str, Any], name: str) -> Cluster:
    """redis-py's word: ``startup_nodes``, as its ``RedisCluster`` has it, or hosts and ports."""
    node = {**arguments}
    given = node.pop("startup_nodes")
    wrong = f"{name} has startup_nodes, a list such as [('10.0.0.1', {REDIS_PORT})]"
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(wrong)
    try:
        addresses = tuple(_node_address(each) for each in given)
    except (ValueError, TypeError, LookupError):
        raise ValueError(wrong) from None
    if not addresses or not _are_nodes(addresses):
        raise ValueError(f"{wrong}, each once, and {MOST_SEEDS} at most")
    if node.get("db"):
        raise ValueError(f"{name} has a db, and a cluster has the database 0 and no other")
    return Cluster(node, addresses)


def _node_address(node: Any) -> tuple[str, int]:
    if isinstance(node, str):
        return _address(node, REDIS_PORT)
    if hasattr(node, "host") and hasattr(node, "port"):
        return str(node.host), int(node.port)
    return str(node[0]), int(node[1])


def _are_nodes(addresses: tuple[tuple[str, int], ...]) -> bool:
    return len(set(addresses)) == len(addresses) <= MOST_SEEDS


def _sentinels_of_arguments(
    arguments: dict[str, Any], name: str, login: Login
) -> Sentinels:
    """redis-py's words: ``sentinels``, ``service_name`` and ``sentinel_kwargs``."""
    master = {**arguments}
    given, called = master.pop("sentinels"), master.pop("service_name", None)
    own = master.pop("sentinel_kwargs", None)
    wrong = f"{name} has sentinels, a list such as [('10.0.0.1', {SENTINEL_PORT})]"
    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TypeError(wrong)
    try:
        addresses = tuple(
            _address(each) if isinstance(each, str) else (str(each[0]), int(each[1]))
            for each in given
        )
    except (ValueError, TypeError, LookupError):
        raise ValueError(wrong) from None
    if not addresses or not _are_sentinels(addresses):
        raise ValueError(f"{wrong}, each once, and {MOST_SENTINELS} at most")
    if not isinstance(called, str) or not called:
        raise ValueError(f"{name} has sentinels and no service_name, which is what they call Redis")
    words = ("username", "password")
    if own is None:
        own = {key: value for key, value in master.items() if key.startswith("ssl")}
        own.update(zip(words, (each or None for each in login())))
    user, password = (str(own.get(each) or "") for each in words)
    own = {"socket_timeout": SENTINEL_TIMEOUT, "socket_connect_timeout": SENTINEL_TIMEOUT, **own}
    sentinels = tuple({**own, "host": host, "port": port} for host, port in addresses)
    return Sentinels(called, master, sentinels, addresses, (user, password))


def _are_sentinels(addresses: tuple[tuple[str, int], ...]) -> bool:
    return len(set(addresses)) == len(addresses) <= MOST_SENTINELS


def _address(text: str, usual_port: int = SENTINEL_PORT) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.port == 0 or parts.username is not None:
        raise ValueError(text)
    return parts.hostname, parts.port or usual_port


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
