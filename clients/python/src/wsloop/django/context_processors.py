"""What templates want to know, by its names in ws4redis."""

import json
from typing import Any, Optional

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.safestring import SafeString, mark_safe

from .._settings import Settings
from .conf import url_prefix

# As in Django's json_script: what may stand in a script of a page.
_IN_SCRIPTS = {ord(">"): "\\u003E", ord("<"): "\\u003C", ord("&"): "\\u0026"}


def default(request: HttpRequest) -> dict[str, Any]:
    """``WEBSOCKET_URI`` and ``WS4REDIS_HEARTBEAT``."""
    return {"WEBSOCKET_URI": websocket_uri(request), "WS4REDIS_HEARTBEAT": heartbeat()}


def websocket_uri(request: Optional[HttpRequest]) -> str:
    """Where the page connects to, up to the facility.

    The page's own host, unless the setting WSLOOP_URI names another place.
    """
    elsewhere = getattr(settings, "WSLOOP_URI", None)
    if elsewhere:
        return str(elsewhere)
    if request is None:
        raise ImproperlyConfigured(
            "{% websocket_uri %} needs the request, for its host: render the page with it, and have "
            "django.template.context_processors.request in TEMPLATES; or set WSLOOP_URI"
        )
    scheme = "wss" if request.is_secure() else "ws"
    return f"{scheme}://{request.get_host()}{url_prefix()}"


def heartbeat() -> SafeString:
    """The heartbeat as JavaScript: a string in double quotes, or null."""
    text = Settings.find().heartbeat.decode()
    return mark_safe(json.dumps(text or None).translate(_IN_SCRIPTS))
