"""One port for the development server and wsloop.

Reads the head of a connection's first request. When that is the handshake of a WebSocket, the
connection is joined to wsloop, and from then on bytes go through as they are. Any other request is
the only one of its connection, which both sides are told, so that the next one may go elsewhere: one
below wsloop's prefix to wsloop, as with a proxy in production, and the rest to Django.

For development only: it knows no limits but the head's.
"""

import asyncio
from collections.abc import Awaitable, Callable

Address = tuple[str, int]
#: How bytes go between the two that were joined, each a reader and a writer.
Copy = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamWriter],
    Awaitable[None],
]

#: Largest head that is read before it is decided, in bytes. Django refuses it past that.
MAX_HEAD = 64 * 1024
#: How long the rest of a head may take, in seconds.
HEAD_TIMEOUT = 10.0
#: How long is waited for Django, which restarts whenever its code changes, in seconds.
CONNECT_TIMEOUT = 15.0

_UNREACHABLE = (
    b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"\r\nThe server behind this port does not answer.\n"
)


def is_websocket(head: bytes, url_prefix: str) -> bool:
    """Whether this is a request for a WebSocket on one of wsloop's paths."""
    request, *fields = head.split(b"\r\n")
    method, _, rest = request.partition(b" ")
    if method != b"GET" or not rest.startswith(url_prefix.encode()):
        return False
    pairs = (each.lower().partition(b":") for each in fields)
    return any(name == b"upgrade" and b"websocket" in value for name, _, value in pairs)


def is_below(head: bytes, url_prefix: str) -> bool:
    """Whether this is a request for one of wsloop's paths."""
    return head.partition(b" ")[2].startswith(url_prefix.encode())


def only_one(head: bytes) -> bytes:
    """The head of a request or a response, after which the connection ends."""
    start, end, more = head.partition(b"\r\n\r\n")
    if not end:
        return head
    lines = [line for line in start.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close"]) + end + more


async def start(
    listen: Address, url_prefix: str, websockets: Address, pages: Address
) -> asyncio.AbstractServer:
    """Listens; what connects is served for as long as the event loop runs."""

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(_head(reader), HEAD_TIMEOUT)
            if is_websocket(head, url_prefix):
                await _join(head, reader, writer, websockets, _both_ways)
            elif head:
                target = websockets if is_below(head, url_prefix) else pages
                await _join(only_one(head), reader, writer, target, _one_response)
        except (OSError, asyncio.TimeoutError):
            # A peer that is gone needs no answer.
            pass
        finally:
            writer.close()

    return await asyncio.start_server(joined, *listen, limit=MAX_HEAD)


async def _head(reader: asyncio.StreamReader, head: bytes = b"") -> bytes:
    """A head, with whatever came with it; empty if there was none."""
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
        more = await reader.read(MAX_HEAD)
        if not more:
            break
        head += more
    return head


async def _join(
    head: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    target: Address,
    copy: Copy,
) -> None:
    try:
        to_reader, to_writer = await asyncio.wait_for(_connect(target), CONNECT_TIMEOUT)
    except (OSError, asyncio.TimeoutError):
        writer.write(_UNREACHABLE)
        await writer.drain()
        return
    try:
        to_writer.write(head)
        await copy(reader, writer, to_reader, to_writer)
    finally:
        to_writer.close()


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to_reader: asyncio.StreamReader,
    to_writer: asyncio.StreamWriter,
) -> None:
    # One side may have no more to say while the other still has.
    await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _one_response(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    to_reader: asyncio.StreamReader,
    to_writer: asyncio.StreamWriter,
) -> None:
    body = asyncio.ensure_future(_copy(reader, to_writer))
    try:
        head = await _head(to_reader)
        while head.startswith(b"HTTP/1.1 1"):
            # Such as "100 Continue", after which the response is still to come.
            interim, end, head = head.partition(b"\r\n\r\n")
            writer.write(interim + end)
            head = await _head(to_reader, head)
        writer.write(only_one(head))
        await _copy(to_reader, writer)
    finally:
        body.cancel()


async def _connect(target: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection(*target)
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(MAX_HEAD):
        writer.write(chunk)
        await writer.drain()
    writer.write_eof()
