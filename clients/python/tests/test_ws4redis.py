"""ws4redis's own tests, by their names, with wsloop and this package in its place.

Each way in which wsloop can learn who somebody is runs all of them. Four are other than there:
what a test got only because another one had left it in Redis, it stores itself (3, 8 and 9), a GET
without an upgrade is answered with 426 and what it would be granted (14), and the callback looks at
the query, since wsloop passes on no headers that it does not know (17).
"""

import base64
import os
import socket
from types import SimpleNamespace
from urllib.parse import urlsplit

import redis
from django.contrib.auth.models import User
from django.test import LiveServerTestCase, override_settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wsloop import SELF, RedisMessage, RedisPublisher
from wsloop.django import conf

from .project.callbacks import denies_on_demand
from .support import RedisTestCase, Wsloop, free_port
from .test_django import make_users

MESSAGE = RedisMessage("".join(chr(code) for code in range(33, 128)))
FACILITY = "unittest"
PREFIX = "ws4redis"


class Suite:
    """The tests; a subclass says what the project's settings are."""

    def setUp(self):
        super().setUp()
        self.entered(override_settings(**self.settings()))
        make_users()
        self.broker = redis.Redis.from_url(self.redis_url)
        self.addCleanup(self.broker.close)
        self.start()

    def settings(self):
        self.redis_url = self.redis.url
        settings = {"WEBSOCKET_URL": "/ws/", "WS4REDIS_PREFIX": PREFIX, "WS4REDIS_EXPIRE": 10}
        settings["WS4REDIS_CONNECTION"] = {"host": "localhost", "port": self.redis.port}
        settings["WSLOOP_ALLOW"] = "all"
        return settings

    def start(self):
        made = conf.command(urlsplit(self.live_server_url).netloc)
        self.assertEqual(made.secrets, {})
        flags = (f"--{name}={value}" for name, value in made.flags.items())
        self.server = Wsloop(*flags)
        self.addCleanup(self.server.close)

    def login(self, name):
        self.client.logout()
        self.client.login(username=name, password="secret")
        return f"sessionid={self.client.session.session_key}"

    def request(self, name=None):
        user = User.objects.get(username=name) if name else None
        return SimpleNamespace(session=self.client.session, user=user)

    def connect(self, query, cookie=None, **options):
        headers = {"Cookie": cookie} if cookie else {}
        uri = f"ws://127.0.0.1:{self.server.port}/ws/{FACILITY}{query}"
        browser = connect(uri, additional_headers=headers, proxy=None, **options)
        self.addCleanup(browser.close)
        return browser

    def first_message(self, query, cookie=None):
        browser = self.connect(query, cookie)
        message = browser.recv(timeout=5)
        browser.close()
        return message.encode()

    def publisher(self, **audience):
        return RedisPublisher(facility=FACILITY, **audience)

    def fetch(self, request, audience):
        return RedisPublisher().fetch_message(request, FACILITY, audience)

    # What an anonymous browser hears and says.

    def test_subscribe_broadcast(self):
        self.publisher(broadcast=True).publish_message(MESSAGE, 10)
        self.assertEqual(self.first_message("?subscribe-broadcast"), MESSAGE)

    def test_subscribe_pipeline_broadcast(self):
        self.publisher(broadcast=True).pipeline_publish_message(MESSAGE, 10)
        self.assertEqual(self.first_message("?subscribe-broadcast"), MESSAGE)

    def test_pubsub_broadcast(self):
        self.publisher(broadcast=True).publish_message(MESSAGE, 10)
        browser = self.connect("?subscribe-broadcast&publish-broadcast")
        browser.send(MESSAGE.decode())
        self.assertEqual(browser.recv(timeout=5).encode(), MESSAGE)

    def test_publish_broadcast(self):
        browser = self.connect("?publish-broadcast")
        browser.send(MESSAGE.decode())
        browser.close()
        self.assertEqual(self.fetch(None, "broadcast"), MESSAGE)
        self.assertEqual(self.broker.get(f"{PREFIX}:broadcast:{FACILITY}"), MESSAGE)

    # One user.

    def test_subscribe_user(self):
        self.subscribe_user("publish_message")

    def test_subscribe_pipeline_user(self):
        self.subscribe_user("pipeline_publish_message")

    def subscribe_user(self, publish):
        cookie = self.login("john")
        getattr(self.publisher(users=["john", "mary"]), publish)(MESSAGE, 10)
        self.assertEqual(self.first_message("?subscribe-user", cookie), MESSAGE)

    def test_publish_user(self):
        browser = self.connect("?publish-user", self.login("john"))
        browser.send(MESSAGE.decode())
        browser.close()
        self.assertEqual(self.fetch(self.request("john"), "user"), MESSAGE)
        self.assertIsNone(self.fetch(self.request(), "user"))

    # A group.

    def test_subscribe_group(self):
        self.subscribe_group("publish_message")

    def test_subscribe_pipeline_group(self):
        self.subscribe_group("pipeline_publish_message")

    def subscribe_group(self, publish):
        cookie = self.login("john")
        getattr(self.publisher(groups=["chatusers"]), publish)(MESSAGE, 10)
        self.assertEqual(self.first_message("?subscribe-group", cookie), MESSAGE)

    def test_publish_group(self):
        browser = self.connect("?publish-group", self.login("john"))
        browser.send(MESSAGE.decode())
        browser.close()
        self.login("mary")
        self.assertEqual(self.fetch(self.request("mary"), "group"), MESSAGE)

    # A session.

    def test_subscribe_session(self):
        self.subscribe_session("publish_message")

    def test_subscribe_pipeline_session(self):
        self.subscribe_session("pipeline_publish_message")

    def subscribe_session(self, publish):
        cookie = self.login("john")
        self.assertGreater(len(self.client.session.session_key), 30)
        publisher = self.publisher(request=self.request("john"), sessions=[SELF])
        getattr(publisher, publish)(MESSAGE, 10)
        self.assertEqual(self.first_message("?subscribe-session", cookie), MESSAGE)

    def test_publish_session(self):
        browser = self.connect("?publish-session", self.login("mary"))
        browser.send(MESSAGE.decode())
        browser.close()
        self.assertEqual(self.fetch(self.request("mary"), "session"), MESSAGE)

    # What else there is.

    def test_invalid_request(self):
        for method, status, expected in [
            ("GET", b"426", b"upgrade to a websocket"),
            ("POST", b"400", b""),
        ]:
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as raw:
                line = f"{method} /ws/foobar HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
                raw.sendall(line.encode())
                answer = raw.makefile("rb").read()
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
            self.assertIn(expected, answer.lower())

    def test_invalid_version(self):
        """``t_e_s_t_invalid_version``, which is switched off there."""
        self.assertTrue(self.upgrade("Sec-WebSocket-Version: 6")[1].startswith(b"HTTP/1.1 426"))

    def test_defining_multiple_publishers(self):
        first = self.publisher(broadcast=True)
        self.assertEqual(first.channels, (f"{PREFIX}:broadcast:{FACILITY}",))
        second = self.publisher(users=["john"])
        self.assertEqual(second.channels, (f"{PREFIX}:user:john:{FACILITY}",))
        self.assertEqual(first.channels, (f"{PREFIX}:broadcast:{FACILITY}",))

    def test_forbidden_channel(self):
        query = "?subscribe-broadcast&publish-broadcast&deny-channels=YES"
        self.connect(query).close()
        by_name = "tests.project.callbacks.denies_on_demand"
        for callback in (denies_on_demand, by_name):
            with override_settings(WS4REDIS_ALLOWED_CHANNELS=callback):
                self.start()
                with self.assertRaises(InvalidStatus) as refused:
                    self.connect(query)
                self.assertEqual(refused.exception.response.status_code, 403)
                self.connect("?subscribe-broadcast").close()

    def test_close_connection(self):
        for code in [1000, 1001, 1002, 1003, *range(1005, 1012), 1015]:
            raw, answer = self.upgrade("Sec-WebSocket-Version: 13", "?subscribe-broadcast")
            self.assertTrue(answer.startswith(b"HTTP/1.1 101"), answer)
            raw.sendall(b"\x88\x82\0\0\0\0" + code.to_bytes(2, "big"))
            said = raw.makefile("rb").read()
            may_be_sent = code not in (1005, 1006, 1015)
            answered = int.from_bytes(said[2:4], "big")
            self.assertEqual((said[0], answered), (0x88, code if may_be_sent else 1002), code)
        self.assertIsNone(self.server.process.poll())

    def upgrade(self, version, query=""):
        raw = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
        self.addCleanup(raw.close)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET /ws/{FACILITY}{query} HTTP/1.1", "Host: a", "Connection: Upgrade"]
        lines += ["Upgrade: websocket", f"Sec-WebSocket-Key: {key}", version, "", ""]
        raw.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += raw.recv(1)
        return raw, answer

    def test_protocol_support(self):
        browser = self.connect("?subscribe-broadcast", subprotocols=["unittestprotocol"])
        self.assertEqual(browser.subprotocol, "unittestprotocol")
        browser = self.connect("?subscribe-broadcast")
        self.assertNotIn("Sec-WebSocket-Protocol", browser.response.headers)

    def test_binary_message_publish_broadcast(self):
        browser = self.connect("?publish-broadcast")
        browser.send(b"\x00\x12\xaa")
        browser.close()
        self.assertEqual(self.broker.get(f"{PREFIX}:broadcast:{FACILITY}"), b"\x00\x12\xaa")

    # What ws4redis does not do.

    def test_logout_closes_the_sockets_of_its_session_and_no_others(self):
        tablet = self.connect("?subscribe-user", self.login("john"))
        phone = self.client
        self.client = self.client_class()
        laptop = self.connect("?subscribe-user", self.login("john"))
        phone.get("/leave/")
        with self.assertRaises(ConnectionClosed) as closed:
            tablet.recv(timeout=5)
        self.assertEqual(closed.exception.rcvd.code, 4403)
        self.publisher(users="john").publish_message("still there", 0)
        self.assertEqual(laptop.recv(timeout=5), "still there")

    def test_what_is_for_others_is_not_heard(self):
        john = self.connect("?subscribe-user&subscribe-session", self.login("john"))
        everything = "&".join(f"subscribe-{who}" for who in ("user", "group", "session"))
        nobody = self.connect(f"?{everything}&subscribe-broadcast")
        self.publisher(users="mary", groups="chatusers").publish_message("for others", 0)
        self.publisher(users="john", broadcast=True).publish_message("for these", 0)
        self.assertEqual(john.recv(timeout=5), "for these")
        self.assertEqual(nobody.recv(timeout=5), "for these")


class SessionsInTheDatabase(Suite, RedisTestCase, LiveServerTestCase):
    """wsloop asks the project."""


class SessionsInRedis(Suite, RedisTestCase, LiveServerTestCase):
    """wsloop reads the sessions of Django's own Redis cache."""

    backend = "django.core.cache.backends.redis.RedisCache"

    def settings(self):
        cache = {"BACKEND": self.backend, "LOCATION": self.redis.url, "KEY_PREFIX": "site"}
        return {
            **super().settings(),
            "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
            "CACHES": {"default": cache},
        }


class SessionsInDjangoRedis(SessionsInRedis):
    """wsloop reads the sessions of django-redis."""

    backend = "django_redis.cache.RedisCache"


class EmbeddedBroker(Suite, RedisTestCase, LiveServerTestCase):
    """No Redis: the package talks to wsloop itself."""

    def settings(self):
        address = f"127.0.0.1:{free_port()}"
        settings = {**super().settings(), "WSLOOP_REDIS": None, "WSLOOP_RESP": address}
        self.redis_url = f"redis://{address}"
        return settings

    def start(self):
        if hasattr(self, "server"):
            # Its port is wanted again.
            self.server.close()
        super().start()
