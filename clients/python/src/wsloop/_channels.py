"""Names of channels: ``[prefix:]audience[:who]:facility``, for Redis's pub/sub and keys alike.

Rules:
- A name says one thing only. So names of users, groups and sessions have no colon, nor has the
  facility next to one (the server knows no such names, either), and nobody is called nothing.
- Who is not logged in, a session that is not stored, and names with a colon have no channel:
  SELF is then nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Union

#: The session entry with the user's name, written at login.
SESSION_USER = "wsloop:username"
#: The session entry with the names of the user's groups, written at login, as ws4redis does.
SESSION_GROUPS = "ws4redis:memberof"
#: Where wsloop hears what it has to do.
CONTROL = "wsloop:control"

#: The audiences, in the order in which a stored message is looked for.
SEARCH_ORDER = ("session", "user", "group", "broadcast")

# This engine keeps no session on the server, and its "key" is another one in each second.
_KEYLESS = "django.contrib.sessions.backends.signed_cookies"


class SelfType:
    """The type of SELF."""

    def __repr__(self) -> str:
        return "SELF"


#: Stands for the request's own user, groups or session.
SELF = SelfType()

#: One name, several, SELF, or True, which is SELF by its name in old ws4redis.
Who = Union[str, SelfType, bool, None, Iterable[Any]]


def user_of(request: Any) -> str | None:
    """The name of the user who is logged in, or None."""
    user = getattr(request, "user", None)
    if user is None or not getattr(user, "is_authenticated", True):
        return None
    name = user.get_username() if hasattr(user, "get_username") else user.username
    return str(name) or None


def groups_of(request: Any) -> list[str]:
    """The groups that were noted at login; none when nobody is logged in."""
    session = getattr(request, "session", None)
    if session is None or user_of(request) is None:
        return []
    return [str(name) for name in session.get(SESSION_GROUPS, None) or [] if name]


def session_of(request: Any) -> str | None:
    """The session's key, or None while the session is not stored."""
    session = getattr(request, "session", None)
    if session is None or type(session).__module__ == _KEYLESS:
        return None
    # Only a session that was loaded knows whether it exists.
    session.get(SESSION_USER, None)
    return getattr(session, "session_key", None) or None


def named(prefix: str, name: str) -> str:
    """A name behind the prefix, if there is one."""
    return f"{prefix}:{name}" if prefix else name


def channels(
    prefix: str,
    facility: str | None,
    request: Any = None,
    broadcast: bool = False,
    groups: Who = None,
    users: Who = None,
    sessions: Who = None,
) -> tuple[str, ...]:
    """The channels of these audiences, each once.

    ValueError: no facility, a facility with a colon, an empty name, SELF without a request.
    TypeError: a name that is None or neither one name nor several.
    """
    wanted: list[str] = []
    if users:
        wanted += [f"user:{name}" for name in _names("users", users, request, user_of)]
    if groups:
        wanted += [f"group:{name}" for name in _names("groups", groups, request, groups_of)]
    if sessions:
        wanted += [f"session:{name}" for name in _names("sessions", sessions, request, session_of)]
    if not (broadcast or users or groups or sessions):
        return ()
    if facility is None:
        raise ValueError("a facility is needed: the part of the socket's path behind /ws/")
    facility = str(facility)
    if ":" in facility and (users or groups or sessions):
        raise ValueError(f"the facility {facility!r} of a user, group or session has a colon in it")
    if broadcast:
        wanted.insert(0, "broadcast")
    return tuple(dict.fromkeys(named(prefix, f"{name}:{facility}") for name in wanted))


def stored_at(prefix: str, request: Any, facility: str, audience: str) -> tuple[str, ...]:
    """Where a message for this request may be stored, the best place first."""
    if audience not in (*SEARCH_ORDER, "any"):
        words = ", ".join(SEARCH_ORDER)
        raise ValueError(f"{audience!r} is no audience; it is one of {words}, any")
    found: list[str] = []
    for each in SEARCH_ORDER if audience == "any" else (audience,):
        if each == "broadcast":
            found += channels(prefix, facility, broadcast=True)
        elif request is not None and ":" not in facility:
            own: dict[str, Any] = {f"{each}s": SELF}
            found += channels(prefix, facility, request, **own)
    return tuple(found)


def _names(
    what: str, who: Any, request: Any, own: Callable[[Any], str | list[str] | None]
) -> Iterator[str]:
    """The names in `who`; `own` tells what SELF is."""
    if who is True:
        who = SELF
    if isinstance(who, (str, SelfType)):
        who = [who]
    elif isinstance(who, (bytes, int, float)) or not isinstance(who, Iterable):
        raise TypeError(f"{what} is one name or several, not {who!r}")
    for name in who:
        if name is SELF:
            if request is None:
                raise ValueError(f"SELF in {what} needs the request: RedisPublisher(request=…)")
            mine = own(request) or []
            mine = [mine] if isinstance(mine, str) else mine
            yield from (each for each in mine if ":" not in each)
        elif name is None or isinstance(name, (bytes, bool)):
            raise TypeError(f"{name!r} in {what} is no name")
        elif not str(name) or ":" in str(name):
            raise ValueError(f"{str(name)!r} in {what} is empty or has a colon in it")
        else:
            yield str(name)
