"""What is looked at when the project starts: its settings for wsloop.

What is wrong with them is ImproperlyConfigured here, with the setting's name. Otherwise it would be
an error of whoever needs it first, which may be somebody's logout.
"""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from .._pool import pool
from .._settings import Settings, found

# What is called by the project's wish.
_CALLBACKS = ("ALLOWED_CHANNELS", "PROCESS_REQUEST", "GROUPS")


def check_settings() -> None:
    """Raises ImproperlyConfigured for settings that cannot be meant."""
    try:
        _publishing()
    except (TypeError, ValueError) as why:
        raise ImproperlyConfigured(str(why)) from why
    for name in _CALLBACKS:
        _callback(*found(name, name, None))
    _text("WSLOOP_RESP", r".+:\d{1,5}", "127.0.0.1:6380")
    _text("WSLOOP_URI", r"wss?://[^/?#]+/([^?#]*/)?", "wss://example.com/ws/")
    for name in ("WSLOOP_URL_PREFIX", "WEBSOCKET_URL"):
        _text(name, r"/([^?#\s]*/)?", "/ws/")


def _publishing() -> None:
    redis = Settings.find().redis
    try:
        pool(redis)
    except (TypeError, ValueError) as why:
        name, _ = found("REDIS", "CONNECTION", None)
        raise ValueError(f"{name}: {why}") from why


def _callback(name: str, value: Any) -> None:
    if isinstance(value, str):
        try:
            value = import_string(value)
        except ImportError as why:
            raise ImproperlyConfigured(f"{name}: {why}") from why
    if value is not None and not callable(value):
        raise ImproperlyConfigured(f"{name} is {value!r}, and neither callable nor a dotted name")


def _text(name: str, pattern: str, example: str) -> None:
    value = getattr(settings, name, None)
    if value is None:
        return
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise ImproperlyConfigured(f"{name} is {value!r}; write it such as {example!r}")
