"""The calls of uWSGI's WebSockets, for an application that has a thread for each conn.

This is the whole echo of uWSGI's page, served to wsloop::

    from wsloop.sockets import uwsgi

    def application(env, start_response):
        uwsgi.websocket_handshake()
        while True:
            uwsgi.websocket_send(uwsgi.websocket_recv())

    uwsgi.serve("/run/chat.sock", application)

What is another than in uWSGI: pings, pongs and dead peers are wsloop's, whatever the application does;
an empty message is a message, and "nothing yet" is None; a conn has closed when a call raises
``Disconnected``, an OSError with the code and the reason; sends do not wait for a slow peer; and
``websocket_close`` is there. An application that returns without a handshake refuses it, with the
status that it gave ``start_response``, and its body as the text.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, Optional, Union

from ._blocking import Sockets
from ._events import Asked, Closed, Conn, Message, Opened, Request, Sent

log = logging.getLogger("wsloop.sockets")

Application = Callable[[Dict[str, Any], Callable[..., Any]], Optional[Iterable[bytes]]]

#: Messages, and bytes of them, that wait for a thread before its conn is read no more.
MESSAGES = 64
BYTES = 1 << 20

_local = threading.local()


class Disconnected(OSError):
    """The conn has closed, with this code (1006 where there was none) and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket has closed with {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class _Websocket:
    """A conn, as its thread has it."""

    def __init__(self, sockets: Sockets, conn: Conn, request: Request, is_open: bool) -> None:
        self.sockets = sockets
        self.conn = conn
        self.request = request
        self.is_open = is_open
        self.closed: Optional[Disconnected] = None
        self._messages: Deque[Union[str, bytes]] = deque()
        self._bytes = 0
        self._paused = False
        self._news = threading.Condition()

    def put(self, message: Union[str, bytes]) -> None:
        with self._news:
            self._messages.append(message)
            self._bytes += len(message)
            is_full = len(self._messages) >= MESSAGES or self._bytes >= BYTES
            if is_full and not self._paused:
                self._paused = True
                self.sockets.pause(self.conn)
            self._news.notify()

    def end(self, code: int, reason: str) -> None:
        with self._news:
            self.closed = Disconnected(code, reason)
            self._news.notify()

    def get(self, seconds: Optional[float]) -> Optional[Union[str, bytes]]:
        with self._news:
            self._news.wait_for(lambda: self._messages or self.closed, seconds)
            if not self._messages:
                if self.closed is not None:
                    raise self.closed
                return None
            message = self._messages.popleft()
            self._bytes -= len(message)
            few = len(self._messages) <= MESSAGES // 2 and self._bytes <= BYTES // 2
            if self._paused and few:
                self._paused = False
                self.sockets.resume(self.conn)
            return message

    def send(self, message: Union[str, bytes]) -> Sent:
        if not self.is_open:
            raise OSError("call websocket_handshake() before anything is sent")
        sent = self.sockets.send(self.conn, message)
        if sent is Sent.CLOSED:
            raise self.closed or Disconnected(1006, "")
        return sent


def _current() -> _Websocket:
    websocket: Optional[_Websocket] = getattr(_local, "websocket", None)
    if websocket is None:
        raise OSError("there is no WebSocket here: call this in the thread of the application")
    return websocket


def websocket_handshake(key: object = "", origin: object = "", proto: str = "") -> None:
    """Lets the conn in, with the sub-protocol ``proto`` if that is offered. wsloop has checked the key
    and the origin. Without ``proto`` no sub-protocol is chosen."""
    websocket = _current()
    if not websocket.is_open:
        websocket.sockets.accept(websocket.conn, proto or None)
        websocket.is_open = True


def websocket_recv(timeout: Optional[float] = None) -> bytes:
    """Waits for the next message, for so many seconds at most: then TimeoutError is raised."""
    message = _current().get(timeout)
    if message is None:
        raise TimeoutError("no message has come in time")
    return message.encode() if isinstance(message, str) else message


def websocket_recv_nb() -> Optional[bytes]:
    """The next message, if there is one already; None when there is none yet."""
    message = _current().get(0)
    return message.encode() if isinstance(message, str) else message


def websocket_send(message: Union[str, bytes]) -> Sent:
    """Sends a text message; bytes are to be UTF-8."""
    return _current().send(message if isinstance(message, str) else bytes(message).decode())


def websocket_send_binary(message: Union[str, bytes]) -> Sent:
    """Sends a binary message."""
    return _current().send(message.encode() if isinstance(message, str) else bytes(message))


def websocket_close(code: int = 1000, reason: str = "") -> None:
    """Begins the close handshake."""
    websocket = _current()
    websocket.sockets.close(websocket.conn, code, reason)


def _run(application: Application, websocket: _Websocket, environ: Dict[str, Any]) -> None:
    _local.websocket = websocket
    status = [404]
    code, reason = 1000, ""

    def start_response(line: str, headers: object = (), exc_info: object = None) -> Any:
        status[0] = int(line.split(" ")[0])
        return lambda data: None

    body = b""
    try:
        body = b"".join(application(environ, start_response) or ())
    except Disconnected:
        pass
    except Exception:
        log.exception("the application has failed at %s", websocket.request.path)
        status[0], code, reason = 500, 1011, "the application has failed"
    if websocket.is_open:
        if websocket.closed is None:
            websocket.sockets.close(websocket.conn, code, reason)
    elif 400 <= status[0] < 600:
        websocket.sockets.refuse(websocket.conn, status[0], body.decode("utf-8", "replace"))
    else:
        websocket.sockets.refuse(websocket.conn, 404, "There is no WebSocket here.")


def serve(
    path: Union[str, "os.PathLike[str]"], application: Application, threads: int = 1000
) -> None:
    """Serves ``application`` to the conns of the endpoint whose socket is at ``path``, for ever, in at
    most so many threads: who comes when all are taken gets 503."""
    with Sockets(path, decides=True) as sockets:
        serve_from(sockets, application, threads)


def serve_from(sockets: Sockets, application: Application, threads: int = 1000) -> None:
    """The same for ``sockets`` that were opened with ``decides``."""
    websockets: Dict[Conn, _Websocket] = {}
    taken = threading.BoundedSemaphore(threads)

    def run(websocket: _Websocket, environ: Dict[str, Any]) -> None:
        try:
            _run(application, websocket, environ)
        finally:
            if not websocket.is_open:
                # Nothing more is said of who was refused.
                websockets.pop(websocket.conn, None)
            taken.release()

    def begin(event: Union[Asked, Opened]) -> None:
        conn, is_open = event.conn, isinstance(event, Opened)
        if not taken.acquire(blocking=False):
            if is_open:
                sockets.close(conn, 1013, "too many threads are taken")
            else:
                sockets.refuse(conn, 503, "All threads of the application are taken.")
            return
        websocket = _Websocket(sockets, conn, event.request, is_open)
        websockets[conn] = websocket
        environ = {**event.request.environ(), "wsloop.resumed": is_open}
        name = f"websocket-{conn.link}-{conn.name}"
        threading.Thread(target=run, args=(websocket, environ), name=name, daemon=True).start()

    try:
        for event in sockets:
            if isinstance(event, (Asked, Opened)):
                begin(event)
            elif isinstance(event, Message) and event.conn in websockets:
                websockets[event.conn].put(event.data)
            elif isinstance(event, Closed) and event.conn in websockets:
                websockets.pop(event.conn).end(event.code, event.reason)
    finally:
        for websocket in websockets.values():
            websocket.end(1006, "the link to wsloop is closed")
