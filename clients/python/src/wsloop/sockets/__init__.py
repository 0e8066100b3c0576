"""WebSockets of one's own: wsloop holds them, and dials this application for what happens to them.

Started as ``wsloop --endpoint /chat/=unix:/run/chat.sock``, wsloop hands every conn below ``/chat/``
to whoever listens at that socket. This is all of an application that sends back what it is sent::

    from wsloop.sockets import Message, Sockets

    sockets = Sockets("/run/chat.sock")
    for event in sockets:
        if isinstance(event, Message):
            sockets.send(event.conn, event.data)

``wsloop.sockets.aio`` has the same for asyncio, and ``wsloop.sockets.uwsgi`` has the calls of uWSGI,
with a thread for each conn. None of them needs anything but the standard library.
"""

from ._blocking import Sockets
from ._events import Asked, Closed, Conn, Ended, Event, Message, Opened, Request, Sent, Slow

__all__ = [
    "Asked",
    "Closed",
    "Conn",
    "Ended",
    "Event",
    "Message",
    "Opened",
    "Request",
    "Sent",
    "Slow",
    "Sockets",
]
