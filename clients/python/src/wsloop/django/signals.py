"""Login writes into the session what wsloop wants to know; logout closes the session's sockets."""

import logging
from collections.abc import Iterable
from typing import Any

import redis
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.db import transaction
from django.dispatch import receiver
from django.utils.module_loading import import_string

from .. import disconnect
from .._channels import SESSION_GROUPS, SESSION_USER, session_of

logger = logging.getLogger("wsloop")


def group_names(user: Any) -> list[str]:
    """The names of the user's groups.

    The setting WSLOOP_GROUPS, a callable or its dotted name, says it for groups that are not
    Django's: it is called with the user and returns names.
    """
    ask = getattr(settings, "WSLOOP_GROUPS", None)
    if ask is None:
        return list(user.groups.values_list("name", flat=True)) if hasattr(user, "groups") else []
    names: Iterable[Any] = (import_string(ask) if isinstance(ask, str) else ask)(user)
    return [str(name) for name in names]


@receiver(user_logged_in, dispatch_uid="wsloop.login")
def note_user(request: Any, user: Any, **kwargs: Any) -> None:
    """Notes the name and the groups, as they are now, for as long as the login lasts."""
    session = getattr(request, "session", None)
    if session is not None:
        session[SESSION_USER] = user.get_username()
        session[SESSION_GROUPS] = group_names(user)


@receiver(user_logged_out, dispatch_uid="wsloop.logout")
def close_sockets(request: Any, **kwargs: Any) -> None:
    """Closes this session's sockets, not those of the user's other devices.

    The stored session goes first, so that nobody comes back with it in between; Django's logout
    deletes it after the signal. What is in a transaction is deleted when that is committed.
    """
    key = session_of(request)
    if key is not None:
        request.session.delete(key)
        transaction.on_commit(lambda: _close(key))


def _close(key: str) -> None:
    try:
        disconnect(session=key, reason="logged out")
    except redis.RedisError:
        # Whoever wants to leave must be able to, whatever else is broken.
        logger.exception("the sockets of a session that logged out could not be closed")
