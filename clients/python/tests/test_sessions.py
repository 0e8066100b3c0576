"""What becomes of the sockets of a session that gets another key, or ends."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_out
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as SignedSession
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import HttpResponse
from django.test import (
    AsyncClient,
    Client,
    RequestFactory,
    SimpleTestCase,
    TransactionTestCase,
    override_settings,
)
from wsloop.django.checks import middleware as middleware_check
from wsloop.django.middleware import close_old_sockets
from wsloop.django.start import check_settings

from .support import Redis, RedisTestCase
from .test_django import CALLBACKS, make_users

ENGINES = "django.contrib.sessions.backends."
SESSIONS_MIDDLEWARE = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "wsloop.django.middleware.close_old_sockets"


class SocketsTestCase(RedisTestCase):
    databases = {"default", "other"}

    def setUp(self):
        super().setUp()
        self.entered(override_settings(WSLOOP_REDIS=self.redis.url))
        self.control = self.listen("wsloop:control")

    def closed(self, wait=0.2):
        """Whose sockets were closed since this was last asked: session keys and codes."""
        closed = []
        while message := self.control.get_message(timeout=wait):
            order = json.loads(message["data"])
            closed.append((order["disconnect"]["session"], order.get("code", 4403)))
        return closed

    def key(self):
        return self.client.cookies["sessionid"].value


class Keys(SocketsTestCase, TransactionTestCase):
    """The ways in which a session gets another key."""

    engine = ENGINES + "db"

    def setUp(self):
        super().setUp()
        make_users()
        self.entered(override_settings(SESSION_ENGINE=self.engine))

    def enter(self, name):
        self.client.get(f"/enter/{name}/")
        return self.key()

    def test_a_login_over_a_login(self):
        john = self.enter("john")
        self.assertEqual(self.closed(), [])
        self.assertNotEqual(self.enter("mary"), john)
        self.assertEqual(self.closed(), [(john, 4001)])

    def test_a_login_over_a_session_that_nobody_owned(self):
        self.client.get("/cart/")
        before = self.key()
        self.assertEqual(self.closed(), [])
        self.enter("john")
        self.assertEqual(self.closed(), [(before, 4001)])

    def test_a_change_of_the_password(self):
        before = self.enter("john")
        self.client.get("/password/")
        self.assertEqual(self.closed(), [(before, 4001)])
        after = self.key()
        self.client.get("/leave/")
        self.assertEqual(self.closed(), [(after, 4403)])

    def test_a_flush(self):
        before = self.enter("john")
        self.client.get("/flush/")
        self.assertEqual(self.closed(), [(before, 4001)])

    def test_a_logout_is_final(self):
        before = self.enter("john")
        self.client.get("/leave/")
        self.assertEqual(self.closed(), [(before, 4403)])

    def test_a_login_before_an_error_or_a_stream(self):
        before = self.enter("john")
        self.client.raise_request_exception = False
        self.assertEqual(self.client.get("/enter-and-fail/mary/").status_code, 500)
        self.assertEqual(self.closed(), [(before, 4001)])
        before = self.enter("john")
        self.closed()
        answer = self.client.get("/enter-and-stream/mary/")
        self.assertEqual(b"".join(answer.streaming_content), b"welcome")
        self.assertEqual(self.closed(), [(before, 4001)])

    def test_other_requests_close_nothing_and_do_not_look_at_the_session(self):
        self.enter("john")
        with self.assertNumQueries(0):
            answer = self.client.get("/")
        self.assertFalse(answer.wsgi_request.session.accessed)
        self.assertNotIn("Vary", answer)
        self.client.get("/cart/")
        self.client.get("/enter/john/")
        Client().get("/enter/mary/")
        self.assertEqual(self.closed(), [])

    def test_a_session_that_has_expired_closes_nothing_by_itself(self):
        key = self.enter("john")
        self.client.session.delete(key)
        self.client.get("/wsloop/auth/", headers={"X-Original-URI": "/ws/f?subscribe-user"})
        self.assertEqual(self.closed(), [])
        # That response has taken the cookie away.
        self.client.cookies["sessionid"] = key
        self.client.get("/cart/")
        self.assertEqual(self.closed(), [(key, 4001)])

    def changed(self, key):
        session = SessionStore(key)
        session.modified = True
        return session

    def test_a_cookie_that_is_no_key_closes_nothing(self):
        for cookie in ["", "short", "a:b" * 8, "wsloop:control", "ü\n" * 8]:
            with self.subTest(cookie), self.assertNoLogs("wsloop"):
                request = RequestFactory().get("/")
                request.COOKIES["sessionid"] = cookie
                request.session = self.changed("k" * 32)
                close_old_sockets(lambda request: HttpResponse())(request).close()
        self.assertEqual(self.closed(), [])

    def test_the_response_goes_first(self):
        request = RequestFactory().get("/")
        request.COOKIES["sessionid"] = "a" * 32
        request.session = self.changed("b" * 32)
        response = close_old_sockets(lambda request: HttpResponse())(request)
        self.assertEqual(self.closed(), [])
        response.close()
        self.assertEqual(self.closed(), [("a" * 32, 4001)])

    def test_a_redis_that_is_away_costs_nothing_but_a_line_in_the_log(self):
        gone = Redis()
        gone.close()
        self.enter("john")
        with override_settings(WSLOOP_REDIS=gone.url), self.assertLogs("wsloop", "ERROR"):
            self.assertEqual(self.client.get("/enter/mary/").content, b"welcome")

    def test_by_asyncio(self):
        async def scenario():
            client = AsyncClient()
            await client.get("/enter-by-asyncio/john/")
            before = client.cookies["sessionid"].value
            await client.get("/enter-by-asyncio/mary/")
            return before

        self.assertEqual([(asyncio.run(scenario()), 4001)], self.closed())

    def test_who_hangs_up_before_the_response_has_logged_in_all_the_same(self):
        async def get_response(request):
            request.session = self.changed("b" * 32)
            raise asyncio.CancelledError

        async def scenario():
            request = RequestFactory().get("/")
            request.COOKIES["sessionid"] = "a" * 32
            with self.assertRaises(asyncio.CancelledError):
                await close_old_sockets(get_response)(request)

        asyncio.run(scenario())
        self.assertEqual(self.closed(), [("a" * 32, 4001)])


class KeysInTheCache(Keys):
    engine = ENGINES + "cache"


class KeysInBoth(Keys):
    engine = ENGINES + "cached_db"


class SignedCookies(SocketsTestCase, TransactionTestCase):
    def test_such_sessions_have_no_key_and_no_sockets(self):
        make_users()
        for engine in (ENGINES + "signed_cookies", "tests.project.signed"):
            with override_settings(SESSION_ENGINE=engine), self.assertNoLogs("wsloop"):
                for path in ("enter/john", "enter/mary", "password", "flush", "cart", "leave"):
                    self.assertEqual(self.client.get(f"/{path}/").status_code, 200)
                self.client.cookies.clear()
        self.assertEqual(self.closed(), [])


class Leaving(SocketsTestCase, TransactionTestCase):
    """Whoever wants to leave can, whatever else is broken, and the sockets are closed if they can be."""

    def setUp(self):
        super().setUp()
        make_users()
        self.client.get("/enter/john/")

    def leave(self):
        """The answer; the session is gone whatever it is."""
        key = self.key()
        answer = self.client.get("/leave/")
        self.assertFalse(SessionStore().exists(key))
        return answer.status_code

    def test_settings_that_are_wrong_are_logged(self):
        for settings in [
            {"WSLOOP_REDIS": "redsi://127.0.0.1"},
            {"WSLOOP_REDIS": {"hots": "127.0.0.1"}},
            {"WSLOOP_REDIS": 7},
            {"WSLOOP_EXPIRE": 0.5},
            {"WSLOOP_PREFIX": "user"},
        ]:
            with self.subTest(settings), override_settings(**settings):
                self.client.get("/enter/john/")
                with self.assertLogs("wsloop", "ERROR"):
                    self.assertEqual(self.leave(), 200)

    def test_what_fails_in_between_is_logged_and_the_sockets_are_closed(self):
        signals = "wsloop.django.signals."
        for what in ["session_of", "router.db_for_write", "transaction.get_connection"]:
            request = RequestFactory().get("/")
            request.session = SessionStore()
            request.session.create()
            key = request.session.session_key
            with self.subTest(what), self.assertLogs("wsloop", "ERROR"):
                with mock.patch(signals + what, side_effect=RuntimeError("it is broken")):
                    # Django's engine asks for some of it as well.
                    with mock.patch.object(SessionStore, "delete"):
                        user_logged_out.send(User, request=request, user=None)
            self.assertEqual(self.closed(), [(key, 4403)])

    def test_in_a_transaction_they_are_closed_when_it_is_committed(self):
        key = self.key()
        with transaction.atomic():
            self.client.get("/leave/")
            self.assertEqual(self.closed(), [])
        self.assertEqual(self.closed(), [(key, 4403)])

    def test_and_not_when_it_is_rolled_back(self):
        key = self.key()
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            self.client.get("/leave/")
            1 / 0
        self.assertTrue(SessionStore().exists(key))
        self.assertEqual(self.closed(), [])

    def test_a_logout_that_was_rolled_back_inside_the_request_ends_the_sockets(self):
        """The browser has lost its cookie."""
        key = self.key()
        self.assertEqual(self.client.get("/leave-in-vain/").content, b"not quite")
        self.assertEqual(self.client.cookies["sessionid"].value, "")
        self.assertEqual(self.closed(), [(key, 4001)])

    @override_settings(SESSION_ENGINE=ENGINES + "cached_db")
    def test_so_they_are_with_sessions_in_both(self):
        self.client = Client()
        self.client.get("/enter/john/")
        key = self.key()
        with transaction.atomic():
            self.client.get("/leave/")
            self.assertEqual(self.closed(), [])
        self.assertEqual(self.closed(), [(key, 4403)])

    @override_settings(SESSION_ENGINE=ENGINES + "cache")
    def test_sessions_in_the_cache_wait_for_no_transaction(self):
        self.client = Client()
        self.client.get("/enter/john/")
        with transaction.atomic():
            key = self.key()
            self.client.get("/leave/")
            self.assertEqual(self.closed(), [(key, 4403)])

    @override_settings(DATABASE_ROUTERS=["tests.project.routers.SessionsElsewhere"])
    def test_it_is_the_sessions_own_database_that_counts(self):
        self.client = Client()
        for alias, at_once in [("default", True), ("other", False)]:
            self.client.get("/enter/john/")
            self.closed()
            key = self.key()
            with transaction.atomic(using=alias):
                self.client.get("/leave/")
                self.assertEqual(self.closed(), [(key, 4403)] if at_once else [])
            self.assertEqual(self.closed(), [] if at_once else [(key, 4403)])


@override_settings(
    SESSION_ENGINE=ENGINES + "cache",
    AUTHENTICATION_BACKENDS=["tests.project.people.Backend"],
)
class LeavingWithoutADatabase(RedisTestCase, SimpleTestCase):
    """Any question to the database is an error here."""

    def enter(self, session):
        session.update({"_auth_user_id": "1", "_auth_user_backend": "tests.project.people.Backend"})
        session.save()
        self.client.cookies["sessionid"] = session.session_key

    def test_who_is_in_the_cache_can_leave(self):
        control = self.listen("wsloop:control")
        session = CacheSession()
        self.enter(session)
        with override_settings(WSLOOP_REDIS=self.redis.url), self.assertNoLogs("wsloop"):
            self.assertEqual(self.client.get("/leave/").content, b"bye")
        self.assertFalse(session.exists(session.session_key))
        self.assertIn(session.session_key.encode(), self.heard(control))

    @override_settings(SESSION_ENGINE=ENGINES + "signed_cookies")
    def test_so_can_who_is_in_a_cookie(self):
        self.enter(SignedSession())
        with override_settings(WSLOOP_REDIS="redsi://misspelt"), self.assertNoLogs("wsloop"):
            self.assertEqual(self.client.get("/leave/").content, b"bye")
        self.assertEqual(self.client.cookies["sessionid"].value, "")


class Start(SimpleTestCase):
    def test_wrong_settings_are_told_by_their_names(self):
        for name, value in [
            ("WSLOOP_REDIS", "redsi://127.0.0.1"),
            ("WSLOOP_REDIS", {"hots": "127.0.0.1"}),
            ("WSLOOP_REDIS", {"port": "a port"}),
            ("WS4REDIS_CONNECTION", {"hots": "127.0.0.1"}),
            ("WS4REDIS_CONNECTION", 7),
            ("WSLOOP_PREFIX", "user"),
            ("WS4REDIS_PREFIX", 7),
            ("WSLOOP_EXPIRE", 1.5),
            ("WS4REDIS_EXPIRE", "an hour"),
            ("WSLOOP_HEARTBEAT", 7),
            ("WSLOOP_RESP", 6380),
            ("WSLOOP_RESP", "127.0.0.1"),
            ("WSLOOP_URI", "https://example.com/ws/"),
            ("WSLOOP_URL_PREFIX", "ws"),
            ("WEBSOCKET_URL", "/ws"),
            ("WSLOOP_ALLOWED_CHANNELS", CALLBACKS + "no_such_callback"),
            ("WS4REDIS_ALLOWED_CHANNELS", ""),
            ("WS4REDIS_PROCESS_REQUEST", "no.such.module"),
            ("WSLOOP_GROUPS", "tests.project.settings.SECRET_KEY"),
            ("WSLOOP_GROUPS", ["staff"]),
        ]:
            with self.subTest(name=name, value=value), override_settings(**{name: value}):
                with self.assertRaisesRegex(ImproperlyConfigured, name):
                    check_settings()

    def test_what_can_be_meant_is_taken(self):
        for settings in [
            {},
            {"WSLOOP_REDIS": None},
            {"WSLOOP_REDIS": "redis+unix:///run/redis.sock?db=1"},
            {"WSLOOP_REDIS": "rediss://user:pass@example.com:6380/1"},
            {"WSLOOP_REDIS": "redis://[::1]"},
            {"WS4REDIS_CONNECTION": {"unix_socket_path": "/run/redis.sock", "db": 1}},
            {"WS4REDIS_EXPIRE": None, "WS4REDIS_PREFIX": None, "WS4REDIS_HEARTBEAT": None},
            {"WS4REDIS_EXPIRE": -1, "WSLOOP_HEARTBEAT": b"beat", "WSLOOP_RESP": "[::1]:6380"},
            {"WEBSOCKET_URL": "/", "WSLOOP_URI": "wss://example.com:8443/a/ws/"},
            {"WSLOOP_ALLOWED_CHANNELS": CALLBACKS + "denies", "WSLOOP_GROUPS": lambda user: []},
        ]:
            with self.subTest(settings), override_settings(**settings):
                check_settings()

    def test_the_project_does_not_start_with_them(self):
        root = str(Path(__file__).parents[1])
        environment = {
            **os.environ,
            "PROJECT_SETTINGS": json.dumps({"WSLOOP_REDIS": "redsi://127.0.0.1"}),
            "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
            "DJANGO_SETTINGS_MODULE": "tests.project.settings",
        }
        line = [sys.executable, "-c", "import django.core.wsgi as w; w.get_wsgi_application()"]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        self.assertRegex(done.stderr, "ImproperlyConfigured: WSLOOP_REDIS is no URL of a Redis")

    def test_the_middleware_is_asked_for(self):
        for middleware, is_missed in [
            ([OURS, SESSIONS_MIDDLEWARE], False),
            ([SESSIONS_MIDDLEWARE], True),
            ([SESSIONS_MIDDLEWARE, OURS], True),
            ([], False),
        ]:
            with self.subTest(middleware), override_settings(MIDDLEWARE=middleware):
                self.assertEqual([each.id for each in middleware_check()], ["wsloop.W007"] * is_missed)
        with override_settings(
            MIDDLEWARE=[SESSIONS_MIDDLEWARE], SESSION_ENGINE=ENGINES + "signed_cookies"
        ):
            self.assertEqual(middleware_check(), [])
