"""A login ends what was before it.

``wsloop.django.middleware.close_old_sockets``, in MIDDLEWARE before SessionMiddleware. When a
session gets another key, by a login, a change of the password or a flush, the sockets that were
opened with the old key go on to hear what is for whoever that was. They are closed, and their pages
come back as who they now are.

It is done when the response has been sent, so that a page comes back with the new cookie. It looks
at keys alone: no session is loaded for it, and no response varies by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Optional

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.utils.decorators import sync_and_async_middleware

from .._channels import is_keyless
from .signals import is_leaving
from .sockets import COME_BACK, close_sockets


@sync_and_async_middleware
def close_old_sockets(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The middleware."""
    store = import_module(settings.SESSION_ENGINE).SessionStore

    if iscoroutinefunction(get_response):

        async def async_middleware(request: Any) -> Any:
            before = _key_in_cookie(request, store)
            try:
                response = await get_response(request)
            except BaseException:
                # Who hangs up in between gets no response, and has logged in all the same.
                await sync_to_async(_close)(request, before)
                raise
            _close_afterwards(response, request, before)
            return response

        return async_middleware

    def middleware(request: Any) -> Any:
        before = _key_in_cookie(request, store)
        response = get_response(request)
        _close_afterwards(response, request, before)
        return response

    return middleware


def _key_in_cookie(request: Any, store: Any) -> Optional[str]:
    """The key that the session begins with, if the cookie can be one."""
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not cookie or ":" in cookie or not cookie.isprintable():
        return None
    session = store(cookie)
    return None if is_keyless(session) else session.session_key


def _close_afterwards(response: Any, request: Any, before: Optional[str]) -> None:
    if _has_changed(request, before):
        # Servers close a response when they have sent it.
        response._resource_closers.append(partial(_close, request, before))


def _close(request: Any, before: Optional[str]) -> None:
    if before is not None and _has_changed(request, before) and not is_leaving(request, before):
        close_sockets(request, before, "the session has changed", COME_BACK)


def _has_changed(request: Any, before: Optional[str]) -> bool:
    session = getattr(request, "session", None)
    if before is None or session is None:
        return False
    # A session that has expired loses its key as well, when somebody looks at it.
    return bool(session.modified) and session.session_key != before
