"""The view that answers wsloop's question who somebody is: ``--auth-url``.

``from wsloop.django.views import auth``, and ``path("wsloop/auth/", auth)``. It grants by a status
of 2xx only, and every way through it that is not a plain yes ends with another.
"""

import copy
import logging
from typing import Any, Optional
from urllib.parse import unquote_to_bytes

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache

from .._channels import session_of, user_of
from .._settings import setting
from .signals import group_names

try:
    from django.contrib.auth.decorators import login_not_required
except ImportError:
    # Before Django 5.1 nothing requires a login of its own accord.
    def login_not_required(view: Any) -> Any:
        """Changes nothing."""
        return view


logger = logging.getLogger("wsloop")

#: The header with the path and query of the WebSocket.
ORIGINAL_URI = "X-Original-URI"
#: Longest name that wsloop takes, in bytes.
MAX_NAME = 255
#: The options that a callback decides about, in ws4redis's order.
OPTIONS = tuple(
    f"{direction}-{audience}"
    for direction in ("subscribe", "publish")
    for audience in ("session", "group", "user", "broadcast")
)


@login_not_required
@never_cache
def auth(request: HttpRequest) -> HttpResponse:
    """Who the request's owner is, and which options a callback leaves to them."""
    # The answer has the session's key, which no script of a page may read. Browsers send this
    # header with all that a script asks for, and wsloop does not.
    if "Sec-Fetch-Mode" in request.headers or ORIGINAL_URI not in request.headers:
        return _refusal(404, "this is for wsloop")
    try:
        return _grant(_as_websocket(request))
    except PermissionDenied as reason:
        return _refusal(403, str(reason) or "forbidden")
    except Exception:
        # Not Django's error page: a middleware may make something from it that looks like a yes.
        logger.exception("nobody was let in, for this went wrong")
        return _refusal(500, "the permissions could not be found out")


def _as_websocket(request: HttpRequest) -> HttpRequest:
    """The request as callbacks know it from ws4redis: its path and query are the WebSocket's."""
    path, _, query = request.headers[ORIGINAL_URI].partition("?")
    if not path.startswith("/"):
        raise PermissionDenied("this is no path")
    asked = copy.copy(request)
    asked.path = asked.path_info = unquote_to_bytes(path).decode(errors="replace")
    asked.GET = QueryDict(query)
    asked.META = {**request.META, "PATH_INFO": asked.path, "QUERY_STRING": query}
    process = setting("PROCESS_REQUEST", "PROCESS_REQUEST", None)
    if process is not None:
        _callable(process)(asked)
    return asked


def _grant(asked: HttpRequest) -> HttpResponse:
    response = HttpResponse(content_type="text/plain")
    allowed = _allowed(asked)
    if allowed is not None:
        response["X-Wsloop-Allow"] = ",".join(allowed)
    user, session = user_of(asked), session_of(asked)
    if user is not None:
        response["X-Wsloop-User"] = _field(user)
        response["X-Wsloop-Groups"] = b",".join(_groups(asked.user))
    if session is not None:
        response["X-Wsloop-Session"] = _field(session)
    return response


def _allowed(asked: HttpRequest) -> Optional[list[str]]:
    """What the callback leaves, or None without a callback: then it is up to ``--allow``."""
    callback = setting("ALLOWED_CHANNELS", "ALLOWED_CHANNELS", None)
    if callback is None:
        return None
    words = (name.strip().lower() for name in asked.GET)
    left = _callable(callback)(asked, [word for word in words if word in OPTIONS])
    if left is None or isinstance(left, str):
        raise TypeError(f"{callback!r} has to return a list of channels, not {left!r}")
    return [option for option in OPTIONS if option in set(left)]


def _groups(user: Any) -> list[bytes]:
    """The groups as they are now, less those that cannot be told: they would be others there."""
    told = []
    for name in group_names(user):
        if "," in name or not _can_be_told(name):
            logger.warning("the group %r is unknown to wsloop, for its name's sake", name)
        else:
            told.append(name.encode())
    return told


def _field(name: str) -> bytes:
    """A name as the value of a header."""
    if not _can_be_told(name):
        raise ValueError(f"the name {name!r} cannot be told to wsloop")
    return name.encode()


def _can_be_told(name: str) -> bool:
    """Whether wsloop takes it for a name, and for this one."""
    whole = name == name.strip() and name.isprintable() and ":" not in name
    return whole and 0 < len(name.encode()) <= MAX_NAME


def _callable(dotted: Any) -> Any:
    return import_string(dotted) if isinstance(dotted, str) else dotted


def _refusal(status: int, why: str) -> HttpResponse:
    return HttpResponse(why, status=status, content_type="text/plain; charset=utf-8")
