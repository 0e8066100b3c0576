"""One port for the development server and wsloop.

Reads the head of a connection's first request and joins the connection to wsloop, when it is the
handshake of a WebSocket, and to Django otherwise; from then on bytes go through as they are. A
connection that was once joined stays so: browsers open another one for each WebSocket.

For development only: it knows no limits but the head's.
"""

import asyncio

Address = tuple[str, int]

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


async def start(
    listen: Address, url_prefix: str, websockets: Address, pages: Address
) -> asyncio.AbstractServer:
    """Listens; what connects is served for as long as the event loop runs."""

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await asyncio.wait_for(_head(reader), HEAD_TIMEOUT)
            if head:
                target = websockets if is_websocket(head, url_prefix) else pages
                await _join(head, reader, writer, target)
        except (OSError, asyncio.TimeoutError):
            # A peer that is gone needs no answer.
            pass
        finally:
            writer.close()

    return await asyncio.start_server(joined, *listen, limit=MAX_HEAD)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """The first request's head, with whatever came with it; empty if there was none."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
        more = await reader.read(MAX_HEAD)
        if not more:
            break
        head += more
    return head


async def _join(
    head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Address
) -> None:
    try:
        to_reader, to_writer = await asyncio.wait_for(_connect(target), CONNECT_TIMEOUT)
    except (OSError, asyncio.TimeoutError):
        writer.write(_UNREACHABLE)
        await writer.drain()
        return
    try:
        to_writer.write(head)
        # One side may have no more to say while the other still has.
        await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))
    finally:
        to_writer.close()


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
