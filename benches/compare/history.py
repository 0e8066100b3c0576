"""What history costs: the processor time that Redis and wsloop take for a message.

    python3 benches/compare/history.py [--program PATH] [--rounds 3] [--messages 16000]

Messages of 100 bytes are published by PUBLISH, by the transaction and by the script of the book's
page about history, one, sixteen and 256 at a time, to listeners of a WebSocket for one URL and of
`wsloop.1`; and browsers publish, on a channel with a history and on one without. It prints the
median of the rounds in microseconds. Redis has core 0, wsloop the last one, and this is anywhere.
The times are the scheduler's, so that other load matters less than it does for the clock, but it
does. It needs `cargo build --release`, redis-server and /proc.
"""

import argparse
import os
import selectors
import socket
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

from workers import ROOT, Running, until

SCRIPT = (ROOT / "src/broker/history/publish.lua").read_bytes()
HEAD = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n"
)
# With a history, and without one.
KEPT, PLAIN = "chat/1", "news"
# What redis and wsloop have to be done with, in seconds, before the next is measured.
REST = 0.4


def publish(channel, message):
    return [[b"PUBLISH", channel, message]]


def transaction(channel, message):
    stream = b"wsloop:history:{" + channel + b"}"
    return [
        [b"MULTI"],
        [b"XADD", stream, b"MAXLEN", b"=", b"100", b"*", b"message", message],
        [b"PEXPIRE", stream, b"300000"],
        *publish(channel, message),
        [b"EXEC"],
    ]


def script(channel, message):
    stream = b"wsloop:history:{" + channel + b"}"
    return [[b"EVAL", SCRIPT, b"1", stream, channel, message, b"100", b"300000"]]


# The facility, how it is published, and whether the listeners speak wsloop.1.
CASES = [
    ("no history, PUBLISH", PLAIN, publish, False),
    ("history, PUBLISH", KEPT, publish, False),
    ("history, transaction", KEPT, transaction, False),
    ("history, script", KEPT, script, False),
    ("wsloop.1, no history, PUBLISH", PLAIN, publish, True),
    ("wsloop.1, history, PUBLISH", KEPT, publish, True),
    ("wsloop.1, history, transaction", KEPT, transaction, True),
]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(ROOT / "target/release/wsloop"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--messages", type=int, default=16000)
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis"
        redis = ["redis-server", "--port", "0", "--save", "", "--unixsocket", path]
        with Running(redis, {cores[0]}) as broker:
            until(lambda: Path(path).is_socket())
            line = [given.program, "--listen", "127.0.0.1:0", "--redis", f"redis+unix://{path}"]
            line += ["--allow", "all", "--history", "chat/*=100/300", "--expire", "0"]
            with Running(line, {cores[-1]}) as server:
                port = int(server.stdout.readline().split()[-1].rsplit(":", 1)[1].strip("/"))
                measure(given, Measured(path, port, [broker.pid, server.pid]))


def measure(given, measured):
    print(f"{'':34} window  listeners  Redis us  wsloop us")
    for window, listeners in [(1, 1), (16, 1), (16, 100), (256, 1)]:
        count = given.messages // 4 if window == 1 else given.messages // window * window
        for name, *case in CASES:
            case = [*case, window, listeners, count]
            found = [measured.published(*case) for _ in range(given.rounds)]
            show(name, window, listeners, found)
    for name, facility in [("from browsers, no history", PLAIN), ("from browsers, history", KEPT)]:
        found = [measured.said(facility, given.messages // 2) for _ in range(given.rounds)]
        show(name, 16, 1, found)


def show(name, window, listeners, found):
    broker, server = (median(values) for values in zip(*found))
    print(f"{name:34} {window:6}  {listeners:9}  {broker:8.2f}  {server:9.2f}", flush=True)


class Measured:
    """A Redis and a wsloop, and what they take for a message."""

    def __init__(self, path, port, processes):
        self.path, self.port, self.processes = path, port, processes

    def published(self, facility, commands, speaks, window, listeners, count):
        with Listeners(self.port, facility, speaks, listeners):
            redis = socket.socket(socket.AF_UNIX)
            redis.connect(self.path)
            channel = f"broadcast:{facility}".encode()

            def send(numbers):
                batch = (command for n in numbers for command in commands(channel, text(n)))
                redis.sendall(b"".join(map(encoded, batch)))
                redis.recv(1 << 20)

            with redis:
                return self.taken(send, window, count)

    def said(self, facility, count):
        speaker = opened(self.port, f"/ws/{facility}?publish-broadcast")

        def send(numbers):
            speaker.sendall(b"".join(framed(text(n)) for n in numbers))

        with Listeners(self.port, facility, False, 1), speaker:
            return self.taken(send, 16, count)

    def taken(self, send, window, count):
        before = self.times()
        for begin in range(0, count, window):
            send(range(begin, begin + window))
            # Each batch comes by itself.
            time.sleep(0.0008)
        time.sleep(REST)
        return [(now - then) / count / 1000 for now, then in zip(self.times(), before)]

    def times(self):
        """Nanoseconds that each process has had."""
        read = (Path(f"/proc/{process}/schedstat").read_text() for process in self.processes)
        return [int(text.split()[0]) for text in read]


class Listeners:
    """WebSockets that hear a facility, and are read."""

    def __init__(self, port, facility, speaks, count):
        self.selector, self.over = selectors.DefaultSelector(), False
        for _ in range(count):
            if speaks:
                browser = opened(port, "/ws/", "Sec-WebSocket-Protocol: wsloop.1\r\n")
                browser.sendall(framed(f"subscribe 1 broadcast {facility}".encode()))
            else:
                browser = opened(port, f"/ws/{facility}?subscribe-broadcast")
            browser.setblocking(False)
            self.selector.register(browser, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.read)

    def read(self):
        while not self.over:
            for key, _ in self.selector.select(0.1):
                key.fileobj.recv(1 << 20)

    def __enter__(self):
        self.thread.start()
        time.sleep(REST)

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        time.sleep(REST)


def opened(port, url, header=""):
    browser = socket.create_connection(("127.0.0.1", port), 5)
    browser.sendall(HEAD.format(url, header).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += browser.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return browser


def framed(payload):
    """A masked text frame: the mask is zeros, and a length below 126 is in the second byte."""
    return bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload


def encoded(words):
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n%s" % (len(words), b"".join(parts))


def text(number):
    return b"%0100d" % number


if __name__ == "__main__":
    main()
