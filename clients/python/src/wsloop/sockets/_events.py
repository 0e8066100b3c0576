"""What happens to conns, as values."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Optional, Tuple, Union


class Conn(NamedTuple):
    """The name of a conn. When the conn has gone it means nothing, and does no harm."""

    #: The number of the link that it came over, of all that there ever were.
    link: int
    #: Its name on that link.
    name: int


class Sent(enum.Enum):
    """What has become of something that was to be sent."""

    #: It is on its way.
    QUEUED = "queued"
    #: It is on its way, and 64 KiB or more wait for the conn, as far as is known here. A conn that
    #: lets more wait than wsloop's ``--outbox-limit`` is closed with 1008.
    SLOW = "slow"
    #: The conn has closed, and nothing was sent.
    CLOSED = "closed"


class Ended(Exception):
    """There will be no more events: ``end`` was called."""


class Request:
    """What a conn has asked for."""

    def __init__(self, lines: bytes) -> None:
        #: The path as sent, still percent-encoded.
        self.path = "/"
        #: What follows the first ``?``, as sent.
        self.query = ""
        #: Where it comes from; a trusted proxy is looked through. None by a Unix socket.
        self.address: Optional[str] = None
        #: The user, where a source of wsloop's says who that is.
        self.user: Optional[str] = None
        #: The key of the session, likewise.
        self.session: Optional[str] = None
        #: The user's groups, likewise.
        self.groups: List[str] = []
        #: The sub-protocols that are offered, the one that is liked best first.
        self.protocols: List[str] = []
        #: The header lines in their order. Bytes that are no UTF-8 are surrogates, as in WSGI's
        #: neighbours of :pep:`383`.
        self.headers: List[Tuple[str, str]] = []
        for line in lines.decode("utf-8", "surrogateescape").split("\n"):
            name, colon, value = line.partition(": ")
            if not colon:
                continue
            if not name.startswith(":"):
                self.headers.append((name, value))
            elif name == ":group":
                self.groups.append(value)
            elif name == ":protocol":
                self.protocols.append(value)
            elif name in (":path", ":query", ":address", ":user", ":session"):
                setattr(self, name[1:], value)

    def header(self, name: str, otherwise: str = "") -> str:
        """The value of the first header line of that name, in any case."""
        wanted = name.lower()
        return next((value for name, value in self.headers if name.lower() == wanted), otherwise)

    def environ(self) -> Dict[str, object]:
        """The request as WSGI's ``environ`` has it (:pep:`3333`)."""
        from urllib.parse import unquote_to_bytes

        host, _, port = self.header("Host", "localhost").rpartition(":")
        if not host or not port.isdigit():
            host, port = self.header("Host", "localhost"), "80"
        environ: Dict[str, object] = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.path).decode("latin-1"),
            "QUERY_STRING": self.query,
            "SERVER_NAME": host,
            "SERVER_PORT": port,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.address or "",
            "wsgi.url_scheme": "http",
        }
        if self.user is not None:
            environ["REMOTE_USER"] = self.user
        for name, value in self.headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            if key in environ:
                value = f"{environ[key]},{value}"
            environ[key] = value
        return environ


@dataclass(frozen=True)
class Asked:
    """A conn asks to be let in, and waits for ``accept`` or ``refuse``, where ``decides`` is on. No
    ``Opened`` follows."""

    conn: Conn
    request: Request


@dataclass(frozen=True)
class Opened:
    """A conn is open."""

    conn: Conn
    request: Request
    #: It was open before this application was there: wsloop has kept it, see ``--endpoint-lost``.
    resumed: bool = False


@dataclass(frozen=True)
class Message:
    """A whole message: ``str`` if it is text, ``bytes`` if it is binary. An empty message is one."""

    conn: Conn
    data: Union[str, bytes]


@dataclass(frozen=True)
class Closed:
    """The conn says and hears nothing more. 1005 is a close without a code, 1006 no close at all,
    and that the link to wsloop is lost."""

    conn: Conn
    code: int
    reason: str


@dataclass(frozen=True)
class Slow:
    """So many bytes wait for a conn that takes no more; 0 is none any more."""

    conn: Conn
    waiting: int


Event = Union[Asked, Opened, Message, Closed, Slow]
