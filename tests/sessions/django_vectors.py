"""Sessions that this Django and its session engines store in the Redis at the given socket.

Prints one JSON object a line; tests/identity_sessions.rs says what their members mean.
"""

import base64
import datetime
import decimal
import json
import sys
from importlib import import_module

import django
import redis
from django.conf import settings
from django.test.utils import override_settings

SOCKET = sys.argv[1]
SECRET = "django-insecure-%s*=+with#signs-and-blanks in it" % ("x" * 20)
URL = "unix://" + SOCKET + "?db=0"


def django_redis(**options):
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": URL, "OPTIONS": options}


CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "django-redis": django_redis(),
    "django-redis zlib": django_redis(COMPRESSOR="django_redis.compressors.zlib.ZlibCompressor"),
    "django-redis JSON": django_redis(SERIALIZER="django_redis.serializers.json.JSONSerializer"),
}
for protocol in range(5):
    CACHES["django-redis protocol %d" % protocol] = django_redis(PICKLE_VERSION=protocol)
if django.VERSION >= (4, 0):
    CACHES["RedisCache"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": URL,
    }
settings.configure(
    SECRET_KEY=SECRET,
    CACHES=CACHES,
    SESSION_REDIS={"unix_domain_socket_path": SOCKET, "db": 0, "prefix": "session"},
    INSTALLED_APPS=["django.contrib.sessions"],
)
django.setup()

LOGGED_IN = {
    "_auth_user_id": "7",
    "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
    "_auth_user_hash": "5e2c" * 16,
}
PLAIN = {"visits": 300, "ratio": 0.5, "ok": True, "none": None, "deep": {"er": [[1], {"a": {}}]}}
SESSIONS = {
    "logged in": ({"wsloop:username": "john", "ws4redis:memberof": ["chatusers", "staff"]}, {}),
    "many entries": (
        {"wsloop:username": "jürgen 😀", "ws4redis:memberof": ["chat\\users", "ö"]},
        {"cart": ["the same line again and again"] * 40, **PLAIN},
    ),
    "anonymous": ({}, PLAIN),
    "user without groups": ({"wsloop:username": "mary", "ws4redis:memberof": []}, {}),
    "a number for a user": ({"wsloop:username": 4294967296}, {}),
}
OBJECTS = {
    "at": datetime.datetime(2026, 1, 2, 3, 4, 5),
    "price": decimal.Decimal("1.50"),
    "tuple": (1, -2, 1 << 70),
    "set": {1},
    "bytes": b"\x00\xff",
    "after": ["last"],
}


def store(what, engine, kind, name, named, more, **overrides):
    connection = redis.Redis(unix_socket_path=SOCKET)
    connection.flushall()
    with override_settings(**overrides):
        session = import_module(engine).SessionStore()
        for key, value in {**(LOGGED_IN if named else {}), **named, **more}.items():
            session[key] = value
        session.save()
    [redis_key] = connection.keys("*")
    user = named.get("wsloop:username")
    print(
        json.dumps(
            {
                "from": "Django %s, %s: %s" % (django.get_version(), what, name),
                "format": kind,
                "secret": SECRET if kind == "django" else None,
                "cookie": "sessionid=" + session.session_key,
                "key": session.session_key,
                "redis_key": redis_key.decode(),
                "stored": base64.b64encode(connection.get(redis_key)).decode(),
                "user_entry": "wsloop:username",
                "groups_entry": "ws4redis:memberof",
                "user": None if user is None else str(user),
                "groups": named.get("ws4redis:memberof", []),
            }
        )
    )


for name, (named, more) in SESSIONS.items():
    store("django-redis-sessions", "redis_sessions.session", "django", name, named, more)
    if django.VERSION < (4, 0):
        store(
            "django-redis-sessions, the form of before 3.1",
            "redis_sessions.session",
            "django",
            name,
            named,
            more,
            DEFAULT_HASHING_ALGORITHM="sha1",
        )
    for alias in CACHES:
        if alias == "default" or "protocol" in alias and name != "many entries":
            continue
        kind = "json" if alias.endswith("JSON") else "django-pickle"
        cache = "django.contrib.sessions.backends.cache"
        store("cache engine, " + alias, cache, kind, name, named, more, SESSION_CACHE_ALIAS=alias)
        if name == "many entries" and kind == "django-pickle":
            store(
                "cache engine, " + alias,
                cache,
                kind,
                "with objects",
                {**OBJECTS, **named},
                {},
                SESSION_CACHE_ALIAS=alias,
            )
