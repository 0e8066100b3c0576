"""The view that answers wsloop's question who somebody is: ``--auth-url``.

``from wsloop.django.views import auth``, and ``path("wsloop/auth/", auth)``. It grants by a status
of 2xx only, and every way through it that is not a plain yes ends with another.
"""

import copy
import logging
import unicodedata
from typing import Any, Optional
from urllib.parse import unquote_to_bytes

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache

from .._channels import is_logged_in, session_of, user_of
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
    asks_for = {word for word in _options(asked) if allowed is None or word in allowed}
    user, session = user_of(asked) or "", session_of(asked)
    if is_logged_in(asked):
        groups = group_names(asked.user)
        told = [name.encode() for name in groups if _is_told("group", name)]
        response["X-Wsloop-Groups"] = b",".join(told)
        if groups and not told and asks_for & {"subscribe-group", "publish-group"}:
            raise PermissionDenied("No name of your groups can be part of a channel's name.")
        if _is_told("user", user):
            response["X-Wsloop-User"] = user.encode()
        elif asks_for & {"subscribe-user", "publish-user"}:
            raise PermissionDenied("Your user name cannot be part of a channel's name.")
    if session is not None and _is_told("session", session):
        response["X-Wsloop-Session"] = session.encode()
    return response


def _allowed(asked: HttpRequest) -> Optional[list[str]]:
    """What the callback leaves, or None without a callback: then it is up to ``--allow``."""
    callback = setting("ALLOWED_CHANNELS", "ALLOWED_CHANNELS", None)
    if callback is None:
        return None
    left = _callable(callback)(asked, _options(asked))
    if left is None or isinstance(left, str):
        raise TypeError(f"{callback!r} has to return a list of channels, not {left!r}")
    return [option for option in OPTIONS if option in set(left)]


def _options(asked: HttpRequest) -> list[str]:
    """What the page asks for, in its own order."""
    words = (name.strip().lower() for name in asked.GET)
    return [word for word in words if word in OPTIONS]


def _is_told(audience: str, name: str) -> bool:
    """Whether wsloop takes it for a name, and for this one. What it does not take is left out."""
    # Between two groups is a comma.
    parts = ":," if audience == "group" else ":"
    is_whole = name == name.strip() and not any(each in parts or _is_control(each) for each in name)
    if is_whole and 0 < len(name.encode(errors="replace")) <= MAX_NAME:
        return True
    shown = "" if audience == "session" else f" {name!r}"
    logger.warning("the %s%s is unknown to wsloop, for its name's sake", audience, shown)
    return False


def _is_control(character: str) -> bool:
    # Surrogates are no characters, and no UTF-8.
    return unicodedata.category(character) in ("Cc", "Cs")


def _callable(dotted: Any) -> Any:
    return import_string(dotted) if isinstance(dotted, str) else dotted


def _refusal(status: int, why: str) -> HttpResponse:
    return HttpResponse(why, status=status, content_type="text/plain; charset=utf-8")
