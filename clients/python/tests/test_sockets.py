"""Applications that handle WebSockets themselves, behind a real wsloop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from wsloop.sockets import Asked, Closed, Ended, Message, Opened, Sent, Slow, Sockets, aio, uwsgi

from .support import Wsloop, eventually

#: An application in a process of its own, which can be killed.
ECHO = """
import sys
from wsloop.sockets import Message, Sockets

sockets = Sockets(sys.argv[1])
for event in sockets:
    if isinstance(event, Message):
        sockets.send(event.conn, event.data)
    elif getattr(event, "resumed", False):
        sockets.send(event.conn, "resumed at " + event.request.path)
"""


class SocketsTestCase(unittest.TestCase):
    flags: tuple[str, ...] = ()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="wsloop-sockets-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "app.sock")
        self.server = Wsloop("--resp=off", f"--endpoint=/chat/=unix:{self.path}", *self.flags)
        self.addCleanup(self.server.close)

    def connect(self, path="/chat/", **options):
        url = f"ws://127.0.0.1:{self.server.port}{path}"
        options.setdefault("compression", None)
        return connect(url, max_size=None, open_timeout=20, **options)

    def opened(self, sockets, path="/chat/", **options):
        """A browser, and what is said of it."""
        results = []

        def ask():
            results.append(eventually("a 101", lambda: self._try(path, options)))

        thread = threading.Thread(target=ask)
        thread.start()
        event = sockets.recv_timeout(20)
        thread.join()
        self.addCleanup(results[0].close)
        return results[0], event

    def _try(self, path, options):
        try:
            return self.connect(path, **options)
        except InvalidStatus as refused:
            assert refused.response.status_code == 503, refused
            return None

    def sockets(self, **options):
        sockets = Sockets(self.path, **options)
        self.addCleanup(sockets.end)
        return sockets

    def in_thread(self, target, *args):
        threading.Thread(target=target, args=args, daemon=True).start()

    def application(self, code=ECHO):
        process = subprocess.Popen([sys.executable, "-c", code, self.path])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def heard(self, sockets):
        """The next event besides that a conn is slow, as one of large messages may be."""
        return next(event for event in sockets if not isinstance(event, Slow))

    def closed(self, browser):
        """How a browser is closed that has nothing more to hear."""
        with self.assertRaises(ConnectionClosed) as caught:
            browser.recv(20)
        received = caught.exception.rcvd
        return received and (received.code, received.reason)


class Blocking(SocketsTestCase):
    def test_what_happens_is_said_and_what_is_ordered_is_done(self):
        sockets = self.sockets()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o600)
        browser, event = self.opened(sockets, "/chat/room%20?a=1", subprotocols=["b", "a"])
        self.assertIsInstance(event, Opened)
        request = event.request
        self.assertEqual((request.path, request.query), ("/chat/room%20", "a=1"))
        self.assertEqual((request.address, request.protocols), ("127.0.0.1", ["b", "a"]))
        self.assertEqual((request.user, request.groups, event.resumed), (None, [], False))
        self.assertEqual(request.header("HOST"), f"127.0.0.1:{self.server.port}")
        conn = event.conn
        for message in ["text", "", b"binary", b"", "x" * 2**20, os.urandom(2**20)]:
            browser.send(message)
            self.assertEqual(self.heard(sockets), Message(conn, message))
            self.assertIsNot(sockets.send(conn, message), Sent.CLOSED)
            self.assertEqual(browser.recv(20), message)
        sockets.send_binary(conn, "text")
        self.assertEqual(browser.recv(20), b"text")
        with self.assertRaises(ValueError):
            sockets.send(conn, "x" * (2**20 + 1))
        while (event := sockets.recv_nb()) is not None:
            self.assertIsInstance(event, Slow)
        sockets.close(conn, 4000, "enough")
        self.assertEqual(self.closed(browser), (4000, "enough"))
        self.assertEqual(self.heard(sockets), Closed(conn, 4000, "enough"))
        self.assertIs(sockets.send(conn, "late"), Sent.CLOSED)
        threading.Timer(0.1, sockets.end).start()
        self.assertEqual(list(sockets), [])
        sockets.end()
        for receive in (sockets.recv, sockets.recv_nb):
            self.assertRaises(Ended, receive)
        self.assertFalse(os.path.exists(self.path))

    def test_the_application_may_decide(self):
        sockets = self.sockets(decides=True)

        def decide():
            for event in sockets:
                if isinstance(event, Asked) and event.request.path == "/chat/no":
                    sockets.refuse(event.conn, 402, "pay first")
                elif isinstance(event, Asked):
                    sockets.accept(event.conn, "a", [("X-Room", "7")])

        self.in_thread(decide)
        browser = eventually("a 101", lambda: self._try("/chat/yes", {"subprotocols": ["b", "a"]}))
        self.addCleanup(browser.close)
        self.assertEqual(browser.subprotocol, "a")
        self.assertEqual(browser.response.headers["X-Room"], "7")
        with self.assertRaises(InvalidStatus) as caught:
            self.connect("/chat/no")
        self.assertEqual(caught.exception.response.status_code, 402)
        self.assertIn(b"pay first", caught.exception.response.body)

    def test_one_message_to_many_and_what_the_broker_delivers(self):
        sockets = self.sockets()
        (one, first), (two, second) = self.opened(sockets), self.opened(sockets)
        conns = [first.conn, second.conn]
        sockets.broadcast(conns, "to all")
        sockets.broadcast(conns, b"to all")
        for browser in (one, two):
            self.assertEqual([browser.recv(20), browser.recv(20)], ["to all", b"to all"])
        sockets.subscribe(first.conn, "news")
        self.assertTrue(sockets.publish("news", "from the broker"))
        self.assertEqual(one.recv(20), "from the broker")
        sockets.unsubscribe(first.conn, "news")
        sockets.publish("news", "unheard")
        sockets.send(first.conn, "last")
        self.assertEqual(one.recv(20), "last")

    def test_events_wait_where_there_is_no_credit(self):
        sockets = self.sockets(credit=1000)
        browser, event = self.opened(sockets)
        for number in range(500):
            browser.send(str(number))
        heard = [sockets.recv() for _ in range(500)]
        self.assertEqual(heard, [Message(event.conn, str(number)) for number in range(500)])

    def test_an_application_that_reads_nothing_has_its_peers_wait(self):
        sockets = self.sockets()
        browser, event = self.opened(sockets)
        sent = []

        def flood():
            for number in range(300):
                browser.send(b"x" * 65536)
                sent.append(number)

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        eventually("it has to wait", lambda: self._rests(sent))
        self.assertLess(len(sent), 300, "20 MB were taken though nobody reads")
        for _ in range(300):
            self.assertEqual(len(sockets.recv().data), 65536)
        thread.join(20)
        self.assertEqual(len(sent), 300)

    def _rests(self, sent):
        before = len(sent)
        time.sleep(0.5)
        return before > 0 and before == len(sent)

    def test_who_reads_nothing_is_slow_and_then_closed(self):
        sockets = self.sockets()
        browser, event = self.opened(sockets)
        seen = []
        for _ in range(2000):
            seen.append(sockets.send(event.conn, b"x" * 65536))
            happened = sockets.recv_nb()
            if isinstance(happened, Closed):
                break
        self.assertEqual(happened.code, 1008)
        self.assertIn(Sent.SLOW, seen)

    def test_a_thousand_conns_on_one_link(self):
        sockets = self.sockets()
        self.in_thread(self._echo, sockets)

        async def scenario():
            from websockets.asyncio.client import connect

            url = f"ws://127.0.0.1:{self.server.port}/chat/"
            gate = asyncio.Semaphore(50)

            async def one(number):
                async with gate:
                    browser = await connect(url, compression=None, open_timeout=60)
                await browser.send(f"from {number}")
                answer = await browser.recv()
                return browser, answer == f"from {number}"

            both = await asyncio.gather(*(one(number) for number in range(1000)))
            await asyncio.gather(*(browser.close() for browser, _ in both))
            return [fits for _, fits in both]

        eventually("a 101", lambda: self._try("/chat/", {})).close()
        fits = asyncio.run(scenario())
        self.assertEqual((len(fits), all(fits)), (1000, True))

    def _echo(self, sockets):
        for event in sockets:
            if isinstance(event, Message):
                sockets.send(event.conn, event.data)

    def test_a_socket_that_is_in_use_is_not_taken(self):
        self.sockets()
        with self.assertRaises(OSError):
            Sockets(self.path)
        Path(self.path + "2").write_text("a file")
        with self.assertRaises(OSError):
            Sockets(self.path + "2")

    def test_it_needs_nothing_but_the_standard_library(self):
        code = (
            "import sys; sys.modules['redis'] = None\n"
            "from wsloop.sockets import Sockets, aio, uwsgi\n"
            "try:\n import wsloop; wsloop.RedisPublisher\n"
            "except ImportError: print('no redis')"
        )
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        self.assertEqual(output.stdout, b"no redis\n", output.stderr)


class Lost(SocketsTestCase):
    def test_conns_of_an_application_that_dies_are_closed_with_1012(self):
        process = self.application()
        browser = eventually("a 101", lambda: self._try("/chat/", {}))
        browser.send("hello")
        self.assertEqual(browser.recv(20), "hello")
        process.send_signal(signal.SIGKILL)
        self.assertEqual(self.closed(browser), (1012, "the application has gone"))
        self.application()
        browser = eventually("a 101", lambda: self._try("/chat/", {}))
        browser.send("again")
        self.assertEqual(browser.recv(20), "again")
        browser.close()

    def test_conns_are_closed_for_an_application_whose_wsloop_is_lost(self):
        sockets = self.sockets()
        browser, event = self.opened(sockets)
        os.killpg(self.server.process.pid, signal.SIGKILL)
        self.assertEqual(sockets.recv(), Closed(event.conn, 1006, "the link to wsloop is lost"))
        self.assertIs(sockets.send(event.conn, "late"), Sent.CLOSED)


class Kept(SocketsTestCase):
    flags = ("--endpoint-lost=keep",)

    def test_conns_of_an_application_that_dies_are_the_next_one_s(self):
        process = self.application()
        browser = eventually("a 101", lambda: self._try("/chat/here", {}))
        self.addCleanup(browser.close)
        browser.send("hello")
        self.assertEqual(browser.recv(20), "hello")
        process.send_signal(signal.SIGKILL)
        process.wait()
        browser.send("meanwhile")
        self.application()
        heard = [browser.recv(20), browser.recv(20)]
        self.assertEqual(heard, ["resumed at /chat/here", "meanwhile"])


class Asyncio(SocketsTestCase):
    def test_the_same_for_asyncio(self):
        async def scenario():
            async with aio.Sockets(self.path, credit=4096) as sockets:
                loop = asyncio.get_running_loop()
                opening = loop.run_in_executor(
                    None, lambda: eventually("a 101", lambda: self._try("/chat/a", {}))
                )
                opened = await sockets.recv()
                browser = await opening
                conn = opened.conn
                for message in ["text", "", b"binary", "x" * 2**15]:
                    await loop.run_in_executor(None, browser.send, message)
                    self.assertEqual(await sockets.recv(), Message(conn, message))
                    self.assertIs(await sockets.send(conn, message), Sent.QUEUED)
                    answer = await loop.run_in_executor(None, browser.recv, 20)
                    self.assertEqual(answer, message)
                await sockets.broadcast([conn], "to all")
                await sockets.subscribe(conn, "news")
                self.assertTrue(await sockets.publish("news", "from the broker"))
                for expected in ["to all", "from the broker"]:
                    self.assertEqual(await loop.run_in_executor(None, browser.recv, 20), expected)
                self.assertIsNone(sockets.recv_nb())
                await sockets.close(conn, 4000, "enough")
                async for event in sockets:
                    self.assertEqual(event, Closed(conn, 4000, "enough"))
                    break
                await loop.run_in_executor(None, self.closed, browser)

        asyncio.run(scenario())
        self.assertFalse(os.path.exists(self.path))


class Uwsgi(SocketsTestCase):
    def serve(self, application, threads=1000):
        sockets = self.sockets(decides=True)
        self.in_thread(uwsgi.serve_from, sockets, application, threads)
        return sockets

    def test_the_echo_of_uwsgi_s_page(self):
        def application(env, start_response):
            uwsgi.websocket_handshake(env["HTTP_SEC_WEBSOCKET_KEY"], env.get("HTTP_ORIGIN", ""))
            while True:
                uwsgi.websocket_send(uwsgi.websocket_recv())

        self.serve(application)
        browsers = [eventually("a 101", lambda: self._try("/chat/", {})) for _ in range(3)]
        for number, browser in enumerate(browsers):
            browser.send(f"message {number}")
            browser.send("")
        with self.assertNoLogs("wsloop.sockets"):
            for number, browser in enumerate(browsers):
                self.assertEqual([browser.recv(20), browser.recv(20)], [f"message {number}", ""])
                browser.close()
            eventually("their threads end", lambda: not self._threads())

    def _threads(self):
        return [1 for each in threading.enumerate() if each.name.startswith("websocket-")]

    def test_what_the_request_says_and_how_it_is_refused(self):
        def application(env, start_response):
            if env["PATH_INFO"] == "/chat/no":
                start_response("403 Forbidden", [])
                return [b"not ", b"you"]
            if env["PATH_INFO"] == "/chat/fails":
                raise RuntimeError("as it is to")
            uwsgi.websocket_handshake(proto="echo")
            assert uwsgi.websocket_recv_nb() is None
            uwsgi.websocket_send_binary(f"{env['PATH_INFO']} {env['QUERY_STRING']}")
            uwsgi.websocket_close(4001, "done")

        self.serve(application)
        options = {"subprotocols": ["echo"]}
        browser = eventually("a 101", lambda: self._try("/chat/%C3%A4?x=1", options))
        self.assertEqual(browser.recv(20), "/chat/Ã¤ x=1".encode())
        self.assertEqual((self.closed(browser), browser.subprotocol), ((4001, "done"), "echo"))
        with self.assertLogs("wsloop.sockets", "ERROR"):
            for path, status, text in [("no", 403, b"not you"), ("fails", 500, b"")]:
                with self.assertRaises(InvalidStatus) as caught:
                    self.connect(f"/chat/{path}")
                response = caught.exception.response
                self.assertEqual(response.status_code, status)
                self.assertIn(text, response.body)
        browser.close()
        eventually("nothing is left of them", lambda: not self._left())

    def _left(self):
        gc.collect()
        return [1 for each in gc.get_objects() if type(each) is uwsgi._Websocket]

    def test_one_that_computes_harms_nobody_and_its_peer_waits(self):
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        counted = []

        def application(env, start_response):
            uwsgi.websocket_handshake()
            if env["PATH_INFO"] == "/chat/computes":
                go_on.wait()
            while True:
                message = uwsgi.websocket_recv()
                counted.append(len(message))
                uwsgi.websocket_send(str(len(message)))

        self.serve(application)
        slow = eventually("a 101", lambda: self._try("/chat/computes", {}))
        sent = []

        def flood():
            for _ in range(300):
                slow.send(b"x" * 65536)
                sent.append(1)

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        eventually("it has to wait", lambda: self._rests(sent))
        self.assertLess(len(sent), 300)
        quick = self.connect("/chat/")
        quick.send("four")
        self.assertEqual(quick.recv(20), "4")
        quick.close()
        go_on.set()
        thread.join(20)
        self.assertEqual([slow.recv(20) for _ in range(300)], ["65536"] * 300)
        slow.close()

    _rests = Blocking._rests

    def test_as_many_threads_as_may_be(self):
        def application(env, start_response):
            uwsgi.websocket_handshake()
            uwsgi.websocket_recv()

        self.serve(application, threads=2)
        browsers = [eventually("a 101", lambda: self._try("/chat/", {})) for _ in range(2)]
        with self.assertRaises(InvalidStatus) as caught:
            self.connect("/chat/")
        self.assertEqual(caught.exception.response.status_code, 503)
        browsers[0].send("done")
        self.assertEqual(self.closed(browsers[0]), (1000, ""))
        eventually("a 101", lambda: self._try("/chat/", {})).close()
        browsers[1].close()


if __name__ == "__main__":
    unittest.main()
