"""What is taken for a name, of a user, group, session or facility: what is text, and little else.

Rules:
- A name is never silently another. What has no text of its own, or has one that only describes it,
  is a TypeError that says what it was: an enum is ``Role.ADMIN``, bytes are ``b'…'``, and to have
  those listen would be to have nobody listen, or somebody else.
- A user is named by ``get_username()``, whatever ``str()`` makes of them, and somebody who is not
  logged in has no name.
"""

from __future__ import annotations

import enum
import sys
from typing import Any, Optional, Protocol, Union

#: Longest facility that the server takes, in bytes.
MAX_FACILITY = 512


class HasUsername(Protocol):
    """A user, as Django has them."""

    def get_username(self) -> Any:
        """The user's name."""


class HasName(Protocol):
    """A group, as Django has them."""

    @property
    def name(self) -> Any:
        """The group's name."""


#: What has a name that is not its text.
Named = Union[HasUsername, HasName]


def text_of(value: Any) -> Optional[str]:
    """The text of what is text: str, int, lazy strings. None for all else."""
    kind = type(value)
    if issubclass(kind, str):
        # An enum that is a str has another text for str().
        return str.__str__(value)
    if issubclass(kind, int) and kind is not bool:
        return int.__repr__(value)
    if _is_lazy(value):
        try:
            # What is lazy and a text of another kind has another text for str().
            text = value[:]
        except (TypeError, LookupError):
            return None
        # Not what is lazy and no text, such as a list.
        return text if type(text) is str else None
    return None


def name_of_user(value: Any) -> Optional[str]:
    """The name of a user who is logged in; empty for others. None for what is no user."""
    ask = getattr(value, "get_username", None)
    if isinstance(value, type) or not callable(ask):
        return None
    return username(ask()) if getattr(value, "is_authenticated", True) else ""


def username(value: Any) -> Optional[str]:
    """The text of what is a user's name, which may be a UUID, say; empty for None.

    None for what has only a text that describes it.
    """
    if value is None:
        return ""
    text = text_of(value)
    if text is not None or isinstance(value, (bytes, bytearray, enum.Enum)):
        return text
    its_own: object = type(value).__str__
    return None if its_own is object.__str__ else str(value)


def name_of_group(value: Any) -> Optional[str]:
    """The name of one of Django's groups."""
    models = sys.modules.get("django.contrib.auth.models")
    if models is None or not isinstance(value, models.Group):
        return None
    return text_of(value.name)


def checked(what: str, name: str) -> str:
    """A name that can be part of a channel's."""
    if not name or ":" in name:
        raise ValueError(f"{name!r} in {what} is empty or has a colon in it")
    return name


def facility_of(value: Any) -> str:
    """The text of a facility."""
    if value is None:
        raise ValueError("a facility is needed: the part of the socket's path behind /ws/")
    facility = text_of(value)
    if facility is None:
        raise TypeError(f"a facility is a text, not {value!r}")
    if len(facility.encode()) > MAX_FACILITY:
        raise ValueError(f"the facility has more than {MAX_FACILITY} bytes")
    return facility


def _is_lazy(value: Any) -> bool:
    """Whether it is one of Django's lazy strings, or an object that stands for another."""
    functional = sys.modules.get("django.utils.functional")
    lazies = (functional.Promise, functional.LazyObject) if functional is not None else ()
    return issubclass(type(value), lazies)
