"""The publisher in plain Python, against a real Redis."""

import enum
import json
import os
import socket
import subprocess
import sys
import threading
import unittest
import uuid
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace as Object
from unittest import mock

import redis

from wsloop import SELF, Published, RedisMessage, RedisPublisher, disconnect

from .support import Redis, RedisTestCase


# The same for this package, the Rust publisher, the command line and the server.
RULES = json.loads((Path(__file__).parent / "rules.json").read_text())


class Session(dict):
    session_key = "k" * 32


def request(name="john", groups=("chatusers",), key="k" * 32):
    session = Session({"ws4redis:memberof": list(groups)})
    session.session_key = key
    user = Object(is_authenticated=bool(name), get_username=lambda: name)
    if isinstance(name, Person):
        user = name
    return Object(user=user, session=session)


class Channels(unittest.TestCase):
    def names(self, facility="fac", **audiences):
        return RedisPublisher(facility=facility, **{"prefix": "p", **audiences}).channels

    def test_every_audience_has_its_name(self):
        for audience, expected in [
            ({"broadcast": True}, "p:broadcast:fac"),
            ({"broadcast": 1}, "p:broadcast:fac"),
            ({"users": ["john"]}, "p:user:john:fac"),
            ({"groups": ["staff"]}, "p:group:staff:fac"),
            ({"sessions": ["abcdefgh"]}, "p:session:abcdefgh:fac"),
            ({"broadcast": True, "prefix": ""}, "broadcast:fac"),
            ({"broadcast": True, "facility": ""}, "p:broadcast:"),
            ({"broadcast": True, "facility": "a:b/ü"}, "p:broadcast:a:b/ü"),
        ]:
            with self.subTest(audience):
                self.assertEqual(self.names(**audience), (expected,))

    def test_names_come_one_by_one_or_in_any_collection(self):
        for users in ["john", ["john"], ("john",), {"john"}, iter(["john", "john"])]:
            with self.subTest(type(users)):
                self.assertEqual(self.names(users=users), ("p:user:john:fac",))
        self.assertEqual(self.names(users=[7]), ("p:user:7:fac",))
        for nobody in [None, False, [], ()]:
            self.assertEqual(self.names(users=nobody), ())

    def test_self_is_whatever_of_it_is_the_requests(self):
        john = request(groups=["chatusers", "staff"])
        for audience, expected in [
            ({"users": SELF}, ["p:user:john:fac"]),
            ({"users": True}, ["p:user:john:fac"]),
            ({"users": [SELF, "mary"]}, ["p:user:john:fac", "p:user:mary:fac"]),
            ({"groups": [SELF]}, ["p:group:chatusers:fac", "p:group:staff:fac"]),
            ({"sessions": [SELF]}, ["p:session:" + "k" * 32 + ":fac"]),
        ]:
            with self.subTest(audience):
                self.assertEqual(list(self.names(request=john, **audience)), expected)

    def test_who_is_not_logged_in_or_not_stored_has_no_channel(self):
        for who in [request(name=""), Object(user=None, session=None), Object()]:
            self.assertEqual(self.names(request=who, users=SELF, groups=SELF), ())
        self.assertEqual(self.names(request=request(key=None), sessions=SELF), ())
        self.assertEqual(self.names(request=request(name="a:b"), users=SELF), ())

    def test_what_cannot_be_meant_is_an_error(self):
        for error, audience in [
            (ValueError, {"facility": None, "broadcast": True}),
            (ValueError, {"facility": None, "users": "john"}),
            (ValueError, {"users": SELF}),
            (ValueError, {"users": [""]}),
            (ValueError, {"users": ["a:b"]}),
            (ValueError, {"users": "john", "facility": "a:b"}),
            (ValueError, {"groups": "g", "facility": "a:b"}),
            (ValueError, {"sessions": "abcdefgh", "facility": "a:b"}),
            (TypeError, {"users": [None]}),
            (TypeError, {"users": [True]}),
            (TypeError, {"users": [b"john"]}),
            (TypeError, {"users": b"john"}),
            (TypeError, {"users": 7}),
            (TypeError, {"user": "john"}),
        ]:
            with self.subTest(audience), self.assertRaises(error):
                self.names(**audience)


class Text(str):
    """A text by another text: what str() makes of it is not what it is."""

    def __str__(self):
        return f"<{super().__str__()}>"


class Role(enum.Enum):
    ADMIN = "admin"


class TextRole(str, enum.Enum):
    ADMIN = "admin"


class Person:
    """A user, as Django has them, with a text of its own."""

    def __init__(self, name, is_authenticated=True):
        self.name, self.is_authenticated = name, is_authenticated

    def get_username(self):
        return self.name

    def __str__(self):
        return f"{self.name} of Accounting"

    def __repr__(self):
        return f"<Person {self.name}>"


class Names(unittest.TestCase):
    """A name is never silently another."""

    def names(self, **audiences):
        return RedisPublisher(facility=audiences.pop("facility", "f"), **audiences).channels

    def test_what_is_text_is_taken_by_its_text(self):
        for name, expected in [
            ("john", "john"),
            (Text("john"), "john"),
            (TextRole.ADMIN, "admin"),
            (7, "7"),
            (-7, "-7"),
            ("7.0", "7.0"),
        ]:
            for audience in ("user", "group", "session"):
                with self.subTest(name=repr(name), audience=audience):
                    channel = f"{audience}:{expected}:f"
                    self.assertEqual(self.names(**{f"{audience}s": [name]}), (channel,))
            self.assertEqual(self.names(broadcast=True, facility=name), (f"broadcast:{expected}",))
        self.assertEqual(self.names(groups=TextRole.ADMIN), ("group:admin:f",))
        self.assertEqual(self.names(groups=TextRole), ("group:admin:f",))

    def test_users_have_the_name_of_get_username(self):
        john, nobody = Person("john"), Person("", is_authenticated=False)
        self.assertEqual(self.names(users=[john, "mary"]), ("user:john:f", "user:mary:f"))
        self.assertEqual(self.names(users=john), ("user:john:f",))
        self.assertEqual(self.names(users=[nobody, "mary"]), ("user:mary:f",))
        self.assertEqual(self.names(users=nobody), ())
        self.assertEqual(self.names(users=Person("john", is_authenticated=False)), ())
        self.assertEqual(self.names(users=Person(uuid.UUID(int=7))), (f"user:{uuid.UUID(int=7)}:f",))
        for name, expected in [(TextRole.ADMIN, "admin"), (Text("john"), "john"), (0, "0")]:
            self.assertEqual(self.names(users=[Person(name)]), (f"user:{expected}:f",))
            own = self.names(users=SELF, request=request(name=Person(name)))
            self.assertEqual(own, (f"user:{expected}:f",))
        with self.assertRaises(ValueError):
            self.names(users=[Person("a:b")])
        for name in [b"john", bytearray(b"john"), ("john",), Role.ADMIN, True, 1.5, object()]:
            for users in (Person(name), ["mary", Person(name)]):
                with self.subTest(name=name), self.assertRaisesRegex(TypeError, "<Person "):
                    self.names(users=users)
            self.assertEqual(self.names(users=SELF, request=request(name=Person(name))), ())

    def test_what_has_no_text_is_named_and_refused(self):
        wrong = [b"john", bytearray(b"john"), memoryview(b"john"), ("john",), ["john"], {"john"}]
        wrong += [None, True, False, 7.0, Decimal(7), uuid.UUID(int=7), Role.ADMIN, object(), Person]
        wrong += [Object(name="john"), {"name": "john"}, iter("john")]
        for value in wrong:
            for audience in ("users", "groups", "sessions"):
                with self.subTest(value=value, audience=audience):
                    with self.assertRaises(TypeError) as told:
                        self.names(**{audience: ["mary", value]})
                    self.assertIn(repr(value), str(told.exception))
        for value in [b"f", bytearray(b"f"), Role.ADMIN, ("f",), True, 1.5, object(), Person("f")]:
            with self.subTest(facility=value), self.assertRaises(TypeError) as told:
                self.names(facility=value, broadcast=True)
            self.assertIn(repr(value), str(told.exception))
        # Each of these is a collection, of numbers or of letters, to Python.
        for value in [b"john", bytearray(b"john"), memoryview(b"john")]:
            with self.subTest(value=value), self.assertRaises(TypeError):
                self.names(users=value)
        for audience in ("groups", "sessions"):
            with self.assertRaises(TypeError):
                self.names(**{audience: [Person("john")]})

    def test_the_same_goes_for_who_is_disconnected(self):
        for value in [b"john", Role.ADMIN, ("john",), True, 1.5, object(), ["john"]]:
            for audience in ("user", "group", "session"):
                with self.subTest(value=value), self.assertRaises(TypeError) as told:
                    disconnect(**{audience: value})
                self.assertIn(repr(value), str(told.exception))
        for whom in [{"user": Person("", is_authenticated=False)}, {"group": ""}, {"session": ""}]:
            with self.subTest(whom), self.assertRaises(ValueError):
                disconnect(**whom)

    def test_a_prefix_says_no_audience(self):
        for prefix in ["site:", "user", "a:group", "session:a", "broadcast", "wsloop:history:x"]:
            with self.subTest(prefix), self.assertRaises(ValueError):
                self.names(users="john", prefix=prefix)
        for prefix in [7, b"site", ["site"]]:
            with self.subTest(prefix), self.assertRaises(TypeError):
                self.names(users="john", prefix=prefix)
        for prefix, expected in [("a:users", "a:users"), (TextRole.ADMIN, "admin"), (Text("a"), "a")]:
            self.assertEqual(self.names(users="j", prefix=prefix), (f"{expected}:user:j:f",))

    def test_a_facility_is_as_long_as_the_server_takes_it(self):
        self.assertEqual(len(self.names(facility="f" * 512, broadcast=True)), 1)
        with self.assertRaises(ValueError):
            self.names(facility="é" * 257, broadcast=True)


class Messages(unittest.TestCase):
    def test_a_message_is_bytes(self):
        for value, expected in [
            ("grüß", "grüß".encode()),
            (b"\x00\xff", b"\x00\xff"),
            (bytearray(b"a"), b"a"),
            (memoryview(b"a"), b"a"),
            ([b"message", b"broadcast:fac", b"data"], b"data"),
            ("", b""),
        ]:
            message = RedisMessage(value)
            self.assertEqual(message, expected)
            self.assertIsInstance(message, bytes)
        for value in [None, 7, {"a": 1}, [], [b"subscribe", b"broadcast:fac", 1]]:
            with self.subTest(value), self.assertRaises(TypeError):
                RedisMessage(value)


class Publishing(RedisTestCase):
    def publisher(self, **arguments):
        return RedisPublisher(**{"facility": "fac", "redis": self.redis.url, **arguments})

    def test_a_message_is_heard_and_stored(self):
        for message in ["hello", b"hello", RedisMessage("hello")]:
            pubsub = self.listen("broadcast:fac")
            published = self.publisher(broadcast=True).publish_message(message, expire=10)
            self.assertEqual(published, Published(channels=1, receivers=1))
            self.assertEqual(self.heard(pubsub), b"hello")
            self.assertEqual(self.redis.client.get("broadcast:fac"), b"hello")
            self.assertIn(self.redis.client.ttl("broadcast:fac"), (9, 10))
            pubsub.close()

    def test_every_channel_gets_it_with_and_without_a_transaction(self):
        names = ("broadcast:fac", "user:john:fac", "user:mary:fac", "group:g:fac")
        publisher = self.publisher(broadcast=True, users=["john", "mary"], groups="g")
        for transaction in (False, True):
            pubsub = self.listen(*names)
            published = publisher.pipeline_publish_message("all", transaction=transaction)
            self.assertEqual(published, (4, 4))
            self.assertEqual([self.heard(pubsub) for _ in names], [b"all"] * 4)
            pubsub.close()
        self.assertEqual(self.redis.client.mget(names), [b"all"] * 4)

    def test_publish_comes_before_setex_and_not_in_multi(self):
        with self.redis.client.monitor() as monitor:
            self.publisher(users=["john", "mary"]).publish_message("a", expire=5)
            seen = []
            while len(seen) < 4:
                command = monitor.next_command()["command"]
                if not command.startswith(("CLIENT", "HELLO", "SELECT", "PING")):
                    seen.append(command)
        expected = []
        for name in ("user:john:fac", "user:mary:fac"):
            expected += [f"PUBLISH {name} a", f"SETEX {name} 5 a"]
        self.assertEqual(seen, expected)

    def test_expire(self):
        publisher = self.publisher(broadcast=True, expire=70)
        publisher.publish_message("default")
        self.assertIn(self.redis.client.ttl("broadcast:fac"), (69, 70))
        for nothing in (0, -1):
            publisher.publish_message("not stored", expire=nothing)
            self.assertEqual(self.redis.client.get("broadcast:fac"), b"default")

    def test_an_expiry_that_redis_would_refuse_is_refused_before_anything_is_sent(self):
        pubsub = self.listen("broadcast:fac")
        nothing = [float(text) for text in RULES["not whole seconds"]]
        wrong = [*RULES["expire"]["refused"], *nothing, 60.0, Decimal("1.5")]
        for seconds in wrong:
            with self.subTest(seconds):
                with self.assertRaisesRegex(ValueError, "expire"):
                    self.publisher(broadcast=True).publish_message("a", expire=seconds)
                with self.assertRaisesRegex(ValueError, "expire"):
                    self.publisher(broadcast=True, expire=seconds)
        for seconds in ["60", b"60", True, [60], object()]:
            with self.subTest(seconds), self.assertRaisesRegex(TypeError, "expire"):
                self.publisher(broadcast=True).publish_message("a", expire=seconds)
        self.assertIsNone(pubsub.get_message(timeout=0.1))
        for seconds in RULES["expire"]["taken"]:
            self.publisher(broadcast=True).publish_message("b", expire=seconds)
            self.assertEqual(self.heard(pubsub), b"b")
            self.assertGreaterEqual(self.redis.client.ttl("broadcast:fac"), seconds - 5)

    def test_no_audience_publishes_nothing(self):
        self.assertEqual(self.publisher(facility=None).publish_message("a"), (0, 0))
        self.assertEqual(self.redis.client.dbsize(), 0)

    def test_fetch_looks_in_the_order_session_user_group_broadcast(self):
        john, fetch = request(), self.publisher().fetch_message
        names = ["broadcast:fac", "group:chatusers:fac", "user:john:fac"]
        names += ["session:" + "k" * 32 + ":fac"]
        self.assertIsNone(fetch(john, "fac"))
        for name in names:
            self.redis.client.set(name, name)
            self.assertEqual(fetch(john, "fac"), name.encode())
        for audience, name in zip(["broadcast", "group", "user", "session"], names):
            self.assertEqual(fetch(john, "fac", audience), name.encode())
        self.redis.client.set(names[-1], "")
        self.assertEqual(fetch(john, "fac"), b"user:john:fac")
        self.assertIsNone(fetch(john, "fac", "session"))
        self.assertEqual(fetch(None, "fac"), b"broadcast:fac")
        self.assertEqual(fetch(request(name="", key=None), "fac"), b"broadcast:fac")
        self.assertIsNone(fetch(request(name=""), "fac", "user"))
        with self.assertRaises(ValueError):
            fetch(john, "fac", "everybody")

    def test_disconnect_tells_wsloop(self):
        pubsub = self.listen("p:wsloop:control")
        told = disconnect(user="john", code=4403, reason="bye", redis=self.redis.url, prefix="p")
        self.assertEqual(told, 1)
        expected = b'{"disconnect": {"user": "john"}, "code": 4403, "reason": "bye"}'
        self.assertEqual(self.heard(pubsub), expected)
        for whom in ({}, {"user": ""}, {"user": "john", "group": "g"}):
            with self.assertRaises(ValueError):
                disconnect(redis=self.redis.url, **whom)

    def test_a_disconnect_that_would_close_nobody_is_refused(self):
        pubsub = self.listen("wsloop:control")
        for code in [*RULES["codes"]["refused"], -4403]:
            with self.subTest(code), self.assertRaisesRegex(ValueError, "code"):
                disconnect(user="john", code=code, redis=self.redis.url)
        for code in ["4403", True, 4403.0, b"4403"]:
            with self.subTest(code), self.assertRaisesRegex(TypeError, "code"):
                disconnect(user="john", code=code, redis=self.redis.url)
        for size in RULES["bytes of a reason"]["refused"]:
            with self.assertRaisesRegex(ValueError, "123 bytes"):
                disconnect(user="john", reason="é" * (size // 2), redis=self.redis.url)
        with self.assertRaisesRegex(TypeError, "reason"):
            disconnect(user="john", reason=b"bye", redis=self.redis.url)
        self.assertIsNone(pubsub.get_message(timeout=0.1))
        for code in [*RULES["codes"]["taken"], None]:
            for size in RULES["bytes of a reason"]["taken"]:
                disconnect(user=7, code=code, reason="r" * size, redis=self.redis.url)
                self.assertIn(b'{"disconnect": {"user": "7"}', self.heard(pubsub))

    def test_redis_is_a_url_arguments_or_a_client(self):
        arguments = {"host": "127.0.0.1", "port": self.redis.port, "decode_responses": True}
        own = redis.Redis(port=self.redis.port)
        self.addCleanup(own.close)
        unix = f"unix://{self.redis.socket}"
        valkey = f"valkey://127.0.0.1:{self.redis.port}"
        for place in [self.redis.url, arguments, own, unix, "redis+" + unix, valkey]:
            self.redis.client.flushall()
            publisher = self.publisher(redis=place, broadcast=True)
            publisher.publish_message("hello")
            self.assertEqual(publisher.fetch_message(None, "fac", "broadcast"), b"hello")

    def test_without_django_the_environment_says_where(self):
        environment = {
            "WSLOOP_REDIS": self.redis.url,
            "WSLOOP_PREFIX": "env",
            "WSLOOP_EXPIRE": "50",
            "WSLOOP_HEARTBEAT": "--beat--",
        }
        with mock.patch.dict(os.environ, environment), mock.patch.dict(sys.modules):
            sys.modules.pop("django.conf", None)
            publisher = RedisPublisher(facility="fac", broadcast=True)
            publisher.publish_message("hello")
            with self.assertRaises(ValueError):
                publisher.publish_message("--beat--")
        self.assertIn(self.redis.client.ttl("env:broadcast:fac"), (49, 50))

    def kept(self, channel):
        entries = self.redis.client.xrange(f"wsloop:history:{{{channel}}}")
        return [fields[b"message"].decode() for _, fields in entries]

    def test_what_is_published_is_in_the_history_of_channels_that_a_rule_fits(self):
        heard = self.listen("p:broadcast:fac")
        for history in ["fac=2/60,chat/*=1/9", ["other=1/1", "f*c=2/60"]]:
            self.redis.client.flushall()
            publisher = self.publisher(
                broadcast=True, users=["john"], prefix="p", history=history, expire=50
            )
            for text in ["one", "two", "three"]:
                self.assertEqual(publisher.publish_message(text), (2, 1))
                self.assertEqual(heard.get_message(timeout=5)["data"], text.encode())
            self.assertEqual(self.kept("p:broadcast:fac"), ["two", "three"])
            self.assertEqual(self.kept("p:user:john:fac"), ["two", "three"])
            stream = "wsloop:history:{p:broadcast:fac}"
            self.assertIn(self.redis.client.ttl(stream), (59, 60))
            self.assertIn(self.redis.client.ttl("p:broadcast:fac"), (49, 50))
            publisher.pipeline_publish_message("four", transaction=True)
            self.assertEqual(heard.get_message(timeout=5)["data"], b"four")
            self.assertEqual(self.kept("p:broadcast:fac"), ["three", "four"])
        for facility in ["a", "facs", "chat/1"]:
            publisher = self.publisher(facility=facility, broadcast=True, history="fac=2/60")
            publisher.publish_message("plain")
            self.assertEqual(self.kept(f"broadcast:{facility}"), [])
        self.publisher(facility="a{b}", broadcast=True, history="*=2/60").publish_message("plain")
        self.assertEqual(self.kept("broadcast:a{b}"), [])

    def test_what_cannot_be_kept_is_an_error_and_published(self):
        self.redis.client.set("wsloop:history:{broadcast:fac}", "in the way")
        heard = self.listen("broadcast:fac")
        with self.assertRaisesRegex(redis.ResponseError, "UNKEPT WRONGTYPE"):
            self.publisher(broadcast=True, history="*=2/60").publish_message("one")
        self.assertEqual(heard.get_message(timeout=5)["data"], b"one")

    def test_rules_of_histories_are_those_of_the_server(self):
        with mock.patch.dict(os.environ, {"WSLOOP_HISTORY": "fac=2/60"}):
            self.publisher(broadcast=True).publish_message("one")
        self.assertEqual(self.kept("broadcast:fac"), ["one"])
        for wrong in ["fac", "fac=2", "fac=0/1", "fac=1/0", "fac=100001/1", "f{}=1/1", "fac=-1/1"]:
            with self.subTest(wrong), self.assertRaisesRegex(ValueError, "history"):
                self.publisher(broadcast=True, history=wrong)
        for wrong in [7, [7]]:
            with self.subTest(wrong), self.assertRaisesRegex(TypeError, "history"):
                self.publisher(broadcast=True, history=wrong)

    def test_what_is_wrong_with_a_setting_has_its_name(self):
        for name, value in [
            ("WSLOOP_REDIS", "redsi://127.0.0.1"),
            ("WSLOOP_REDIS", "127.0.0.1:6379"),
            ("WSLOOP_REDIS", "redis://127.0.0.1:port"),
            ("WSLOOP_REDIS", "redis://127.0.0.1/zero"),
            ("WSLOOP_PREFIX", "user"),
            ("WSLOOP_EXPIRE", "1.5"),
            ("WSLOOP_EXPIRE", "an hour"),
        ]:
            with self.subTest(value), mock.patch.dict(os.environ, {name: value}):
                with mock.patch.dict(sys.modules):
                    sys.modules.pop("django.conf", None)
                    with self.assertRaisesRegex((ValueError, TypeError), name):
                        RedisPublisher(facility="fac", broadcast=True)
        with self.assertRaises(ValueError) as told:
            RedisPublisher(facility="fac", broadcast=True, redis="redsi://:hush@127.0.0.1")
        self.assertNotIn("hush", str(told.exception))
        for wrong in [7, b"redis://127.0.0.1", ["redis://127.0.0.1", 7]]:
            with self.assertRaises(TypeError):
                RedisPublisher(facility="fac", broadcast=True, redis=wrong)
        with self.assertRaises(TypeError):
            RedisPublisher(facility="fac", broadcast=True, redis={"hots": "127.0.0.1"})

    def test_a_redis_that_is_away_is_an_error(self):
        gone = Redis()
        publisher = self.publisher(redis=gone.url, broadcast=True)
        publisher.publish_message("a")
        gone.close()
        with self.assertRaises(redis.ConnectionError):
            publisher.publish_message("b")

    def test_a_redis_that_was_restarted_is_found_again(self):
        first = Redis()
        publisher = self.publisher(redis=first.url, broadcast=True)
        publisher.publish_message("a")
        first.close()
        second = Redis(first.port)
        self.addCleanup(second.close)
        publisher.publish_message("b")
        self.assertEqual(second.client.get("broadcast:fac"), b"b")

    def test_what_may_have_been_published_is_not_published_again(self):
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

        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=answer_nothing_to_publish, args=(listener,))
        thread.start()
        self.addCleanup(listener.close)
        self.addCleanup(thread.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)
        # redis-py of itself tries the second of these eleven times.
        port = listener.getsockname()[1]
        for times, place in enumerate([f"redis://127.0.0.1:{port}", {"port": port}], 1):
            publisher = self.publisher(redis=place, broadcast=True)
            with self.assertRaises(redis.ConnectionError):
                publisher.publish_message("once")
            self.assertEqual(len(received), times)

    def test_importing_it_does_not_need_django(self):
        code = "import sys; sys.modules['django'] = None; import wsloop, wsloop.aio; print('ok')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(done.stdout, "ok\n", done.stderr)
