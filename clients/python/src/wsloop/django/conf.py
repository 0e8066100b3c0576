"""Flags for the server, from a Django project's settings.

Every setting ``WSLOOP_SOME_FLAG`` is the flag ``--some-flag``; those of ws4redis stand in for what
is not set. Where the sessions are decides how the server learns who somebody is: it reads them
from its own Redis where it can, and asks ``views.auth`` otherwise.
"""

from dataclasses import dataclass, field
from typing import Any, Optional
from urllib.parse import parse_qs, quote, unquote, urlsplit

from django.conf import settings
from django.contrib.sessions.backends.cache import KEY_PREFIX
from django.core.cache import InvalidCacheBackendError, caches
from django.urls import NoReverseMatch, reverse

from .._channels import SESSION_GROUPS, SESSION_USER
from .._places import Cluster, Sentinels, each_of
from .._settings import Settings, redis_setting, resp, setting

# Settings of this package that are no flags of the server.
_OURS = {"ALLOWED_CHANNELS", "BINARY", "EXPIRE", "GROUPS", "HEARTBEAT", "PREFIX", "PROCESS_REQUEST"}
_OURS |= {"REDIS", "RESP", "URI", "URL_PREFIX"}

_JSON = "django.contrib.sessions.serializers.JSONSerializer"
_SESSIONS_IN_CACHE = "django.contrib.sessions.backends.cache"
_REDIS_SESSIONS = "redis_sessions.session"
_DJANGO_CACHE = "django.core.cache.backends.redis.RedisCache"
_DJANGO_REDIS = "django_redis.cache.RedisCache"
_DJANGO_REDIS_USUAL = {
    "CLIENT_CLASS": "django_redis.client.DefaultClient",
    "COMPRESSOR": "django_redis.compressors.identity.IdentityCompressor",
    "SERIALIZER": "django_redis.serializers.pickle.PickleSerializer",
}
_DJANGO_REDIS_FORMATS = {
    "django_redis.serializers.pickle.PickleSerializer": "django-pickle",
    "django_redis.serializers.json.JSONSerializer": "json",
}


@dataclass
class Command:
    """What the server is started with."""

    #: Flag to value, without the dashes.
    flags: dict[str, str] = field(default_factory=dict)
    #: Flag to the secrets that files are to hold, one each.
    secrets: dict[str, list[bytes]] = field(default_factory=dict)
    #: Redis's URL, or several, when it has a password and must not be seen among the flags.
    secret_redis: Optional[str] = None
    #: What the operator should know.
    notes: list[str] = field(default_factory=list)


class Misconfigured(Exception):
    """These settings cannot be followed; the text says why."""


@dataclass
class SessionsInRedis:
    """Sessions that the server can read by itself."""

    redis: Any
    key: str
    format: str
    #: What they may be signed with; empty where nothing is signed.
    secrets: list[bytes] = field(default_factory=list)


def url_prefix() -> str:
    """What WebSocket paths begin with."""
    return str(
        getattr(settings, "WSLOOP_URL_PREFIX", None) or getattr(settings, "WEBSOCKET_URL", "/ws/")
    )


def command(django_address: str) -> Command:
    """How the server is started for this project, which answers at `django_address`."""
    found = Settings.find()
    made = Command(flags={"url-prefix": url_prefix()})
    flags = made.flags
    if redis_setting():
        _where_redis_is(made, found)
    else:
        flags["resp"] = resp()
    if found.prefix:
        flags["prefix"] = found.prefix
    flags["expire"] = str(max(found.expire, 0))
    if found.heartbeat:
        flags["heartbeat"] = found.heartbeat.decode()
    for name in dir(settings):
        if name.startswith("WSLOOP_") and name[len("WSLOOP_") :] not in _OURS:
            flag = name[len("WSLOOP_") :].lower().replace("_", "-")
            flags[flag] = _value(getattr(settings, name))
    if not {"auth-url", "session-key"} & flags.keys():
        _identities(made, found, django_address)
    if setting("ALLOWED_CHANNELS", "ALLOWED_CHANNELS", None) and "allow" not in flags:
        # The callback decides, and can only take away from what is allowed.
        flags["allow"] = "all"
    return made


def _where_redis_is(made: Command, found: Settings) -> None:
    places = each_of(found.redis)
    urls = [redis_url(each) for each in places]
    if any(urlsplit(url).password for url in urls):
        made.secret_redis = " ".join(urls)
    else:
        made.flags["redis"] = " ".join(urls)
    logins = {each.login for each in places if isinstance(each, Sentinels)}
    if len(logins) > 1:
        raise Misconfigured("WSLOOP_REDIS has sentinels with different passwords")
    if hasattr(settings, "WSLOOP_REDIS_SENTINEL_PASSWORD"):
        # The file is the server's to read as well.
        return
    for user, password in logins:
        if user:
            made.flags["redis-sentinel-user"] = user
        if password:
            made.secrets["redis-sentinel-password"] = [password.encode()]


def redis_url(redis: Any) -> str:
    """The URL of what is a URL, redis-py's arguments, behind sentinels or a cluster."""
    if isinstance(redis, Sentinels):
        return _of_many(redis.master, "sentinel", redis.addresses, redis.name)
    if isinstance(redis, Cluster):
        return _of_many(redis.at(redis.addresses[0]), "cluster", redis.addresses)
    if isinstance(redis, str):
        return _as_server(f"redis+{redis}" if redis.startswith("unix:") else redis)
    if not isinstance(redis, dict):
        raise Misconfigured("WSLOOP_REDIS is neither a URL nor a dict of redis-py's arguments")
    user, password = redis.get("username") or "", redis.get("password") or ""
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user or password else ""
    path, db = redis.get("unix_socket_path"), int(redis.get("db") or 0)
    if path:
        return f"redis+unix://{login}{quote(path)}?db={db}"
    scheme = "rediss" if redis.get("ssl") else "redis"
    host = str(redis.get("host") or "localhost")
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{login}{host}:{redis.get('port') or 6379}/{db}"


def _of_many(
    redis: Any, kind: str, addresses: tuple[tuple[str, int], ...], name: Optional[str] = None
) -> str:
    """The URL of a Redis that is found by asking at these addresses; `redis` is all else of it."""
    parts = urlsplit(redis_url(redis))
    login, at, _ = parts.netloc.rpartition("@")
    shown = ((f"[{host}]" if ":" in host else host, port) for host, port in addresses)
    hosts = ",".join(f"{host}:{port}" for host, port in shown)
    path = "" if name is None else f"/{quote(name, safe='')}{parts.path}"
    return f"{parts.scheme}+{kind}://{login}{at}{hosts}{path}"


def _as_server(url: str) -> str:
    """Without what is redis-py's alone, such as ``max_connections``; the server takes a database."""
    start, _, query = url.partition("?")
    db = parse_qs(query).get("db", [""])[0]
    if not db:
        return start
    if start.startswith("redis+unix:"):
        return f"{start}?db={db}"
    # As for redis-py, it stands before the one of the path.
    return urlsplit(start)._replace(path=f"/{db}").geturl()


def sessions_in_redis() -> Optional[SessionsInRedis]:
    """Where the sessions are, if it is a Redis and they are in a form that the server reads."""
    if settings.SESSION_ENGINE == _REDIS_SESSIONS:
        return _redis_sessions()
    if settings.SESSION_ENGINE == _SESSIONS_IN_CACHE:
        return _cache_sessions()
    return None


def _identities(made: Command, found: Settings, django_address: str) -> None:
    sessions = None if _callback() else sessions_in_redis()
    if sessions is not None and _place(sessions.redis) == _place(each_of(found.redis)[0]):
        for flag, value in {
            "session-cookie": settings.SESSION_COOKIE_NAME,
            "session-key": sessions.key,
            "session-format": sessions.format,
            "session-user": SESSION_USER,
            "session-groups": SESSION_GROUPS,
        }.items():
            # What the project has set itself stays.
            made.flags.setdefault(flag, value)
        if sessions.secrets and "session-secret-file" not in made.flags:
            made.secrets["session-secret-file"] = sessions.secrets
        return
    from . import views

    try:
        made.flags["auth-url"] = f"http://{django_address}{reverse(views.auth)}"
    except NoReverseMatch:
        how = (
            'add path("wsloop/auth/", auth) to ROOT_URLCONF, with "from wsloop.django.views import '
            'auth", or set WSLOOP_AUTH_URL'
        )
        if _callback():
            raise Misconfigured(f"nothing asks the callback for allowed channels: {how}") from None
        made.notes.append(f"nobody is known by name, for sessions are not in wsloop's Redis: {how}")


def _callback() -> bool:
    return bool(
        setting("ALLOWED_CHANNELS", "ALLOWED_CHANNELS", None)
        or setting("PROCESS_REQUEST", "PROCESS_REQUEST", None)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple, set)):
        return ",".join(str(each) for each in value)
    return str(value)


def _redis_sessions() -> Optional[SessionsInRedis]:
    """django-redis-sessions: its settings are one dict since 0.6, and one each before."""
    if settings.SESSION_SERIALIZER != _JSON:
        return None
    given = getattr(settings, "SESSION_REDIS", None)
    if given is None:
        names = ("URL", "HOST", "PORT", "DB", "PASSWORD", "PREFIX", "UNIX_DOMAIN_SOCKET_PATH")
        values = ((name, getattr(settings, f"SESSION_REDIS_{name}", None)) for name in names)
        given = {name.lower(): value for name, value in values if value is not None}
        for name in ("SENTINEL_LIST", "POOL"):
            if getattr(settings, f"SESSION_REDIS_{name}", None):
                return None
    if not isinstance(given, dict) or given.get("sentinel_list") or given.get("pool"):
        return None
    path = given.get("unix_domain_socket_path")
    redis = given.get("url") or {**given, "unix_socket_path": path}
    prefix = given.get("prefix")
    return _readable(redis, f"{prefix}:{{}}" if prefix else "{}", "django")


def _cache_sessions() -> Optional[SessionsInRedis]:
    """Django's cache engine, upon Django's own Redis cache or django-redis."""
    alias = settings.SESSION_CACHE_ALIAS
    cache = settings.CACHES.get(alias, {})
    options, location = cache.get("OPTIONS", {}), cache.get("LOCATION")
    if isinstance(location, (list, tuple)) and len(location) == 1:
        location = location[0]
    if not isinstance(location, str) or "," in location or ";" in location:
        return None
    form: Optional[str] = None
    if cache["BACKEND"] == _DJANGO_CACHE and "serializer" not in options:
        form = "django-pickle"
    elif cache["BACKEND"] == _DJANGO_REDIS:
        chosen = {name: options.get(name, usual) for name, usual in _DJANGO_REDIS_USUAL.items()}
        form = _DJANGO_REDIS_FORMATS.get(chosen.pop("SERIALIZER"))
        if any(value != _DJANGO_REDIS_USUAL[name] for name, value in chosen.items()):
            form = None
    if form is None:
        return None
    redis = {**_parts(location), **{name.lower(): value for name, value in options.items()}}
    try:
        key = caches[alias].make_key(KEY_PREFIX + "{}")
    except InvalidCacheBackendError:
        return None
    return _readable(redis, str(key), form)


def _readable(redis: Any, key: str, form: str) -> Optional[SessionsInRedis]:
    if key.count("{") != 1 or "{}" not in key:
        return None
    secrets: list[Any] = []
    if form == "django":
        # The fallbacks came with Django 4.1.
        secrets = [settings.SECRET_KEY, *getattr(settings, "SECRET_KEY_FALLBACKS", [])]
    encoded = [each.encode() if isinstance(each, str) else each for each in secrets]
    return SessionsInRedis(redis, key, form, encoded)


def _parts(url: str) -> dict[str, Any]:
    """A URL in redis-py's words."""
    parts = urlsplit(url[len("redis+") :] if url.startswith("redis+unix:") else url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    found: dict[str, Any] = {"username": parts.username, "password": parts.password}
    if parts.scheme == "unix":
        found.update(unix_socket_path=unquote(parts.path), db=query.get("db", 0))
    else:
        db = query.get("db") or parts.path.strip("/") or 0
        found.update(host=parts.hostname, port=parts.port, db=db, ssl=parts.scheme == "rediss")
    return found


def _place(redis: Any) -> Any:
    """Which Redis this is, the same for every way to write it."""
    redis = _parts(redis) if isinstance(redis, str) else redis
    if not isinstance(redis, dict):
        return None
    db = int(redis.get("db") or 0)
    if redis.get("unix_socket_path"):
        return redis["unix_socket_path"], db
    host = redis.get("host") or "localhost"
    host = "127.0.0.1" if host == "localhost" else host
    return host, int(redis.get("port") or 6379), db, bool(redis.get("ssl"))
