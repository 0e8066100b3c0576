"""Names of channels: ``[prefix:]audience[:who]:facility``, for Redis's pub/sub and keys alike.

Rules:
- A name says one thing only. So names of users, groups and sessions have no colon, nor has the
  facility next to one (the server knows no such names, either), and nobody is called nothing.
- Who is not logged in, a session that is not stored, and names with a colon have no channel:
  SELF is then nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Optional, Union

from ._names import Named, checked, facility_of, name_of_group, name_of_user, text_of, username

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

_AUDIENCES = ("broadcast", "group", "user", "session")


class SelfType:
    """The type of SELF."""

    def __repr__(self) -> str:
        return "SELF"


#: Stands for the request's own user, groups or session.
SELF = SelfType()

#: One name, several, SELF, or True, which is SELF by its name in old ws4redis.
Who = Union[str, SelfType, bool, None, Iterable[Any], Named]


def user_of(request: Any) -> str | None:
    """The name of the user who is logged in, or None."""
    if not is_logged_in(request):
        return None
    user = request.user
    return username(user.get_username() if hasattr(user, "get_username") else user.username) or None


def is_logged_in(request: Any) -> bool:
    """Whether anybody is."""
    user = getattr(request, "user", None)
    return user is not None and bool(getattr(user, "is_authenticated", True))


def groups_of(request: Any) -> list[str]:
    """The groups that were noted at login; none when nobody is logged in."""
    session = getattr(request, "session", None)
    if session is None or user_of(request) is None:
        return []
    noted = session.get(SESSION_GROUPS, None) or []
    # A text is one name, and not its letters.
    names = map(text_of, [noted] if isinstance(noted, str) else noted)
    return [name for name in names if name]


def session_of(request: Any) -> str | None:
    """The session's key, or None while the session is not stored."""
    session = getattr(request, "session", None)
    if session is None or is_keyless(session):
        return None
    # Only a session that was loaded knows whether it exists.
    session.get(SESSION_USER, None)
    return getattr(session, "session_key", None) or None


def is_keyless(session: Any) -> bool:
    """Whether it is a session in a signed cookie, of Django's engine or one made from it."""
    engine = sys.modules.get(_KEYLESS)
    return engine is not None and isinstance(session, engine.SessionStore)


def named(prefix: str, name: str) -> str:
    """A name behind the prefix, if there is one."""
    return f"{prefix}:{name}" if prefix else name


def checked_prefix(prefix: str, what: str = "prefix") -> str:
    """A prefix after which no name can be taken for another's."""
    if not isinstance(prefix, str):
        raise TypeError(f"{what} is a text, not {prefix!r}")
    if prefix.endswith(":") or any(part in _AUDIENCES for part in prefix.split(":")):
        words = ", ".join(_AUDIENCES)
        raise ValueError(f"{what} {prefix!r} ends with a colon, or has one of {words} in it")
    if prefix.startswith("wsloop:history"):
        raise ValueError(f"{what} {prefix!r} begins with what names of histories begin with")
    # An enum that is a str has another text in a name.
    return str.__str__(prefix)


def channels(
    prefix: str,
    facility: Any,
    request: Any = None,
    broadcast: bool = False,
    groups: Who = None,
    users: Who = None,
    sessions: Who = None,
) -> tuple[str, ...]:
    """The channels of these audiences, each once.

    ValueError: no facility, a facility with a colon, an empty name, SELF without a request.
    TypeError: what is no name, or neither one name nor several.
    """
    wanted: list[str] = []
    named_any = False
    for audience, whos in (("user", users), ("group", groups), ("session", sessions)):
        if not (whos is None or whos is False):
            found = list(_names(audience, whos, request))
            wanted += (f"{audience}:{name}" for name in found if name)
            named_any = named_any or bool(found)
    if not (broadcast or named_any):
        return ()
    facility = facility_of(facility)
    if ":" in facility and named_any:
        raise ValueError(f"the facility {facility!r} of a user, group or session has a colon in it")
    if broadcast:
        wanted.insert(0, "broadcast")
    return tuple(dict.fromkeys(named(prefix, f"{name}:{facility}") for name in wanted))


def stored_at(prefix: str, request: Any, facility: Any, audience: str) -> tuple[str, ...]:
    """Where a message for this request may be stored, the best place first."""
    facility = facility_of(facility)
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


def owner(user: Any, group: Any, session: Any) -> tuple[str, str]:
    """The one that is named, as audience and name."""
    given = {"user": user, "group": group, "session": session}
    named_ones = [(audience, who) for audience, who in given.items() if who is not None]
    if len(named_ones) != 1:
        raise ValueError("one of user, session and group says whose sockets are closed")
    [(audience, who)] = named_ones
    name = _name(audience, who)
    if not name:
        raise ValueError(f"{who!r} is nobody whose sockets could be closed")
    # A colon is let through, as in the server and its command line: it makes no channel here.
    return audience, name


# What SELF is, and what else than text has a name.
_OWN: dict[str, Callable[[Any], Union[str, list[str], None]]]
_OWN = {"user": user_of, "group": groups_of, "session": session_of}
_OBJECTS: dict[str, Callable[[Any], Optional[str]]]
_OBJECTS = {"user": name_of_user, "group": name_of_group}


def _names(audience: str, whos: Any, request: Any) -> Iterator[str]:
    """The names; an empty one for somebody who was given and has none."""
    for who in _several(audience, SELF if whos is True else whos):
        if who is not SELF:
            name = _name(audience, who)
            nobody = name == "" and text_of(who) is None
            yield "" if nobody else checked(f"{audience}s", name)
            continue
        if request is None:
            raise ValueError(f"SELF in {audience}s needs the request: RedisPublisher(request=…)")
        own = _OWN[audience](request) or ""
        # One that cannot be part of a channel's name is nobody's.
        for name in [own] if isinstance(own, str) else own:
            yield "" if ":" in name else name


def _several(audience: str, whos: Any) -> Iterable[Any]:
    """One by one, if there are several."""
    kind = type(whos)
    is_one = whos is SELF or _object(audience, whos) is not None or text_of(whos) is not None
    # A number alone is rather a mistake than a name.
    if is_one and not issubclass(kind, int):
        return [whos]
    if issubclass(kind, (bytes, bytearray, memoryview)) or not isinstance(whos, Iterable):
        raise TypeError(f"{audience}s is one name or several, not {whos!r}")
    return whos


def _name(audience: str, who: Any) -> str:
    """The name of what has one; empty for somebody who is not logged in."""
    name = _object(audience, who)
    name = text_of(who) if name is None else name
    if name is None:
        raise TypeError(f"{who!r} is no name of a {audience}")
    return name


def _object(audience: str, who: Any) -> Optional[str]:
    name_of = _OBJECTS.get(audience)
    return name_of(who) if name_of is not None else None
