"""Publishers that ask sentinels where Redis is, with real ones and with answers made up."""

from __future__ import annotations

import asyncio
import signal
import socket
import tempfile
import threading
import time
import unittest
from unittest import mock

import redis

from wsloop import RedisPublisher, aio
from wsloop._places import Sentinels, place_of
from wsloop._settings import Settings
from wsloop._watch import State, Watch, is_master, state_of

from .sentinels import NAME, Group
from .support import eventually, free_port

#: Longest that publishers may fail after the sentinels have decided, in seconds.
AT_ONCE = 5.0


class Publishing:
    """Publishes numbers all the time, and notes when each was accepted or not."""

    def __init__(self, kind: str, url: str, facility: str = "") -> None:
        self.kind = kind
        # What was published is in the history, be it twice.
        self.place = {"facility": facility or kind, "broadcast": True, "redis": url, "history": "*=9999/60"}
        self.ended = threading.Event()
        self.accepted: list[tuple[float, str]] = []
        self.failed: list[tuple[float, str]] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        if self.kind == "async":
            asyncio.run(self._publish_async())
            return
        publisher = RedisPublisher(**self.place)
        for text in self._texts():
            with self._noted(text):
                publisher.publish_message(text)

    async def _publish_async(self) -> None:
        publisher = aio.RedisPublisher(**self.place)
        for text in self._texts():
            with self._noted(text):
                await publisher.publish_message(text)

    def _texts(self):
        number = 0
        while not self.ended.wait(0.01):
            number += 1
            yield f"{number}"

    def _noted(self, text: str):
        return _Noted(self, text)

    def end(self) -> None:
        self.ended.set()
        self.thread.join()


class _Noted:
    def __init__(self, publishing: Publishing, text: str) -> None:
        self.publishing, self.text = publishing, text

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, why, _) -> bool:
        noted = self.publishing.accepted if why is None else self.publishing.failed
        noted.append((time.monotonic(), self.text))
        return why is None or isinstance(why, redis.RedisError)


class Failover(unittest.TestCase):
    def setUp(self):
        super().setUp()
        self.group = Group(password="of-redis")
        self.addCleanup(self.group.close)

    def switched(self, away_from) -> float:
        """When the first of the sentinels had decided that it is elsewhere."""
        def decided():
            return any(int(each.state()["port"]) != away_from.port for each in self.group.sentinels)

        eventually("the sentinels decide", decided, 20)
        return time.monotonic()

    def goes_on(self, publishings, moment, master):
        """Shows that the next master soon has what is published."""

        def first_there():
            there = self.kept(each, master)
            return [at for at, text in each.accepted if at > moment and text in there]

        for each in publishings:
            first = eventually("it publishes again", first_there, 20)[0]
            self.assertLess(first - moment, AT_ONCE, each.kind)

    def kept(self, publishing, master):
        """What the master has of it."""
        stream = f"wsloop:history:{{broadcast:{publishing.kind}}}"
        try:
            return [entry[b"message"].decode() for _, entry in master.client.xrange(stream)]
        except redis.RedisError:
            return []

    def publishing(self):
        publishings = [Publishing(kind, self.group.url) for kind in ("blocking", "async")]
        for each in publishings:
            self.addCleanup(each.end)
            eventually("it publishes", lambda: each.accepted)
        return publishings

    def assert_they_go_on(self, fate):
        publishings = self.publishing()
        first = self.group.master()
        fate(first)
        second = self.group.others_than(first)
        self.goes_on(publishings, self.switched(first), second)
        self.assert_once(publishings, second)

    def test_publishers_go_on_when_the_master_is_another_by_order(self):
        # The old master lives on, and takes what it is sent for some seconds more.
        order = self.group.sentinels[0].client.execute_command
        self.assert_they_go_on(lambda _: order("SENTINEL", "FAILOVER", NAME))

    def test_publishers_go_on_when_the_master_is_killed(self):
        self.assert_they_go_on(lambda master: master.process.kill())

    def test_publishers_go_on_when_the_master_hangs(self):
        # It still takes connections, and answers nothing.
        self.assert_they_go_on(lambda master: master.process.send_signal(signal.SIGSTOP))

    def assert_once(self, publishings, master):
        for each in publishings:
            accepted = len(each.accepted)
            eventually("it goes on", lambda: len(each.accepted) > accepted + 10)
            each.end()
            # What is under way at the switch may fail; the next waits for the next master.
            self.assertLess(len(each.failed), 5)
            kept = self.kept(each, master)
            self.assertGreater(len(kept), 10)
            self.assertEqual(len(set(kept)), len(kept), "something was published twice")
            self.assertEqual({text for _, text in each.accepted[-10:]} - set(kept), set())

    def test_a_master_that_was_demoted_behind_their_backs_is_left(self):
        publisher = RedisPublisher(facility="f", broadcast=True, redis=self.group.url)
        publisher.publish_message("a")
        first = self.group.master()
        # The sentinels take their time to notice this.
        first.client.replicaof("127.0.0.1", self.group.others_than(first).port)
        with mock.patch("wsloop._pool.LONGEST_WAIT", 0.5):
            # Replicating does not close connections of clients, so it is its answer that tells.
            with self.assertRaisesRegex(redis.ResponseError, "(?i)read.?only|replica"):
                publisher.publish_message("b")
            with self.assertRaisesRegex(redis.ConnectionError, "no master; nothing was published"):
                publisher.publish_message("c")


class Words(unittest.TestCase):
    """What the sentinels are told, and told apart."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.group = Group(sentinel_password="of-sentinels")
        cls.addClassCleanup(cls.group.close)

    def publish(self, url, **more):
        return RedisPublisher(facility="f", broadcast=True, redis=url, **more).publish_message("a")

    def publish_async(self, url):
        publisher = aio.RedisPublisher(facility="f", broadcast=True, redis=url)
        return asyncio.run(publisher.publish_message("a"))

    def file(self, text):
        file = tempfile.NamedTemporaryFile("w", prefix="wsloop-secret-")
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return file.name

    def test_a_file_that_is_none_is_told(self):
        with mock.patch.dict("os.environ", {"WSLOOP_REDIS_SENTINEL_PASSWORD": "/nowhere"}):
            with self.assertRaisesRegex(ValueError, "_PASSWORD is a file .*/nowhere"):
                self.publish(self.group.url)
            self.assertEqual(Settings.find(redis="redis://h").redis, "redis://h")

    def test_they_have_a_password_of_their_own(self):
        environment = {"WSLOOP_REDIS_SENTINEL_PASSWORD": self.file("of-sentinels\n")}
        arguments = {
            "sentinels": [("127.0.0.1", each.port) for each in self.group.sentinels],
            "service_name": NAME,
            "sentinel_kwargs": {"password": "of-sentinels"},
        }
        for publish in (self.publish, self.publish_async):
            for url in (self.group.url, f"{self.group.url}/0?max_connections=3"):
                with mock.patch.dict("os.environ", environment):
                    self.assertEqual(publish(url), (1, 0))
            self.assertEqual(publish(arguments), (1, 0))
            # What is refused is refused at once.
            began = time.monotonic()
            wrong = {"WSLOOP_REDIS_SENTINEL_PASSWORD": self.file("wrong")}
            for each in (wrong, {}):
                with mock.patch.dict("os.environ", each):
                    with self.assertRaisesRegex(redis.RedisError, "no sentinel says where 'main'"):
                        publish(self.group.url)
            with mock.patch.dict("os.environ", environment):
                with self.assertRaisesRegex(redis.ResponseError, "where 'other' is: .*No such"):
                    publish(self.group.url.replace(f"/{NAME}", "/other"))
            self.assertLess(time.monotonic() - began, 2)

    def test_those_that_are_away_or_none_are_passed_over(self):
        plain = f"127.0.0.1:{self.group.nodes[0].port}"
        away = f"127.0.0.1:{free_port()}"
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        hosts = f"{away},{plain},127.0.0.1:{silent.getsockname()[1]},{self.group.hosts}"
        environment = {"WSLOOP_REDIS_SENTINEL_PASSWORD": self.file("of-sentinels")}
        for publish in (self.publish, self.publish_async):
            with mock.patch.dict("os.environ", environment):
                self.assertEqual(publish(f"redis+sentinel://{hosts}/{NAME}"), (1, 0))
            with mock.patch("wsloop._pool.LONGEST_WAIT", 0.3):
                with mock.patch("wsloop._aio_pool.LONGEST_WAIT", 0.3):
                    with self.assertRaisesRegex(redis.ConnectionError, f"'x' is: {away}: "):
                        publish(f"redis+sentinel://{away}/x")


class Answers(unittest.TestCase):
    def watch(self):
        return Watch(place_of("redis+sentinel://a,b,c/main", "redis"))

    def test_the_newest_counts_and_of_equals_one_that_is_up(self):
        old, new = ("a", 1), ("b", 2)
        for answers, found in [
            ([State(1, True, old)], old),
            ([State(1, True, old), State(2, True, new), State(1, True, old)], new),
            ([State(1, False, old), State(1, True, old)], old),
            ([State(1, True, old), State(2, False, new)], None),
            ([State(1, False, old)], None),
        ]:
            watch = self.watch()
            if found:
                self.assertEqual(watch.concluded(answers, [], 0), found)
            else:
                with self.assertRaisesRegex(redis.ConnectionError, "have no master for 'main' now"):
                    watch.concluded(answers, [], 0)
            self.assertEqual(watch.known, found)

    def test_what_is_older_counts_only_where_most_say_it(self):
        old, new = State(5, True, ("a", 1)), State(6, True, ("b", 2))
        watch = self.watch()
        self.assertEqual(watch.concluded([old, new, new], [], 0), new.address)
        # Those that know the new one do not answer.
        self.assertEqual(watch.concluded([old], [], 1), new.address)
        watch.doubt(new.address)
        with self.assertRaisesRegex(redis.ConnectionError, "have no master for 'main' now"):
            watch.concluded([old], [], 2)
        self.assertEqual(watch.concluded([new], [], 3), new.address)
        # Two of three were set up anew.
        reset = State(0, True, ("c", 3))
        self.assertEqual(watch.concluded([reset, reset], [], 4), reset.address)
        self.assertEqual(watch.concluded([old], [], 5), old.address)

    def test_they_are_asked_once_a_second_and_who_is_silent_more_rarely(self):
        watch = self.watch()
        self.assertTrue(watch.is_due(100))
        self.assertEqual(watch.to_ask(100), [0, 1, 2])
        watch.is_silent(1, 100)
        watch.concluded([State(1, True, ("a", 1))], [], 100)
        self.assertFalse(watch.is_due(100.9))
        self.assertTrue(watch.is_due(101))
        self.assertEqual(watch.to_ask(101), [0, 2])
        self.assertEqual(watch.to_ask(110), [0, 1, 2])
        # When nobody answers, Redis is where it was, and everybody is asked.
        for at in range(3):
            watch.is_silent(at, 110)
        failures = [(at, redis.ConnectionError("away")) for at in range(3)]
        self.assertEqual(watch.concluded([], failures, 110), ("a", 1))
        self.assertEqual(watch.to_ask(112), [0, 1, 2])
        watch.doubt()
        self.assertEqual((watch.is_due(110), watch.known), (True, ("a", 1)))
        watch.doubt(("b", 1))
        self.assertEqual(watch.known, ("a", 1))
        watch.doubt(("a", 1))
        with self.assertRaisesRegex(redis.ConnectionError, "a:26379: away; b:26379: away"):
            watch.concluded([], failures, 120)

    def test_what_is_no_answer(self):
        fields = {"flags": "master", "config-epoch": "7", "ip": "h", "port": "1"}
        listed = [text.encode() for pair in fields.items() for text in pair]
        self.assertEqual(state_of(listed), State(7, True, ("h", 1)))
        as_map = {key.encode(): value.encode() for key, value in fields.items()}
        self.assertEqual(state_of(as_map), State(7, True, ("h", 1)))
        for flags in ("s_down,master", "master,o_down", "slave"):
            self.assertFalse(state_of({**fields, "flags": flags}).is_up)
        for wrong in (None, b"OK", 1, [], [b"flags"], {**fields, "port": "x"}, {"flags": "master"}):
            with self.subTest(wrong), self.assertRaises(redis.ResponseError):
                state_of(wrong)
        self.assertTrue(is_master([b"master", 0, []]))
        for wrong in ([b"slave", b"h", 1], [], None, b"master"):
            self.assertFalse(is_master(wrong))


class Urls(unittest.TestCase):
    def test_what_a_url_says(self):
        place = place_of("redis+sentinel://u:p%40@h,[::1]:7,k:8/ma%20in/2?max_connections=3", "r")
        self.assertIsInstance(place, Sentinels)
        self.assertEqual(place.name, "ma in")
        self.assertEqual(place.addresses, (("h", 26379), ("::1", 7), ("k", 8)))
        self.assertEqual(place.master, "redis://u:p%40@sentinel.invalid:1/2?max_connections=3")
        self.assertTrue(place.sentinels[1].startswith("redis://[::1]:7/?socket_timeout="))
        self.assertNotIn("p%40", repr(place))
        url = "VALKEYS+sentinel://h/main?ssl_ca_certs=/ca&max_connections=3"
        place = place_of(url, "r", lambda: ("john", "a b"))
        self.assertTrue(place.master.startswith("rediss://sentinel.invalid:1/0?ssl_ca"))
        start = "rediss://john:a%20b@h:26379/?ssl_ca_certs=%2Fca&socket_timeout="
        self.assertTrue(place.sentinels[0].startswith(start), place.sentinels)

    def test_what_is_wrong_is_said_without_the_password(self):
        for url in (
            "redis+sentinel://u:hush@h",
            "redis+sentinel://u:hush@h/",
            "redis+sentinel://u:hush@h/main/x",
            "redis+sentinel://u:hush@h/main/1/2",
            "redis+sentinel://u:hush@/main",
            "redis+sentinel://u:hush@h,/main",
            "redis+sentinel://u:hush@h,h:26379/main",
            "redis+sentinel://u:hush@h:x/main",
            "redis+sentinel://u:hush@h:0/main",
            "redis+sentinel://hush@h/main",
            "redis+sentinels://u:hush@h/main",
        ):
            with self.subTest(url), self.assertRaisesRegex(ValueError, "^r is no URL") as raised:
                place_of(url, "r")
            self.assertNotIn("hush", str(raised.exception))
        for given in ([], [("h",)], ["h:x"], ["h", "h:26379"], [("h", "x")]):
            with self.subTest(given), self.assertRaisesRegex(ValueError, "^r has sentinels"):
                place_of({"sentinels": given, "service_name": "main"}, "r")
        with self.assertRaises(TypeError):
            place_of({"sentinels": "h:1", "service_name": "main"}, "r")
        with self.assertRaisesRegex(ValueError, "no service_name"):
            place_of({"sentinels": ["h:1"]}, "r")
