"""Login writes into the session what wsloop wants to know; logout closes the session's sockets."""

import logging
from functools import partial
from typing import Any, Optional

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.db import router, transaction
from django.dispatch import receiver
from django.utils.module_loading import import_string

from .._channels import SESSION_GROUPS, SESSION_USER, is_keyless, session_of
from .._names import name_of_group, text_of, username
from .sockets import close_sockets

logger = logging.getLogger("wsloop")

#: Marks a request that logs out: the session's key, and the database that it waits for.
_LEAVING = "_wsloop_leaving"


def group_names(user: Any) -> list[str]:
    """The names of the user's groups.

    The setting WSLOOP_GROUPS, a callable or its dotted name, says it for groups that are not
    Django's: it is called with the user and returns names, or groups of Django, or one of them.
    """
    ask = getattr(settings, "WSLOOP_GROUPS", None)
    if ask is None:
        return list(user.groups.values_list("name", flat=True)) if hasattr(user, "groups") else []
    groups = (import_string(ask) if isinstance(ask, str) else ask)(user)
    # A text is one name, and not its letters.
    is_one = name_of_group(groups) is not None or text_of(groups) is not None
    names = []
    for group in [groups] if is_one else groups or []:
        name = name_of_group(group)
        name = text_of(group) if name is None else name
        if name is None:
            logger.warning("%r of WSLOOP_GROUPS is no name of a group, and left out", group)
        else:
            names.append(name)
    return names


@receiver(user_logged_in, dispatch_uid="wsloop.login")
def note_user(request: Any, user: Any, **kwargs: Any) -> None:
    """Notes the name and the groups, as they are now, for as long as the login lasts."""
    session = getattr(request, "session", None)
    if session is not None:
        session[SESSION_USER] = _username(user)
        session[SESSION_GROUPS] = group_names(user)


def _username(user: Any) -> str:
    name = username(user.get_username())
    if name is None:
        logger.warning("the name of the user %r is no text, and left out", user.get_username())
    return name or ""


@receiver(user_logged_out, dispatch_uid="wsloop.logout")
def leave(request: Any, **kwargs: Any) -> None:
    """Closes this session's sockets, not those of the user's other devices.

    The stored session goes first, so that nobody comes back with it in between; Django's logout
    deletes it after the signal. What is in a transaction is deleted when that is committed.
    """
    session = getattr(request, "session", None)
    if session is None or is_keyless(session):
        return
    try:
        key = session_of(request)
        if key is not None:
            session.delete(key)
    except Exception:
        logger.exception("the session of somebody who logs out could not be deleted")
        key = session.session_key
    if key is not None:
        close = partial(close_sockets, request, key, "logged out")
        try:
            _when_it_is_gone(request, key, close)
        except Exception:
            logger.exception("it is not known when a session is gone, so it counts as gone")
            close()


def is_leaving(request: Any, key: str) -> bool:
    """Whether the session's sockets are going to be closed, when a transaction is committed."""
    left, alias = getattr(request, _LEAVING, (None, None))
    return left == key and bool(transaction.get_connection(alias).in_atomic_block)


def _when_it_is_gone(request: Any, key: str, close: Any) -> None:
    """Calls it when what was done to the session is seen by others."""
    alias = _database(request.session)
    if alias is not None and transaction.get_connection(alias).in_atomic_block:
        setattr(request, _LEAVING, (key, alias))
        transaction.on_commit(close, using=alias)
    else:
        close()


def _database(session: Any) -> Optional[str]:
    """The database that the session is in, if it is in one."""
    return router.db_for_write(session.model) if isinstance(session, SessionStore) else None
