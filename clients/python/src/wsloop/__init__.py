"""Publishes messages to browsers that wsloop holds, through Redis or its embedded broker.

``from ws4redis.publisher import RedisPublisher`` becomes ``from wsloop import RedisPublisher``.
``wsloop.aio`` has the same for asyncio, ``wsloop.django`` is the Django app. ``wsloop.sockets`` is
for an application that handles WebSockets itself, and needs no Redis.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._channels import SELF
    from ._exchange import Published
    from ._message import RedisMessage
    from .publisher import RedisPublisher, disconnect

__all__ = ["SELF", "Published", "RedisMessage", "RedisPublisher", "disconnect"]

#: Where each of them is: they are imported at their first use, and redis-py with them.
_PLACES = {
    "SELF": "_channels",
    "Published": "_exchange",
    "RedisMessage": "_message",
    "RedisPublisher": "publisher",
    "disconnect": "publisher",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value
