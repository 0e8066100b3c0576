"""System checks: what is missing, and what ws4redis has left in a project.

``manage.py check`` and ``runserver`` tell it. They see the settings and the modules that are
loaded, not what stands in a page or in a script that is run elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.checks import CheckMessage, Warning
from django.urls import get_resolver
from django.utils.module_loading import import_string

_OLD = "ws4redis"
_OURS = "wsloop.django.middleware.close_old_sockets"
_SIGNED_COOKIES = "django.contrib.sessions.backends.signed_cookies"
_NAMES_OF_OURS = {"RedisMessage", "RedisPublisher", "SELF"}


def left_from_ws4redis(**_: Any) -> list[CheckMessage]:
    """What still names ws4redis, each with its mend."""
    return [*_application(), *_middleware(), *_templates(), *_apps(), *_others(), *_imports()]


def middleware(**_: Any) -> list[CheckMessage]:
    """Whether old sockets are closed when a session gets another key."""
    entries = list(settings.MIDDLEWARE)
    sessions = [at for at, entry in enumerate(entries) if _is(entry, SessionMiddleware)]
    if not sessions or settings.SESSION_ENGINE == _SIGNED_COOKIES:
        return []
    if _OURS in entries[: sessions[0]]:
        return []
    return [
        Warning(
            f"{_OURS} is not in MIDDLEWARE before the sessions' middleware: sockets from before a "
            "login or a change of the password stay open, and hear what is for whoever that was.",
            hint=f"Put it before {entries[sessions[0]]}.",
            id="wsloop.W007",
        )
    ]


def settings_of_ws4redis() -> list[str]:
    """The names of ws4redis's settings that the project has."""
    return sorted(
        name for name in dir(settings) if name.startswith("WS4REDIS_") or name == "WEBSOCKET_URL"
    )


def _application() -> Iterator[CheckMessage]:
    if _is_old(getattr(settings, "WSGI_APPLICATION", None)):
        yield Warning(
            f"WSGI_APPLICATION is {settings.WSGI_APPLICATION}, without which runserver does not "
            "start once ws4redis is gone.",
            hint="Delete it, or name your project's own wsgi.application. "
            "'manage.py wsloop --runserver' serves pages and WebSockets on one port.",
            id="wsloop.W001",
        )


def _middleware() -> Iterator[CheckMessage]:
    for name in ("MIDDLEWARE", "MIDDLEWARE_CLASSES"):
        for entry in filter(_is_old, getattr(settings, name, None) or ()):
            yield Warning(
                f"{name} has {entry} of ws4redis.",
                hint="Delete it: WebSockets do not pass through Django any more.",
                id="wsloop.W002",
            )


def _templates() -> Iterator[CheckMessage]:
    for engine in settings.TEMPLATES:
        for entry in filter(_is_old, engine.get("OPTIONS", {}).get("context_processors", ())):
            yield Warning(
                f"TEMPLATES has the context processor {entry}.",
                hint="wsloop.django.context_processors.default has the same variables.",
                id="wsloop.W003",
            )


def _apps() -> Iterator[CheckMessage]:
    for entry in settings.INSTALLED_APPS:
        if entry == _OLD or _is_old(entry):
            yield Warning(
                f"INSTALLED_APPS has {entry} beside wsloop.django.",
                hint="Delete it: wsloop.django notes the groups at login, and serves the script.",
                id="wsloop.W004",
            )


def _others() -> Iterator[CheckMessage]:
    """Such as WS4REDIS_SUBSCRIBER, a class that ws4redis ran for each WebSocket."""
    for name in dir(settings):
        value = getattr(settings, name, None)
        if name != "WSGI_APPLICATION" and _is_old(value):
            yield Warning(
                f"{name} is {value}, which nothing calls any more.",
                hint="Delete it. wsloop runs no code for a WebSocket; what it may hear is decided "
                "by WSLOOP_ALLOW, by rules, or by WSLOOP_ALLOWED_CHANNELS.",
                id="wsloop.W005",
            )


def _imports() -> Iterator[CheckMessage]:
    """Modules with names from ws4redis in them."""
    if _OLD not in sys.modules:
        return
    try:
        # It imports the views.
        _ = get_resolver().url_patterns
    except Exception:  # noqa: S110
        # Django has a check of its own that says so.
        pass
    for module_name, module in sorted(sys.modules.copy().items()):
        if module_name == _OLD or _is_old(module_name) or module is None:
            continue
        names = sorted(name for name, value in _members(module) if _comes_from_ws4redis(value))
        if not names:
            continue
        same = [name for name in names if name in _NAMES_OF_OURS]
        mend = f"from wsloop import {', '.join(same)}" if same else "there is none in wsloop"
        yield Warning(
            f"{module_name} imports {', '.join(names)} from ws4redis.",
            hint=f"In its place: {mend}.",
            id="wsloop.W006",
        )


def _members(module: ModuleType) -> Iterable[tuple[str, Any]]:
    # Some programs put other things than modules there.
    members = getattr(module, "__dict__", None)
    return list(members.items()) if type(members) is dict else []


def _comes_from_ws4redis(value: Any) -> bool:
    # By its real type: to look at a lazy object in any other way is to have it evaluated.
    kind = type(value)
    if issubclass(kind, ModuleType):
        return value.__name__ == _OLD or _is_old(value.__name__)
    if issubclass(kind, (type, FunctionType)):
        return _is_old(value.__module__)
    return _is_old(kind.__module__)


def _is_old(name: Any) -> bool:
    return isinstance(name, str) and name.startswith(f"{_OLD}.")


def _is(entry: str, kind: type) -> bool:
    """Whether the dotted name is that class, or one made from it."""
    try:
        value = import_string(entry)
    except ImportError:
        # Django says so, louder.
        return False
    return isinstance(value, type) and issubclass(value, kind)
