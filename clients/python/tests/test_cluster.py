"""Publishers and a Redis Cluster, with a real one and with answers made up."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import unittest
from unittest import mock

import redis
import redis.crc
from redis.cluster import RedisCluster

from wsloop import RedisPublisher, aio, disconnect
from wsloop._places import Cluster, place_of
from wsloop._settings import Settings
from wsloop._slots import Course, Said, Slots, said_of

from .cluster import Ear, Six
from .support import eventually, free_port
from .test_sentinels import Publishing

#: Longest that publishers may fail after the cluster has decided, in seconds.
AT_ONCE = 5.0
#: Facilities whose broadcasts are at all three masters.
FACILITIES = [f"f{number}" for number in range(12)]


PASSWORD = "of-redis"
#: One for all tests; what becomes of its masters is tried last.
six: Six


def setUpModule():
    global six
    six = Six(PASSWORD)
    unittest.addModuleCleanup(six.close)


class Channels(unittest.TestCase):
    def setUp(self):
        super().setUp()
        for node in six.nodes:
            if node.client.info("replication")["role"] == "master":
                node.client.flushall()

    def stored(self, channel):
        return six.owner(channel).client.get(channel)

    def history(self, channel):
        entries = six.owner(channel).client.xrange(f"wsloop:history:{{{channel}}}")
        return [fields["message"] for _, fields in entries]

    def listen(self, node, *names, sharded=False):
        word = "SSUBSCRIBE" if sharded else "SUBSCRIBE"
        ear = Ear(node.port, PASSWORD, word, names)
        self.addCleanup(ear.close)
        return ear


    def publishers(self, **place):
        blocking = RedisPublisher(**place)
        yield "blocking", lambda text: blocking.publish_message(text)
        yield "async", lambda text: asyncio.run(aio.RedisPublisher(**place).publish_message(text))

    def test_everything_is_where_the_slot_of_its_channel_is(self):
        owners = {six.owner(f"broadcast:{facility}").port for facility in FACILITIES}
        self.assertEqual(len(owners), 3)
        for facility in FACILITIES:
            place = {"facility": facility, "broadcast": True, "users": ["a", "b"]}
            for kind, publish in self.publishers(**place, redis=six.url, history="*=10/60"):
                done = publish(kind)
                self.assertEqual(done.channels, 3)
                for channel in ("broadcast:", "user:a:", "user:b:"):
                    self.assertEqual(self.stored(channel + facility), kind)
            self.assertEqual(self.history(f"user:b:{facility}"), ["blocking", "async"])
            publisher = RedisPublisher(redis=six.url)
            self.assertEqual(publisher.fetch_message(None, facility, "broadcast"), b"async")

    def test_any_node_hears_it_and_with_sharded_only_the_shard(self):
        channel = "broadcast:chat"
        owner, other = six.owner(channel), six.other_master(channel)
        plain, sharded = self.listen(other, channel), self.listen(owner, channel, sharded=True)
        for way, heard in ((False, plain), (True, sharded)):
            for history in ("", "chat=10/60"):
                place = {"facility": "chat", "broadcast": True, "redis": six.url}
                for kind, publish in self.publishers(**place, history=history, sharded=way):
                    done = publish(f"{kind} {history}")
                    self.assertEqual(heard.hear(), f"{kind} {history}")
                    self.assertEqual(done.receivers, int(way))
        self.assertTrue(plain.is_quiet())
        self.assertTrue(sharded.is_quiet())

    def test_an_order_to_disconnect_goes_the_same_ways(self):
        owner = six.owner("wsloop:control")
        plain = self.listen(six.other_master("wsloop:control"), "wsloop:control")
        sharded = self.listen(owner, "wsloop:control", sharded=True)
        disconnect(user="john", redis=six.url)
        self.assertIn("john", plain.hear())
        self.assertEqual(disconnect(user="mary", redis=six.url, sharded=True), 1)
        self.assertIn("mary", sharded.hear())
        told = asyncio.run(aio.disconnect(user="paul", redis=six.url, sharded=True))
        self.assertEqual(told, 1)
        self.assertIn("paul", sharded.hear())
        self.assertTrue(plain.is_quiet())

    def test_transactions_hold_for_each_channel(self):
        place = {"facility": "tx", "users": ["a", "b", "c"], "redis": six.url}
        done = RedisPublisher(**place).pipeline_publish_message("one", transaction=True)
        self.assertEqual(done.channels, 3)
        publisher = aio.RedisPublisher(**place, history="tx=5/60")
        asyncio.run(publisher.pipeline_publish_message("two", transaction=True))
        for user in "abc":
            self.assertEqual(self.stored(f"user:{user}:tx"), "two")
            self.assertEqual(self.history(f"user:{user}:tx"), ["two"])

    def test_a_client_of_redis_py_may_be_given(self):
        node = six.nodes[0]
        client = RedisCluster(host="127.0.0.1", port=node.port, password=PASSWORD)
        self.addCleanup(client.close)
        publisher = RedisPublisher(facility="own", broadcast=True, redis=client)
        publisher.publish_message("theirs")
        self.assertEqual(self.stored("broadcast:own"), "theirs")
        self.assertEqual(publisher.fetch_message(None, "own", "broadcast"), b"theirs")

    def test_a_slot_that_moves_loses_and_doubles_nothing(self):
        # Both are in one slot; one of them has something stored, the other has not.
        names = ["{slot}a", "{slot}b"]
        channels = [f"broadcast:{name}" for name in names]
        owner, to = six.owner(channels[0]), six.other_master(channels[0])
        self.assertEqual(six.owner(channels[1]), owner)
        ears = self.listen(to, *channels)
        places = [{"facility": name, "broadcast": True, "redis": six.url} for name in names]
        ways = [way for place in places for way in self.publishers(**place)]

        def all_publish(text):
            for at, (kind, publish) in enumerate(ways):
                publish(f"{text} {kind} {at}")
                self.assertEqual(ears.hear(), f"{text} {kind} {at}")

        ways[0][1]("before")
        ears.hear()
        six.begin_move(channels[0], to)
        all_publish("while it moves")
        six.end_move(channels[0], owner, to)
        all_publish("then")
        self.assertTrue(ears.is_quiet())
        self.assertEqual(six.owner(channels[0]), to)
        self.assertEqual(self.stored(channels[1]), "then async 3")
        six.begin_move(channels[0], owner)
        six.end_move(channels[0], to, owner)

    def test_a_slot_that_moves_keeps_its_histories(self):
        channel = "broadcast:kept"
        place = {"facility": "kept", "broadcast": True, "redis": six.url}
        ways = list(self.publishers(**place, history="kept=99/60", sharded=True))
        owner, to = six.owner(channel), six.other_master(channel)
        sent = []

        def all_publish(text):
            for kind, publish in ways:
                publish(f"{text} {kind}")
                sent.append(f"{text} {kind}")

        all_publish("before")
        six.begin_move(channel, to)
        # What is not there yet is at the new owner, who is asked with ASKING.
        owner.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "AUTH", PASSWORD,
                  "KEYS", channel, f"wsloop:history:{{{channel}}}")
        all_publish("between")
        six.end_move(channel, owner, to)
        all_publish("then")
        self.assertEqual(self.history(channel), sent)
        six.begin_move(channel, owner)
        six.end_move(channel, to, owner)

    def test_one_node_that_is_there_is_enough(self):
        gone = free_port()
        url = f"redis+cluster://:{PASSWORD}@127.0.0.1:{gone},127.0.0.1:{six.nodes[4].port}"
        RedisPublisher(facility="one", broadcast=True, redis=url).publish_message("there")
        self.assertEqual(self.stored("broadcast:one"), "there")

    def test_a_wrong_password_is_told_at_once(self):
        url = f"redis+cluster://:wrong@127.0.0.1:{six.nodes[0].port}"
        begun = time.monotonic()
        with self.assertRaises(redis.RedisError):
            RedisPublisher(facility="f", broadcast=True, redis=url).publish_message("never")
        self.assertLess(time.monotonic() - begun, 4)

    def test_threads_share_it(self):
        publisher = RedisPublisher(facility="many", users=["a", "b", "c", "d"], redis=six.url)
        errors = []

        def publish():
            try:
                for number in range(50):
                    publisher.publish_message(f"{number}", expire=0)
            except BaseException as why:
                errors.append(why)

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])


class Failover(unittest.TestCase):
    def goes_on_after(self, name, fate):
        """Publishers publish on at whoever is the next master after this one's fate."""
        master = six.owner("broadcast:any")
        publishings = []
        for kind in ("blocking", "async"):
            names = (f"{name}-{kind}-{number}" for number in range(99))
            facility = next(each for each in names if six.owner(f"broadcast:{each}") is master)
            publishings.append(Publishing(kind, six.url, facility))
            self.addCleanup(publishings[-1].end)
        for each in publishings:
            eventually("it publishes", lambda: each.accepted)
        fate(master)
        moment, then = six.next_after(master, "broadcast:any")
        for each in publishings:
            self.goes_on(each, moment, then)
            each.end()
        return master

    def goes_on(self, publishing, moment, master):
        stream = f"wsloop:history:{{broadcast:{publishing.place['facility']}}}"

        def there():
            kept = [fields["message"] for _, fields in master.client.xrange(stream)]
            self.assertEqual(len(kept), len(set(kept)), "something was published twice")
            return [at for at, text in publishing.accepted if at > moment and text in kept]

        first = eventually("it publishes again", there, 20)[0]
        self.assertLess(first - moment, AT_ONCE, publishing.kind)

    def test_publishers_follow_what_becomes_of_a_master(self):
        self.goes_on_after("order", lambda master: six.replica(master).ask("CLUSTER", "FAILOVER"))
        eventually("the cluster is whole", six.is_whole, 30)
        self.goes_on_after("hangs", lambda master: master.freeze()).thaw()
        eventually("the cluster is whole", six.is_whole, 30)
        self.goes_on_after("killed", lambda master: master.kill())


class Maps(unittest.TestCase):
    """What nodes say, and whom of them is believed."""

    def setUp(self):
        super().setUp()
        self.slots = Slots(Cluster("redis://cluster.invalid:1/0", (("seed", 1),)))

    def said(self, epoch, host, serves=True):
        return Said(serves, epoch, [(0, 16383, [(host, 7), ("replica", 7)])])

    def test_the_newest_counts_unless_it_cannot_serve(self):
        self.assertTrue(self.slots.believes(self.said(5, "five")))
        self.assertFalse(self.slots.believes(self.said(4, "four")))
        self.assertFalse(self.slots.believes(self.said(6, "six", serves=False)))
        self.assertEqual(self.slots.owner(3), ("five", 7))
        self.slots.concluded(3, [self.said(4, "four")], [])
        self.assertEqual(self.slots.owner(3), ("five", 7))
        self.slots.concluded(3, [self.said(4, "four"), self.said(3, "three")], [])
        self.assertEqual(self.slots.owner(3), ("four", 7))

    def test_one_that_cannot_serve_is_better_than_none(self):
        self.slots.concluded(1, [self.said(4, "four", serves=False)], [])
        self.assertEqual(self.slots.owner(3), ("four", 7))

    def test_who_is_silent_is_left_alone_while_others_answer(self):
        self.assertEqual(self.slots.to_ask(0), [("seed", 1)])
        self.slots.believes(self.said(5, "five"))
        self.slots.is_silent(("seed", 1), 0)
        self.assertCountEqual(self.slots.to_ask(1), [("five", 7), ("replica", 7)])
        for host in ("five", "replica"):
            self.slots.is_silent((host, 7), 1)
        self.assertEqual(len(self.slots.to_ask(2)), 3)
        self.assertEqual(self.slots.to_ask(10.5), [("seed", 1)])

    def test_they_are_asked_in_turn_and_each_second(self):
        self.assertTrue(self.slots.is_due(0))
        self.slots.to_ask(0)
        self.slots.believes(self.said(5, "five"))
        self.assertFalse(self.slots.is_due(0.9))
        self.assertTrue(self.slots.is_due(1))
        first = {self.slots.to_ask(now)[0] for now in range(4)}
        self.assertEqual(first, {("five", 7), ("replica", 7)})
        self.slots.doubt()
        self.assertTrue(self.slots.is_due(3))

    def test_why_nothing_is_known_is_told(self):
        away = [(("seed", 1), redis.ConnectionError("away"))]
        with self.assertRaisesRegex(redis.ConnectionError, "seed:1: away; nothing was published"):
            self.slots.concluded(1, [], away)
        refused = [(("seed", 1), redis.ResponseError("cluster support disabled"))]
        with self.assertRaisesRegex(redis.ResponseError, "support disabled"):
            self.slots.concluded(1, [], refused)

    def test_an_answer_is_read_in_either_protocol(self):
        info = b"cluster_state:ok\r\ncluster_slots_ok:16384\r\ncluster_current_epoch:7\r\n"
        ranges = [[0, 5, [b"h", 7, b"id", []], [b"", 8, b"id"]], [6, 7, ["?", 9, "id", {}]]]
        expected = [(0, 5, [("h", 7), ("asked", 8)]), (6, 7, [("asked", 9)])]
        for text in (info, info.decode()):
            self.assertEqual(said_of([text, ranges], ("asked", 1)), (True, 7, expected))
        for wrong in ([b"", ranges], [info, []], [info, None], [info, [[0]]], [info, [[0, 1, 2]]]):
            with self.assertRaises(redis.ResponseError):
                said_of(wrong, ("asked", 1))


class Courses(unittest.TestCase):
    """What becomes of commands by what nodes answer."""

    def setUp(self):
        super().setUp()
        self.slots = Slots(Cluster("redis://cluster.invalid:1/0", (("seed", 1),)))
        self.slots.believes(Said(True, 1, [(0, 16383, [("a", 7)])]))

    def course(self, *commands, transaction=False):
        return Course(self.slots, list(commands), transaction, 0)

    def test_moved_is_followed_whichever_way_redis_py_tells_it(self):
        slot = redis.crc.key_slot(b"x")
        for refusal, expected in (
            (redis.exceptions.MovedError(f"{slot} b:8"), ("b", 8)),
            (redis.ResponseError(f"MOVED {slot} c:9"), ("c", 9)),
            (redis.ResponseError(f"MOVED {slot} :7"), ("c", 7)),
        ):
            course = self.course(("GET", "x"))
            [parcel] = course.parcels()
            course.answered(parcel, [refusal])
            self.assertFalse(course.is_over(0))
            self.assertEqual(course.pause(), 0)
            self.assertEqual(self.slots.owner(slot), expected)
            self.assertTrue(self.slots.is_due(0.1))

    def test_ask_is_followed_once_and_says_so(self):
        course = self.course(("GET", "x"), ("GET", "y"))
        [parcel] = course.parcels()
        course.answered(parcel, [redis.exceptions.AskError("3 b:8"), b"of y"])
        [parcel] = course.parcels()
        self.assertEqual(parcel.address, ("b", 8))
        self.assertEqual(parcel.sent, [("ASKING",), ("GET", "x")])
        course.answered(parcel, [b"OK", redis.ResponseError("TRYAGAIN later")])
        self.assertGreater(course.pause(), 0)
        [parcel] = course.parcels()
        self.assertEqual((parcel.address, parcel.sent), (("a", 7), [("GET", "x")]))
        course.answered(parcel, [b"of x"])
        self.assertTrue(course.is_over(0))
        self.assertEqual(course.outcome(), [b"of x", b"of y"])

    def test_what_was_refused_until_the_end_is_told(self):
        course = self.course(("GET", "x"))
        [parcel] = course.parcels()
        course.answered(parcel, [redis.ResponseError("CLUSTERDOWN is down")])
        self.assertTrue(course.is_over(60))
        with self.assertRaisesRegex(redis.ResponseError, "CLUSTERDOWN"):
            course.outcome()

    def test_what_may_have_been_done_is_not_sent_again(self):
        course = self.course(("PUBLISH", "x", "m"))
        course.parcels()
        course.failed(redis.TimeoutError("late"))
        self.assertTrue(course.is_over(0))
        with self.assertRaises(redis.TimeoutError):
            course.outcome()

    def test_what_was_not_sent_is_sent_again(self):
        course = self.course(("PUBLISH", "x", "m"))
        [parcel] = course.parcels()
        course.unreached(parcel, redis.ConnectionError("away"))
        self.assertFalse(course.is_over(0))
        self.assertGreater(course.pause(), 0)
        self.assertEqual(course.parcels(), [parcel])
        course.answered(parcel, [1])
        self.assertEqual(course.outcome(), [1])

    def test_a_transaction_that_was_refused_is_sent_again_as_a_whole(self):
        course = self.course(("PUBLISH", "x", "m"), ("SETEX", "x", 1, "m"), transaction=True)
        [parcel] = course.parcels()
        self.assertEqual([word for word, *_ in parcel.sent], ["MULTI", "PUBLISH", "SETEX", "EXEC"])
        moved = redis.ResponseError("MOVED 16287 b:8")
        aborted = redis.exceptions.ExecAbortError("discarded")
        course.answered(parcel, [b"OK", b"QUEUED", moved, aborted])
        [parcel] = course.parcels()
        self.assertEqual((parcel.address, len(parcel.sent)), (("b", 8), 4))
        course.answered(parcel, [b"OK", b"QUEUED", b"QUEUED", [1, b"OK"]])
        self.assertEqual(course.outcome(), [1, b"OK"])


class Places(unittest.TestCase):
    def test_a_url_names_nodes(self):
        place = place_of("rediss+cluster://u:p%40@a,b:7,[::1]:8/0?ssl_ca_certs=f", "redis")
        self.assertEqual(place.addresses, (("a", 6379), ("b", 7), ("::1", 8)))
        self.assertEqual(place.at(("c", 9)), "rediss://u:p%40@c:9/0?ssl_ca_certs=f")
        at = place.at(("::1", 9), 1)
        self.assertTrue(at.startswith("rediss://u:p%40@[::1]:9/0?ssl_ca_certs=f&socket_timeout=1&"))
        self.assertNotIn("p%40", repr(place))
        self.assertEqual(place_of("valkey+cluster://a", "redis").addresses, (("a", 6379),))

    def test_arguments_name_nodes(self):
        nodes = [("a", 7), "b:8", redis.cluster.ClusterNode("c", 9)]
        place = place_of({"startup_nodes": nodes, "password": "p"}, "redis")
        self.assertEqual(place.addresses, (("a", 7), ("b", 8), ("c", 9)))
        self.assertEqual(place.at(("d", 1)), {"password": "p", "host": "d", "port": 1})

    def test_what_names_none_is_told_without_its_password(self):
        for wrong in (
            "redis+cluster://:secret@", "redis+cluster://:secret@a/1", "redis+cluster://secret@a",
            "redis+cluster://:secret@a,a", "redis+cluster://:secret@a:0",
            {"startup_nodes": [], "password": "secret"}, {"startup_nodes": [("a", 1)], "db": 1},
            {"startup_nodes": [("a", 1), ("a", 1)]}, {"startup_nodes": [7]},
            "redis+cluster://:secret@a redis://b", ["redis://b", {"startup_nodes": [("a", 1)]}],
        ):
            with self.assertRaises(ValueError) as raised:
                place_of(wrong, "WSLOOP_REDIS")
            self.assertIn("WSLOOP_REDIS", str(raised.exception))
            self.assertNotIn("secret", str(raised.exception))
        with self.assertRaises(TypeError):
            place_of({"startup_nodes": "a:1"}, "redis")

    def test_sharded_is_for_a_cluster(self):
        cluster = "redis+cluster://a"
        for given, expected in ((None, False), (True, True), (False, False)):
            self.assertIs(Settings.find(cluster, sharded=given).sharded, expected)
        for text, expected in (("on", True), ("both", True), ("off", False), ("", False)):
            with mock.patch.dict(os.environ, {"WSLOOP_REDIS_SHARDED": text}):
                self.assertIs(Settings.find(cluster).sharded, expected, text)
        with mock.patch.dict(os.environ, {"WSLOOP_REDIS_SHARDED": "yes"}):
            with self.assertRaisesRegex(ValueError, "WSLOOP_REDIS_SHARDED"):
                Settings.find(cluster)
        several = ["redis://a", "redis://b"]
        for place in ("redis://a", {"host": "a"}, "redis+sentinel://a/n", several):
            with self.assertRaisesRegex(ValueError, "sharded"):
                Settings.find(place, sharded=True)
