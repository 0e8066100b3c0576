"""Publishes messages to browsers that wsloop holds, through Redis or its embedded broker.

``from ws4redis.publisher import RedisPublisher`` becomes ``from wsloop import RedisPublisher``.
``wsloop.aio`` has the same for asyncio, ``wsloop.django`` is the Django app.
"""

from ._channels import SELF
from ._exchange import Published
from ._message import RedisMessage
from .publisher import RedisPublisher, disconnect

__all__ = ["SELF", "Published", "RedisMessage", "RedisPublisher", "disconnect"]
