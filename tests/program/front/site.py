"""An application that answers what the tests ask of one, for any server that speaks WSGI."""

import hashlib
import os
import time
from wsgiref.util import request_uri

GO = os.environ["GO"]


def pieces():
    """The second piece comes when the test has seen the first."""
    yield b"first"
    while not os.path.exists(GO):
        time.sleep(0.01)
    yield b" and second"


def broken():
    yield b"a part"
    raise RuntimeError("the rest never comes")


def application(environ, start_response):
    where = environ["PATH_INFO"].split("/")[1]
    size = int(environ.get("CONTENT_LENGTH") or 0)
    status, headers, body = "200 OK", [], [b""]
    if where == "environ":
        texts = {name: value for name, value in environ.items() if isinstance(value, str)}
        lines = [f"{name}={value}\n" for name, value in texts.items()]
        lines.append(f"url={request_uri(environ)}\n")
        body = ["".join(lines).encode("latin-1")]
    elif where == "size":
        body = [b"x" * int(environ["PATH_INFO"].split("/")[2])]
    elif where == "echo":
        body = [environ["wsgi.input"].read(size)]
    elif where == "digest":
        body = [hashlib.sha256(environ["wsgi.input"].read(size)).hexdigest().encode()]
    elif where == "cookies":
        headers = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Expires=Thu, 1 Jan 2037")]
        body = [environ.get("HTTP_COOKIE", "").encode()]
    elif where == "cached":
        status, headers = "304 Not Modified", [("ETag", '"1"')]
        body = []
    elif where == "refuses":
        status, body = "413 Content Too Large", [b"too much"]
    elif where == "stream":
        start_response(status, [("Content-Type", "text/plain")])
        return pieces()
    elif where == "breaks":
        start_response(status, [("Content-Length", "1000")])
        return broken()
    if where != "cached":
        headers.append(("Content-Length", str(sum(map(len, body)))))
        headers.append(("Content-Type", "text/plain"))
    if environ["REQUEST_METHOD"] == "HEAD":
        body = []
    start_response(status, headers)
    return body
