"""The asyncio publisher, against a real Redis."""

import asyncio

import redis.asyncio

from wsloop import RedisPublisher, aio

from .support import RedisTestCase
from .test_publisher import request


class Publishing(RedisTestCase):
    def run_in_loop(self, scenario):
        async def closing():
            try:
                return await scenario()
            finally:
                await aio.close()

        return asyncio.run(closing())

    def test_a_message_is_heard_stored_and_fetched_in_one_loop_after_another(self):
        async def scenario():
            publisher = aio.RedisPublisher(
                request=request(),
                facility="fac",
                broadcast=True,
                users=aio.SELF,
                redis=self.redis.url,
                prefix="p",
            )
            published = await publisher.publish_message("hello", expire=10)
            again = await publisher.pipeline_publish_message("hello", 10, transaction=True)
            self.assertEqual(published, again)
            fetched = await publisher.fetch_message(request(), "fac", "user")
            return published, fetched, await publisher.fetch_message(request(), "nothing")

        for _ in range(2):
            pubsub = self.listen("p:broadcast:fac", "p:user:john:fac")
            self.assertEqual(self.run_in_loop(scenario), ((2, 2), b"hello", None))
            self.assertEqual(self.heard(pubsub), b"hello")
            self.assertIn(self.redis.client.ttl("p:user:john:fac"), (9, 10))
            pubsub.close()

    def test_ones_own_client(self):
        async def scenario():
            async with redis.asyncio.Redis(port=self.redis.port) as own:
                publisher = aio.RedisPublisher(facility="fac", broadcast=True, redis=own)
                return await publisher.publish_message("hello")

        self.assertEqual(self.run_in_loop(scenario), (1, 0))

    def test_a_client_of_the_other_kind_publishes_nothing(self):
        async def scenario():
            where = {"facility": "fac", "broadcast": True}
            blocking = self.redis.client
            with self.assertRaisesRegex(TypeError, "redis.asyncio"):
                await aio.RedisPublisher(**where, redis=blocking).publish_message("twice")
            with self.assertRaisesRegex(TypeError, "redis.asyncio"):
                await aio.disconnect(user="john", redis=blocking)
            async with redis.asyncio.Redis(port=self.redis.port) as own:
                with self.assertRaisesRegex(TypeError, "wsloop.aio"):
                    RedisPublisher(**where, redis=own).publish_message("twice")

        pubsub = self.listen("broadcast:fac", "wsloop:control")
        self.run_in_loop(scenario)
        self.assertIsNone(pubsub.get_message(timeout=0.1))
        self.assertIsNone(self.redis.client.get("broadcast:fac"))

    def test_disconnect(self):
        pubsub = self.listen("wsloop:control")
        told = self.run_in_loop(lambda: aio.disconnect(session="abcdefgh", redis=self.redis.url))
        self.assertEqual(told, 1)
        self.assertEqual(self.heard(pubsub), b'{"disconnect": {"session": "abcdefgh"}}')

    def test_mistakes_are_told_where_they_are_made(self):
        with self.assertRaises(ValueError):
            aio.RedisPublisher(broadcast=True)
