"""A user's program, for ``mypy --strict``: what it may write, and what it gets back."""

import asyncio
from typing import Any, Optional, Union

from wsloop import SELF, Published, RedisMessage, RedisPublisher, aio, disconnect
from wsloop.aio import RedisPublisher as AsyncPublisher
from wsloop.django.context_processors import websocket_uri
from wsloop.django.views import auth
from wsloop.sockets import Message, Sent, Sockets
from wsloop.sockets.aio import Sockets as AsyncSockets


def echo(sockets: Sockets) -> None:
    for event in sockets:
        if isinstance(event, Message):
            data: Union[str, bytes] = event.data
            if sockets.send(event.conn, data) is Sent.CLOSED:
                sockets.close(event.conn, 1000, "done")


async def echo_async(sockets: AsyncSockets) -> None:
    async for event in sockets:
        if isinstance(event, Message):
            await sockets.send(event.conn, event.data)


class User:
    """As Django's are."""

    def get_username(self) -> str:
        return "john"


class Group:
    """As Django's are."""

    name = "staff"


def publish(request: Any, users: list[User]) -> int:
    publisher = RedisPublisher(
        request=request,
        facility="orders/42",
        broadcast=True,
        users=users,
        groups=Group(),
        sessions=SELF,
        redis={"host": "127.0.0.1", "password": "secret"},
        prefix="shop",
        expire=60,
    )
    published: Published = publisher.publish_message("hello", expire=0)
    also: Published = publisher.pipeline_publish_message(RedisMessage(b"hello"), transaction=True)
    stored: Optional[bytes] = publisher.fetch_message(request, "orders/42", audience="user")
    told: int = disconnect(user=users[0], code=4001, reason="a new login")
    names: tuple[str, ...] = publisher.channels
    return published.receivers + also.channels + len(stored or b"") + told + len(names)


async def publish_async() -> int:
    publisher = AsyncPublisher(facility=42, users={"john", "mary"}, redis="redis://127.0.0.1")
    published: Published = await publisher.publish_message(bytearray(b"hello"))
    stored: Optional[bytes] = await publisher.fetch_message(None, "orders/42")
    told: int = await aio.disconnect(group="staff")
    await aio.close()
    return published.channels + len(stored or b"") + told


def views() -> list[Any]:
    return [auth, websocket_uri]


def main() -> None:
    asyncio.run(publish_async())


# What is wrong is noticed: without the error, mypy complains about the comment.
RedisPublisher(facility="f", user="john")  # type: ignore[call-arg]
RedisPublisher("f")  # type: ignore[call-arg]
RedisPublisher(facility=b"f", broadcast=True)  # type: ignore[arg-type]
disconnect(user=["john"])  # type: ignore[arg-type]
disconnect(user="john", code="4403")  # type: ignore[arg-type]
