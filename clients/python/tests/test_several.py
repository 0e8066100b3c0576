"""Publishers over several Redis: which channel is at which of them, and one of them gone."""

from __future__ import annotations

import asyncio
import json
import unittest
from pathlib import Path

import redis

from wsloop import RedisPublisher, aio, disconnect
from wsloop._exchange import shared_out
from wsloop._places import place_of
from wsloop._settings import Settings

from .support import Redis, free_port

EXAMPLES = json.loads((Path(__file__).parent / "spread.json").read_text())
USERS = [f"user{number}" for number in range(30)]


def node_of(channel: str, count: int) -> int:
    [node] = shared_out([("PUBLISH", channel, b"")], count)
    return node


class Spread(unittest.TestCase):
    def test_channels_are_where_the_examples_of_the_server_say(self):
        self.assertGreater(len(EXAMPLES), 10)
        for example in EXAMPLES:
            for count in (2, 3, 64):
                channel = example["channel"]
                with self.subTest(channel=channel, count=count):
                    self.assertEqual(node_of(channel, count), example[f"of_{count}"])

    def test_what_belongs_to_a_channel_is_with_it(self):
        for example in EXAMPLES:
            channel = example["channel"]
            commands = [
                ("PUBLISH", channel, b"a"),
                ("SETEX", channel, 60, b"a"),
                ("EVAL", "script", 1, f"wsloop:history:{{{channel}}}", channel, b"a", 1, 1),
                ("GET", channel),
            ]
            self.assertEqual(shared_out(commands, 3), {node_of(channel, 3): [0, 1, 2, 3]})


class Publishing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.nodes = []
        for _ in range(3):
            cls.nodes.append(Redis())
            cls.addClassCleanup(cls.nodes[-1].close)
        cls.urls = [node.url for node in cls.nodes]

    def setUp(self):
        super().setUp()
        self.heard = []
        for node in self.nodes:
            node.client.flushall()
            pubsub = node.client.pubsub()
            self.addCleanup(pubsub.close)
            pubsub.psubscribe("*")
            self.assertEqual(pubsub.get_message(timeout=5)["type"], "psubscribe")
            self.heard.append(pubsub)

    def everything_heard(self):
        """Of each Redis its channels, in their order."""
        heard = []
        for pubsub in self.heard:
            there = []
            while message := pubsub.get_message(timeout=0.2):
                there.append(message["channel"].decode())
            heard.append(there)
        return heard

    def expected(self, channels):
        return [[each for each in channels if node_of(each, 3) == at] for at in range(3)]

    def publisher(self, redis=None, **more):
        return RedisPublisher(facility="f", users=USERS, redis=redis or self.urls, **more)

    def test_each_message_is_published_and_stored_where_its_channel_is(self):
        channels = [f"user:{user}:f" for user in USERS]
        publisher = self.publisher()
        self.assertEqual(publisher.publish_message("a", expire=60), (30, 30))
        expected = self.expected(channels)
        self.assertTrue(all(expected))
        self.assertEqual(self.everything_heard(), expected)
        for node, there in zip(self.nodes, expected):
            self.assertEqual({each.decode() for each in node.client.keys()}, set(there))
        published = publisher.pipeline_publish_message("b", transaction=True)
        self.assertEqual(published, (30, 30))
        self.assertEqual(self.everything_heard(), expected)
        # The same again by asyncio, and by other ways to say where they are.
        own = [self.urls[0], {"port": self.nodes[1].port}, self.nodes[2].client]
        for place in (own, " ".join(self.urls), tuple(self.urls)):
            self.assertEqual(self.publisher(place).publish_message("a"), (30, 30))
            self.assertEqual(self.everything_heard(), expected)

        async def scenario():
            publisher = aio.RedisPublisher(facility="f", users=USERS, redis=self.urls)
            for transaction in (False, True):
                published = await publisher.pipeline_publish_message("a", 60, transaction)
                self.assertEqual(published, (30, 30))
                self.assertEqual(self.everything_heard(), expected)

        asyncio.run(scenario())

    def test_what_is_stored_is_found_again(self):
        class Request:
            user = None
            session = None

        for name in ("a", "b", "c", "d"):
            facility, text = f"f/{name}", name.encode()
            publisher = RedisPublisher(facility=facility, broadcast=True, redis=self.urls)
            publisher.publish_message(name)
            self.assertEqual(publisher.fetch_message(Request(), facility), text)

            async def scenario():
                publisher = aio.RedisPublisher(redis=self.urls)
                return await publisher.fetch_message(Request(), facility)

            self.assertEqual(asyncio.run(scenario()), text)

    def test_a_history_is_with_its_channel(self):
        self.publisher(history="f=10/60").publish_message("a", expire=0)
        for at, node in enumerate(self.nodes):
            streams = [each.decode() for each in node.client.keys()]
            self.assertGreater(len(streams), 3)
            for stream in streams:
                self.assertEqual(node_of(stream, 3), at)
                channel = stream[len("wsloop:history:{") : -1]
                self.assertEqual(node_of(channel, 3), at)
                self.assertEqual(node.client.xlen(stream), 1)

    def test_one_that_is_gone_keeps_nothing_from_the_others(self):
        async def scenario(urls):
            publisher = aio.RedisPublisher(facility="f", users=USERS, redis=urls)
            with self.assertRaises(redis.ConnectionError):
                await publisher.publish_message("a")

        for gone in range(3):
            urls = [*self.urls]
            urls[gone] = f"redis://127.0.0.1:{free_port()}"
            expected = self.expected([f"user:{user}:f" for user in USERS])
            expected[gone] = []
            with self.assertRaises(redis.ConnectionError):
                self.publisher(urls).publish_message("a")
            self.assertEqual(self.everything_heard(), expected)
            asyncio.run(scenario(urls))
            self.assertEqual(self.everything_heard(), expected)

    def test_disconnect_is_told_to_the_first_that_is_there(self):
        gone = f"redis://127.0.0.1:{free_port()}"
        for urls, at in [(self.urls, 0), ([gone, self.urls[1], self.urls[2]], 1)]:
            self.assertEqual(disconnect(user="john", redis=urls), 1)
            self.assertEqual(asyncio.run(aio.disconnect(user="john", redis=urls)), 1)
            heard = self.everything_heard()
            self.assertEqual(heard.pop(at), ["wsloop:control"] * 2)
            self.assertEqual(heard, [[], []])
        with self.assertRaises(redis.ConnectionError):
            disconnect(user="john", redis=[gone, f"redis://127.0.0.1:{free_port()}"])


class Places(unittest.TestCase):
    def test_several_are_a_list_or_words(self):
        expected = ("redis://a", "redis://b:1/2")
        one_text = ("redis://a  redis://b:1/2\n", "redis://a,redis://b:1/2")
        for given in (list(expected), expected, *one_text):
            self.assertEqual(place_of(given, "r"), expected)
        for one in (["redis://a"], "redis://a"):
            self.assertEqual(Settings.find(redis=one).redis, "redis://a")
        first, second = place_of("redis+sentinel://h,k/main,redis+sentinel://h,k/b", "r")
        self.assertEqual((first.name, second.name), ("main", "b"))

    def test_what_is_wrong_is_said_without_the_password(self):
        for given, words in [
            (["redis://:hush@a", "redis://:hush@a:6379/1"], "the same Redis twice"),
            (["redis://:hush@a", {"host": "a", "db": 1}], "the same Redis twice"),
            (["unix:///a?db=1", {"unix_socket_path": "/a"}], "the same Redis twice"),
            ("redis+sentinel://:hush@h,k/a redis+sentinel://k,h/a", "the same Redis twice"),
            ([f"redis://:hush@h:{port}" for port in range(1, 66)], "65 Redis, more than 64"),
            (["redis://a", "hush"], "no URL of a Redis"),
            ([], "no Redis"),
            ("", "no URL of a Redis"),
        ]:
            with self.subTest(words), self.assertRaisesRegex(ValueError, words) as raised:
                place_of(given, "r")
            self.assertNotIn("hush", str(raised.exception))
        with self.assertRaises(TypeError):
            place_of(["redis://a", 1], "r")
