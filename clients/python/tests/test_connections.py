"""Connections of the publishers: how many there are, how long they live, who gets their answers."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import redis

from wsloop import RedisPublisher, aio, disconnect

from .support import RedisTestCase, eventually

#: Most connections that a process, or an event loop, has to one Redis.
MOST = 20


class ConnectionsTestCase(RedisTestCase):
    def setUp(self):
        super().setUp()
        # Those of other tests are not to be counted.
        self.place = {"host": "127.0.0.1", "port": self.redis.port, "client_name": self.id()}

    def connections(self):
        return [each for each in self.redis.client.client_list() if each["name"] == self.id()]

    def publish(self, message="a", **audience):
        audience = audience or {"broadcast": True}
        return RedisPublisher(facility="f", redis=self.place, **audience).publish_message(message)

    async def publish_async(self, message="a", **audience):
        audience = audience or {"broadcast": True}
        publisher = aio.RedisPublisher(facility="f", redis=self.place, **audience)
        return await publisher.publish_message(message)

    def kill_connections(self):
        """As Redis does with those that are idle for longer than its ``timeout``."""
        for each in self.connections():
            self.redis.client.client_kill(each["addr"])
        eventually("Redis has closed them", lambda: not self.connections())

    def heard_all(self, pubsub):
        heard = []
        while message := pubsub.get_message(timeout=0.3):
            heard.append(message["data"])
        return heard


class EventLoops(ConnectionsTestCase):
    def test_nothing_stays_of_a_loop_that_has_ended(self):
        loops = []

        async def scenario():
            loops.append(weakref.ref(asyncio.get_running_loop()))
            return await self.publish_async()

        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for _ in range(50):
                self.assertEqual(asyncio.run(scenario()), (1, 0))
            eventually("their connections are closed", lambda: not self.connections())
            gc.collect()
        self.assertEqual([loop for loop in loops if loop() is not None], [])
        self.assertEqual([str(each.message) for each in warned if each.category is ResourceWarning], [])

    def test_nor_of_one_that_was_only_closed(self):
        loops = []
        with warnings.catch_warnings():
            # Such a program leaves its connections to the garbage collection.
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(20):
                loop = asyncio.new_event_loop()
                loop.run_until_complete(self.publish_async())
                loop.close()
                loops.append(weakref.ref(loop))
            del loop
            gc.collect()
        self.assertEqual([loop for loop in loops if loop() is not None], [])
        eventually("their connections are closed", lambda: not self.connections())

    def test_a_loop_has_one_connection_for_one_publish_after_another(self):
        async def scenario():
            for _ in range(20):
                await self.publish_async()
            there = len(self.connections())
            await aio.close()
            eventually("it is closed", lambda: not self.connections())
            await self.publish_async()
            return there

        self.assertEqual(asyncio.run(scenario()), 1)

    def test_what_is_in_use_while_all_are_closed_is_closed_afterwards(self):
        async def scenario():
            await self.publish_async()
            self.redis.client.client_pause(300)
            publishing = asyncio.ensure_future(self.publish_async())
            await asyncio.sleep(0.1)
            await aio.close()
            self.assertEqual(await publishing, (1, 0))
            await asyncio.sleep(0.1)
            return self.connections()

        self.assertEqual(asyncio.run(scenario()), [])


class Idle(ConnectionsTestCase):
    def test_a_connection_that_died_idle_costs_no_publish(self):
        pubsub = self.listen("broadcast:f")
        for number in range(5):
            self.publish(f"{number}")
            self.kill_connections()
        self.assertEqual(self.heard_all(pubsub), [b"0", b"1", b"2", b"3", b"4"])

    def test_nor_does_it_with_asyncio(self):
        async def scenario():
            for number in range(8):
                await self.publish_async(f"{number}")
                self.kill_connections()
                # The loop sees its end, or has not had the time to.
                if number % 2:
                    await asyncio.sleep(0.05)

        pubsub = self.listen("broadcast:f")
        asyncio.run(scenario())
        self.assertEqual(self.heard_all(pubsub), [str(number).encode() for number in range(8)])

    def test_several_that_died_idle_cost_none_either(self):
        async def scenario():
            await asyncio.gather(*(self.publish_async() for _ in range(MOST)))
            self.assertGreater(len(self.connections()), 1)
            self.kill_connections()
            await asyncio.gather(*(self.publish_async() for _ in range(MOST)))

        asyncio.run(scenario())
        with ThreadPoolExecutor(MOST) as threads:
            list(threads.map(self.publish, "a" * MOST))
            self.kill_connections()
            list(threads.map(self.publish, "a" * MOST))


class AtOnce(ConnectionsTestCase):
    def opened(self):
        """How many connections Redis has taken since its start."""
        return self.redis.client.info("stats")["total_connections_received"]

    def opened_by(self, at_once):
        """How many it takes for this. No more are open at one time."""
        before = self.opened()
        at_once()
        return self.opened() - before

    def test_250_threads_publish_over_a_few_connections(self):
        published = []

        def at_once():
            with ThreadPoolExecutor(250) as threads:
                published.extend(threads.map(lambda _: self.publish(), range(500)))

        self.assertLessEqual(self.opened_by(at_once), MOST)
        self.assertEqual(published, [(1, 0)] * 500)

    def test_300_tasks_do_so_as_well(self):
        published = []

        async def scenario():
            for _ in range(2):
                tasks = [self.publish_async() for _ in range(300)]
                published.extend(await asyncio.gather(*tasks))

        self.assertLessEqual(self.opened_by(lambda: asyncio.run(scenario())), MOST)
        self.assertEqual(published, [(1, 0)] * 600)

    def test_their_number_can_be_given(self):
        async def scenario():
            await asyncio.gather(*(self.publish_async() for _ in range(50)))

        self.place["max_connections"] = 3
        with ThreadPoolExecutor(50) as threads:
            list(threads.map(lambda _: self.publish(), range(50)))
        self.assertLessEqual(len(self.connections()), 3)
        self.kill_connections()
        self.assertIn(self.opened_by(lambda: asyncio.run(scenario())), (1, 2, 3))
        client_name = f"client_name={self.id()}"
        place = f"{self.redis.url}?max_connections=2&{client_name}"
        with ThreadPoolExecutor(50) as threads:
            publisher = RedisPublisher(facility="f", broadcast=True, redis=place)
            list(threads.map(publisher.publish_message, "a" * 50))
        self.assertLessEqual(len(self.connections()), 2)
        # What is none of redis-py's limits is none of ours.
        for place in (f"{self.redis.url}?max_connections=0", {**self.place, "max_connections": 0}):
            publisher = RedisPublisher(facility="f", broadcast=True, redis=place)
            self.assertEqual(publisher.publish_message("a"), (1, 0))

    def test_the_wait_has_an_end_before_anything_is_sent(self):
        self.place["max_connections"] = 1
        pubsub = self.listen("broadcast:f")

        async def scenario():
            await self.publish_async("a")
            self.redis.client.client_pause(600)
            first = asyncio.ensure_future(self.publish_async("b"))
            await asyncio.sleep(0.05)
            with self.assertRaisesRegex(redis.ConnectionError, "in use for 0.2 s; nothing was"):
                await self.publish_async("never")
            await first
            await self.publish_async("c")

        with mock.patch("wsloop._exchange.LONGEST_WAIT", 0.2):
            with mock.patch("wsloop._aio_pool.LONGEST_WAIT", 0.2):
                asyncio.run(scenario())
            self.publish("d")
            self.redis.client.client_pause(600)
            with ThreadPoolExecutor(1) as thread, mock.patch("wsloop._pool.LONGEST_WAIT", 0.2):
                first = thread.submit(self.publish, "e")
                time.sleep(0.05)
                with self.assertRaisesRegex(redis.ConnectionError, "nothing was published"):
                    self.publish("never")
                first.result()
        self.assertEqual(self.heard_all(pubsub), [b"a", b"b", b"c", b"d", b"e"])

    def test_who_is_cancelled_takes_nobodys_turn_and_nobodys_answer(self):
        async def scenario():
            pubsub = self.listen("user:john:f")
            await self.publish_async()
            self.redis.client.client_pause(400)
            tasks = [asyncio.ensure_future(self.publish_async(users="john")) for _ in range(100)]
            await asyncio.sleep(0.1)
            for task in tasks[::2]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            self.assertEqual(outcomes[1::2], [(1, 1)] * 50)
            # Nobody listens here: an answer of the others would say that somebody does.
            tasks = [self.publish_async(users="mary") for _ in range(100)]
            self.assertEqual(await asyncio.gather(*tasks), [(1, 0)] * 100)
            pubsub.close()

        asyncio.run(asyncio.wait_for(scenario(), 20))


class Refusals(ConnectionsTestCase):
    def setUp(self):
        super().setUp()
        rules = ["on", "nopass", "~*", "+@all", "resetchannels", "&user:mary:f"]
        self.redis.client.execute_command("ACL", "SETUSER", "limited", *rules)
        self.addCleanup(self.redis.client.execute_command, "ACL", "DELUSER", "limited")
        self.place.update(username="limited", password="any")

    def test_a_refusal_is_raised_and_the_answers_stay_in_their_order(self):
        async def scenario(**more):
            with self.assertRaises(redis.ResponseError):
                await self.publish_async(users=["john", "mary"])
            return await self.publish_async(users="mary")

        pubsub = self.listen("user:mary:f")
        for _ in range(2):
            with self.assertRaises(redis.ResponseError):
                self.publish(users=["john", "mary"])
            self.assertEqual(self.publish(users="mary"), (1, 1))
        self.assertEqual(asyncio.run(scenario()), (1, 1))
        self.assertEqual(len(self.heard_all(pubsub)), 6)
        self.assertEqual(len(self.connections()), 1)

    def test_in_a_transaction_nothing_is_published(self):
        async def scenario():
            publisher = aio.RedisPublisher(facility="f", users=["mary", "john"], redis=self.place)
            with self.assertRaises(redis.ResponseError):
                await publisher.pipeline_publish_message("a", transaction=True)
            return await self.publish_async(users="mary")

        pubsub = self.listen("user:mary:f")
        publisher = RedisPublisher(facility="f", users=["mary", "john"], redis=self.place)
        for _ in range(2):
            with self.assertRaises(redis.ResponseError) as refused:
                publisher.pipeline_publish_message("a", transaction=True)
            self.assertIn("permission", str(refused.exception).lower())
        self.assertEqual(asyncio.run(scenario()), (1, 1))
        self.assertEqual(len(self.heard_all(pubsub)), 1)


FORK = """
import os, signal, sys, threading
import wsloop._pool
from wsloop import RedisPublisher

publisher = RedisPublisher(facility="f", broadcast=True, redis=sys.argv[1])
publisher.publish_message("parent")
held, release = threading.Event(), threading.Event()

def hold():
    with wsloop._pool._lock:
        held.set()
        release.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    publisher.publish_message("child")
    RedisPublisher(facility="f", broadcast=True, redis=sys.argv[1]).publish_message("child")
    os._exit(0)
_, status = os.waitpid(child, 0)
release.set()
thread.join()
for _ in range(3):
    assert publisher.publish_message("parent").receivers == 1
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""


class Forks(RedisTestCase):
    def test_a_child_hangs_on_nobodys_lock_and_uses_nobodys_connection(self):
        pubsub = self.listen("broadcast:f")
        line = [sys.executable, "-W", "ignore", "-c", FORK, self.redis.url]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        heard = [self.heard(pubsub) for _ in range(6)]
        self.assertEqual(heard, [b"parent", b"child", b"child"] + [b"parent"] * 3)


class Silent(RedisTestCase):
    def test_a_redis_that_hangs_up_meanwhile_gets_it_once(self):
        """Also by asyncio; ``test_publisher`` has it for the other one."""
        received = []

        def answer_nothing_to_publish(listener):
            while True:
                try:
                    conn, _ = listener.accept()
                except OSError:
                    return
                with conn:
                    while data := conn.recv(4096):
                        if b"PUBLISH" in data:
                            received.append(data)
                            break
                        hello = b"HELLO" in data
                        answer = b"%1\r\n+proto\r\n:3\r\n" if hello else b"+OK\r\n"
                        conn.sendall(answer * data.count(b"*"))

        async def scenario(place):
            with self.assertRaises(redis.ConnectionError):
                await aio.RedisPublisher(
                    facility="f", broadcast=True, redis=place
                ).publish_message("once")
            with self.assertRaises(redis.ConnectionError):
                await aio.disconnect(user="john", redis=place)

        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_nothing_to_publish, args=(listener,))
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        port = listener.getsockname()[1]
        asyncio.run(scenario(f"redis://127.0.0.1:{port}"))
        with self.assertRaises(redis.ConnectionError):
            disconnect(user="john", redis={"port": port})
        self.assertEqual(len(received), 3)
