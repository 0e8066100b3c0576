"""What speaks to Redis besides the servers: how far Redis lags behind one of them, and ws4redis's
stress test: a message is stored, then many connect, get it as their first, and leave.

Its client, like the original's, is Python and takes about as long as a fast server does.
"""

import selectors
import socket
import threading
import time

MESSAGE = b"Hello, World"
FRAME = bytes([0x81, len(MESSAGE)]) + MESSAGE
# How many connect at the same time, and how long all may take, in seconds.
PENDING = 64
PATIENCE = 60


class Lag:
    """Watches how much Redis has to send to a client of that name, in bytes."""

    def __init__(self, port, name):
        self.redis = socket.create_connection(("127.0.0.1", port), 5)
        self.name, self.most, self.over = f" name={name}".encode(), 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.over.wait(0.05):
            self.redis.sendall(b"CLIENT LIST\r\n")
            answer = self.redis.recv(1 << 20)
            while not answer.endswith(b"\n\r\n"):
                answer += self.redis.recv(1 << 20)
            for line in answer.splitlines():
                if self.name in line:
                    self.most = max(self.most, int(line.split(b" omem=")[1].split()[0]))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.redis.close()


def run(port, path, redis, channel, clients):
    """Returns how many seconds passed until the last had the message."""
    name = channel.encode()
    command(redis, b"SET", name, MESSAGE)
    try:
        return connect(port, path, clients)
    finally:
        command(redis, b"DEL", name)


def command(port, *words):
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    with socket.create_connection(("127.0.0.1", port), 5) as redis:
        redis.sendall(b"*%d\r\n%s" % (len(words), b"".join(parts)))
        answer = redis.recv(1024)
    if answer[:1] not in b"+:":
        raise RuntimeError(answer.decode())


def connect(port, path, clients):
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    selector = selectors.DefaultSelector()
    begun = time.monotonic()
    started = finished = 0
    try:
        while finished < clients:
            while started < clients and started - finished < PENDING:
                browser = socket.create_connection(("127.0.0.1", port), 5)
                browser.sendall(request)
                browser.setblocking(False)
                selector.register(browser, selectors.EVENT_READ, bytearray())
                started += 1
            for key, _ in selector.select(1):
                received = key.fileobj.recv(4096)
                key.data.extend(received)
                _, ended, frames = key.data.partition(b"\r\n\r\n")
                if ended and frames.startswith(FRAME):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
                    finished += 1
                elif not received:
                    raise RuntimeError(f"no stored message, but {bytes(key.data[:200])}")
            if time.monotonic() - begun > PATIENCE:
                raise RuntimeError(f"{finished} of {clients} had the message in {PATIENCE} s")
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()
        selector.close()
    return time.monotonic() - begun
