"""``{% load wsloop %}``."""

from typing import Any

from django import template
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import context_processors

register = template.Library()


@register.simple_tag(takes_context=True)
def websocket_uri(context: Any) -> str:
    """Where the page connects to, up to the facility: ``ws://example.com/ws/``."""
    return context_processors.websocket_uri(context.get("request"))


@register.simple_tag
def websocket_heartbeat() -> SafeString:
    """The heartbeat as JavaScript: a string in double quotes, or null."""
    return context_processors.heartbeat()


@register.simple_tag
def wsloop_script() -> SafeString:
    """The script with ``WSLoop`` and ``WS4Redis``; the module is ``wsloop/wsloop.mjs``."""
    return format_html('<script src="{}"></script>', static("wsloop/wsloop.js"))
