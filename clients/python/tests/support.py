"""Programs for tests: a real redis-server, a real wsloop, each on a free port, and their ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import redis

#: The binary under test.
BINARY = os.environ.get("WSLOOP_BINARY", "wsloop")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, ask, seconds=10.0):
    """The first true answer; an assertion when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Redis:
    """A redis-server with nothing in it."""

    def __init__(self, port: int = 0, password: str = "") -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wsloop-redis-")
        self.port = port or free_port()
        self.socket = str(Path(self.folder.name) / "redis.sock")
        line = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        line += ["--dir", self.folder.name, "--unixsocket", self.socket]
        line += ["--requirepass", password]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        self.url = f"redis://127.0.0.1:{self.port}"
        self.client = redis.Redis(port=self.port, password=password or None)
        eventually("redis-server answers", self._answers)

    def _answers(self) -> bool:
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


class Started:
    """A wsloop by this command line."""

    def __init__(self, line: list[str], environment: dict[str, str] | None = None) -> None:
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            line,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=self.log,
            # With a shell in between it is more than one process.
            start_new_session=True,
        )
        first = self.process.stdout.readline().decode()
        found = re.search(r":(\d+)$", first.strip())
        if found is None:
            self.close()
            raise AssertionError(f"wsloop did not start by {line}: {self.complaint}")
        self.port = int(found[1])

    def close(self) -> None:
        if self.log.closed:
            return
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()
        self.log.seek(0)
        self.complaint = self.log.read().decode()
        self.log.close()


class Wsloop(Started):
    """A wsloop with these flags."""

    def __init__(self, *flags: str) -> None:
        super().__init__([BINARY, "--listen=127.0.0.1:0", *flags])


class RedisTestCase(unittest.TestCase):
    """Tests with one redis-server, empty for each of them."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.redis = Redis()
        cls.addClassCleanup(cls.redis.close)

    def setUp(self) -> None:
        super().setUp()
        self.redis.client.flushall()

    def entered(self, context):
        """As ``enterContext``, which came with Python 3.11."""
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def listen(self, *names: str):
        """A pub/sub listener that has been confirmed."""
        pubsub = self.redis.client.pubsub()
        self.addCleanup(pubsub.close)
        pubsub.subscribe(*names)
        for _ in names:
            self.assertEqual(pubsub.get_message(timeout=5)["type"], "subscribe")
        return pubsub

    def heard(self, pubsub) -> bytes:
        message = pubsub.get_message(timeout=5)
        self.assertIsNotNone(message, "nothing was heard")
        return message["data"]
