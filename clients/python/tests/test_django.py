"""The Django app: login, logout, templates, the view that wsloop asks, and settings."""

import json
import tempfile

from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, RequestContext, Template
from django.test import Client, RequestFactory, TestCase, TransactionTestCase, override_settings
from wsloop import SELF, RedisPublisher
from wsloop.django import conf

from .support import Redis, RedisTestCase
from .test_publisher import TextRole

CALLBACKS = "tests.project.callbacks."
ASKED = {"HTTP_X_ORIGINAL_URI": "/ws/fac?subscribe-broadcast&Subscribe-User&echo&x=1"}


def make_users():
    chatusers = Group.objects.create(name="chatusers")
    for name in ("john", "mary"):
        User.objects.create_user(name, password="secret").groups.add(chatusers)


class Login(RedisTestCase, TransactionTestCase):
    def setUp(self):
        super().setUp()
        make_users()
        self.entered(override_settings(WSLOOP_REDIS=self.redis.url, WSLOOP_PREFIX="p"))

    def test_login_notes_name_and_groups(self):
        self.client.login(username="john", password="secret")
        self.assertEqual(self.client.session["wsloop:username"], "john")
        self.assertEqual(self.client.session["ws4redis:memberof"], ["chatusers"])

    @override_settings(WSLOOP_GROUPS=CALLBACKS + "more_groups")
    def test_groups_may_be_others_than_djangos(self):
        self.client.login(username="john", password="secret")
        self.assertEqual(self.client.session["ws4redis:memberof"], ["everyone", "own-john"])

    def test_one_group_is_not_its_letters(self):
        for one, expected in [("one_group", ["staff"]), ("no_groups", [])]:
            with override_settings(WSLOOP_GROUPS=CALLBACKS + one):
                self.client.login(username="john", password="secret")
            self.assertEqual(self.client.session["ws4redis:memberof"], expected)
        # One that the project has noted itself.
        request = RequestFactory().get("/")
        request.user = User.objects.get(username="john")
        request.session = {"ws4redis:memberof": "staff"}
        publisher = RedisPublisher(request=request, facility="fac", groups=SELF)
        self.assertEqual(publisher.channels, ("p:group:staff:fac",))

    def test_a_login_of_whom_no_text_names_notes_no_name(self):
        request = RequestFactory().get("/")
        for name, expected in [(b"john", ""), (TextRole.ADMIN, "admin")]:
            request.session = SessionStore()
            john = User(username=name, pk=User.objects.get(username="john").pk)
            user_logged_in.send(User, request=request, user=john)
            self.assertEqual(request.session["wsloop:username"], expected)

    def test_self_is_who_is_logged_in(self):
        self.client.login(username="john", password="secret")
        request = RequestFactory().get("/")
        request.session, request.user = self.client.session, User.objects.get(username="john")
        publisher = RedisPublisher(
            request=request, facility="f", users=SELF, groups=SELF, sessions=SELF
        )
        key = self.client.session.session_key
        expected = ("p:user:john:f", "p:group:chatusers:f", f"p:session:{key}:f")
        self.assertEqual(publisher.channels, expected)
        request.user, request.session = AnonymousUser(), SessionStore("doesnotexist")
        publisher = RedisPublisher(request=request, facility="f", users=SELF, sessions=SELF)
        self.assertEqual(publisher.channels, ())

    def test_logout_closes_this_sessions_sockets_when_the_session_is_gone(self):
        self.client.login(username="john", password="secret")
        key = self.client.session.session_key
        pubsub = self.listen("p:wsloop:control")
        self.client.get("/leave/")
        expected = {"disconnect": {"session": key}, "reason": "logged out"}
        self.assertEqual(json.loads(self.heard(pubsub)), expected)
        self.assertFalse(SessionStore().exists(key))

    def test_logout_without_a_session_tells_nobody(self):
        pubsub = self.listen("p:wsloop:control")
        self.assertEqual(self.client.get("/leave/").status_code, 200)
        self.assertIsNone(pubsub.get_message(timeout=0.2))

    def test_logout_works_while_redis_is_away(self):
        gone = Redis()
        gone.close()
        self.client.login(username="john", password="secret")
        with override_settings(WSLOOP_REDIS=gone.url), self.assertLogs("wsloop", "ERROR"):
            self.assertEqual(self.client.get("/leave/").content, b"bye")
        self.assertNotIn("_auth_user_id", self.client.session)


class SignedCookies(TestCase):
    def test_such_a_session_has_no_name(self):
        make_users()
        for engine in ("django.contrib.sessions.backends.signed_cookies", "tests.project.signed"):
            with self.subTest(engine), override_settings(SESSION_ENGINE=engine):
                browser = Client()
                browser.login(username="john", password="secret")
                answer = browser.get("/wsloop/auth/", **ASKED)
                self.assertEqual(answer["X-Wsloop-User"], "john")
                self.assertNotIn("X-Wsloop-Session", answer)


class Auth(TestCase):
    def setUp(self):
        make_users()

    def ask(self, **headers):
        return self.client.get("/wsloop/auth/", **{**ASKED, **headers})

    def login(self):
        self.client.login(username="john", password="secret")

    def granted(self, answer):
        names = ("User", "Groups", "Session", "Allow")
        return {name: answer[f"X-Wsloop-{name}"] for name in names if f"X-Wsloop-{name}" in answer}

    def test_who_is_logged_in_is_named(self):
        self.login()
        answer = self.ask()
        key = self.client.session.session_key
        expected = {"User": "john", "Groups": "chatusers", "Session": key}
        self.assertEqual((answer.status_code, self.granted(answer)), (200, expected))
        self.assertIn("no-store", answer["Cache-Control"])

    def test_groups_are_those_of_now(self):
        self.login()
        User.objects.get(username="john").groups.clear()
        self.assertEqual(self.granted(self.ask())["Groups"], "")

    def test_nobody_is_nobody(self):
        self.client.cookies["sessionid"] = "doesnotexist0000"
        answer = self.ask()
        self.assertEqual((answer.status_code, self.granted(answer)), (200, {}))

    def test_a_session_without_a_login_has_its_key(self):
        session = SessionStore()
        session["cart"] = 1
        session.save()
        self.client.cookies["sessionid"] = session.session_key
        self.assertEqual(self.granted(self.ask()), {"Session": session.session_key})

    def test_names_are_utf_8_and_never_two(self):
        self.login()
        john = User.objects.get(username="john")
        for name in ("a,staff", "a:b", " c", "d\n", "é" * 128, "grün"):
            john.groups.add(Group.objects.create(name=name))
        with self.assertLogs("wsloop", "WARNING"):
            groups = self.ask()["X-Wsloop-Groups"]
        self.assertEqual(set(groups.encode("latin-1").decode().split(",")), {"chatusers", "grün"})

    def rename(self, name):
        User.objects.filter(groups__name="chatusers").exclude(username="mary").update(username=name)

    def test_a_user_whose_name_cannot_be_told_hears_what_needs_no_name(self):
        self.login()
        key = self.client.session.session_key
        broadcast = {"HTTP_X_ORIGINAL_URI": "/ws/fac?subscribe-broadcast&subscribe-group"}
        for name in ("john\n", " john", "john\u00a0", "a\0b", "a:b", "é" * 128):
            self.rename(name)
            with self.subTest(name), self.assertLogs("wsloop", "WARNING"):
                answer = self.ask(**broadcast)
                granted = {"Groups": "chatusers", "Session": key}
                self.assertEqual((answer.status_code, self.granted(answer)), (200, granted))
            for option in ("subscribe-user", "Publish-User"):
                uri = {"HTTP_X_ORIGINAL_URI": f"/ws/fac?{option}&subscribe-broadcast"}
                with self.assertLogs("wsloop", "WARNING"):
                    answer = self.ask(**uri)
                self.assertEqual((answer.status_code, self.granted(answer)), (403, {}))
                self.assertContains(answer, "user name", status_code=403)
                # What a callback takes away needs no name.
                callback = CALLBACKS + "only_broadcast"
                with override_settings(WSLOOP_ALLOWED_CHANNELS=callback):
                    self.assertEqual(self.ask(**uri).status_code, 200)

    @override_settings(WSLOOP_PROCESS_REQUEST=CALLBACKS + "named_by_bytes")
    def test_nor_does_one_whose_name_is_no_text(self):
        with self.assertLogs("wsloop", "WARNING"):
            answer = self.ask(HTTP_X_ORIGINAL_URI="/ws/fac?subscribe-broadcast")
        self.assertEqual((answer.status_code, self.granted(answer)), (200, {"Groups": ""}))
        with self.assertLogs("wsloop", "WARNING"):
            answer = self.ask(HTTP_X_ORIGINAL_URI="/ws/fac?subscribe-user")
        self.assertContains(answer, "user name", status_code=403)

    def test_groups_whose_names_cannot_be_told_are_left_out(self):
        self.login()
        groups = {"HTTP_X_ORIGINAL_URI": "/ws/fac?subscribe-group"}
        Group.objects.update(name="a:b")
        with self.assertLogs("wsloop", "WARNING"):
            self.assertEqual(self.ask().status_code, 200)
        with self.assertLogs("wsloop", "WARNING"):
            self.assertEqual(self.ask(**groups).status_code, 403)
        User.objects.get(username="john").groups.add(Group.objects.create(name="staff"))
        with self.assertLogs("wsloop", "WARNING"):
            self.assertEqual(self.granted(self.ask(**groups))["Groups"], "staff")
        User.objects.get(username="john").groups.clear()
        self.assertEqual(self.ask(**groups).status_code, 200)

    def test_names_that_only_look_unusual_are_told(self):
        self.login()
        for name in ("Zoë", "می\u200cخواهم", "👩\u200d🚀", "a, b", "voilà"):
            self.rename(name)
            answer = self.ask()
            self.assertEqual(answer["X-Wsloop-User"].encode("latin-1").decode(), name)

    @override_settings(WSLOOP_GROUPS=CALLBACKS + "odd_groups")
    def test_groups_of_the_project_are_names_or_are_left_out(self):
        with self.assertLogs("wsloop", "WARNING"):
            self.login()
        expected = ["lazy", "chatusers", "7"]
        self.assertEqual(self.client.session["ws4redis:memberof"], expected)
        with self.assertLogs("wsloop", "WARNING"):
            self.assertEqual(self.ask()["X-Wsloop-Groups"], ",".join(expected))

    def test_callbacks_of_ws4redis_decide(self):
        self.login()
        both = "subscribe-user,subscribe-broadcast"
        for name, status, allow in [
            ("only_logged_in", 200, both),
            ("only_broadcast", 200, "subscribe-broadcast"),
            ("nothing", 200, ""),
            ("denies", 403, None),
        ]:
            for setting in ("WS4REDIS_ALLOWED_CHANNELS", "WSLOOP_ALLOWED_CHANNELS"):
                with self.subTest(name), override_settings(**{setting: CALLBACKS + name}):
                    answer = self.ask()
                    self.assertEqual(answer.status_code, status)
                    self.assertEqual(self.granted(answer).get("Allow"), allow)
        with override_settings(WS4REDIS_ALLOWED_CHANNELS=CALLBACKS + "only_logged_in"):
            self.client.logout()
            answer = self.ask()
            self.assertEqual((answer.status_code, answer.content), (403, b"log in first"))

    def test_a_callback_may_be_no_name_but_a_callable(self):
        with override_settings(WS4REDIS_ALLOWED_CHANNELS=lambda request, channels: channels[:1]):
            self.assertEqual(self.ask()["X-Wsloop-Allow"], "subscribe-broadcast")

    def test_whatever_goes_wrong_grants_nothing(self):
        wrong = ["returns_none", "returns_text", "attribute_error", "no_such_callback"]
        for name in [*(CALLBACKS + each for each in wrong), "no.such.module", ""]:
            with self.subTest(name), override_settings(WS4REDIS_ALLOWED_CHANNELS=name):
                with self.assertLogs("wsloop", "ERROR"):
                    answer = self.ask()
                self.assertEqual((answer.status_code, self.granted(answer)), (500, {}))

    @override_settings(WS4REDIS_ALLOWED_CHANNELS=CALLBACKS + "by_path")
    def test_a_callback_sees_the_websockets_path_and_query(self):
        uri = "/ws/gr%C3%BC%C3%9Fe?subscribe-broadcast&token=a+b"
        self.assertEqual(self.ask(HTTP_X_ORIGINAL_URI=uri).status_code, 200)
        self.assertEqual(self.ask().status_code, 403)

    @override_settings(WS4REDIS_PROCESS_REQUEST=CALLBACKS + "process_request")
    def test_a_project_may_find_out_by_itself_who_it_is(self):
        self.assertEqual(self.granted(self.ask()), {"User": "from a token", "Groups": ""})

    def test_a_script_in_a_page_is_told_nothing(self):
        self.login()
        for headers in ({"HTTP_SEC_FETCH_MODE": "cors"}, {"HTTP_SEC_FETCH_MODE": "navigate"}):
            answer = self.ask(**headers)
            self.assertEqual((answer.status_code, self.granted(answer)), (404, {}))
        self.assertEqual(self.client.get("/wsloop/auth/").status_code, 404)


@override_settings(WEBSOCKET_URL="/sockets/", WS4REDIS_HEARTBEAT="--</script>&--")
class Templates(TestCase):
    def render(self, text, secure=False):
        request = RequestFactory().get("/", secure=secure)
        return Template("{% load wsloop %}" + text).render(RequestContext(request))

    def test_variables_of_ws4redis(self):
        text = "{{ WEBSOCKET_URI }} {{ WS4REDIS_HEARTBEAT }}"
        escaped = '"--\\u003C/script\\u003E\\u0026--"'
        self.assertEqual(self.render(text), f"ws://testserver/sockets/ {escaped}")
        secure = self.render("{{ WEBSOCKET_URI }}", secure=True)
        self.assertEqual(secure, "wss://testserver/sockets/")
        with override_settings(WS4REDIS_HEARTBEAT=None, WSLOOP_URI="ws://elsewhere/ws/"):
            self.assertEqual(self.render(text), "ws://elsewhere/ws/ null")

    def test_tags(self):
        self.assertEqual(self.render("{% websocket_uri %}"), "ws://testserver/sockets/")
        escaped = '"--\\u003C/script\\u003E\\u0026--"'
        self.assertEqual(self.render("{% websocket_heartbeat %}"), escaped)
        script = '<script src="/static/wsloop/wsloop.js"></script>'
        self.assertEqual(self.render("{% wsloop_script %}"), script)

    def test_a_page_without_a_request_is_told_what_it_needs(self):
        page = Template("{% load wsloop %}{% websocket_uri %}")
        with self.assertRaisesRegex(ImproperlyConfigured, "context_processors.request"):
            page.render(Context())
        with override_settings(WSLOOP_URI="wss://elsewhere/ws/"):
            self.assertEqual(page.render(Context()), "wss://elsewhere/ws/")

    def test_the_scripts_are_static_files(self):
        for name, inside in [("wsloop.js", "WS4Redis"), ("wsloop.mjs", "as WSLoop}")]:
            path = finders.find(f"wsloop/{name}")
            self.assertIn(inside, open(path, encoding="utf-8").read())


class Flags(TestCase):
    """What the settings make of the server's command line."""

    def flags(self, **settings):
        with override_settings(**settings):
            return conf.command("127.0.0.1:8000")

    def test_ws4redis_settings_are_read_as_they_are(self):
        made = self.flags(
            WEBSOCKET_URL="/w/",
            WS4REDIS_CONNECTION={"host": "redis.example", "port": 6390, "db": 2},
            WS4REDIS_PREFIX="demo",
            WS4REDIS_EXPIRE=5,
            WS4REDIS_HEARTBEAT="--heartbeat--",
        )
        expected = {
            "url-prefix": "/w/",
            "redis": "redis://redis.example:6390/2",
            "prefix": "demo",
            "expire": "5",
            "heartbeat": "--heartbeat--",
            "auth-url": "http://127.0.0.1:8000/wsloop/auth/",
        }
        self.assertEqual((made.flags, made.secrets, made.notes), (expected, {}, []))

    def test_defaults_are_those_of_ws4redis(self):
        flags = self.flags().flags
        self.assertEqual(flags["redis"], "redis://127.0.0.1:6379")
        self.assertEqual((flags["url-prefix"], flags["expire"]), ("/ws/", "3600"))
        self.assertEqual(self.flags(WS4REDIS_EXPIRE=None).flags["expire"], "0")

    def test_wsloop_settings_win_and_are_flags(self):
        flags = self.flags(
            WS4REDIS_PREFIX="old",
            WSLOOP_PREFIX="new",
            WSLOOP_LISTEN=["127.0.0.1:1", "127.0.0.1:2"],
            WSLOOP_DEMO=False,
            WSLOOP_MAX_MESSAGE_SIZE="2MiB",
            WSLOOP_AUTH_URL="http://app:80/auth/",
            WSLOOP_BINARY="/opt/wsloop",
        ).flags
        self.assertEqual(flags["prefix"], "new")
        self.assertEqual(flags["listen"], "127.0.0.1:1,127.0.0.1:2")
        self.assertEqual((flags["demo"], flags["max-message-size"]), ("off", "2MiB"))
        self.assertEqual(flags["auth-url"], "http://app:80/auth/")
        self.assertNotIn("binary", flags)

    def test_no_redis_is_the_embedded_broker(self):
        for redis in (None, ""):
            flags = self.flags(WSLOOP_REDIS=redis).flags
            self.assertEqual(flags["resp"], "127.0.0.1:6380")
            self.assertNotIn("redis", flags)
        flags = self.flags(WSLOOP_REDIS=None, WSLOOP_RESP="127.0.0.1:7").flags
        self.assertEqual(flags["resp"], "127.0.0.1:7")

    def test_a_redis_with_a_password_is_no_flag(self):
        given = {"host": "h", "password": "p@ss/w:rd", "username": "u"}
        made = self.flags(WS4REDIS_CONNECTION=given)
        self.assertEqual(made.secret_redis, "redis://u:p%40ss%2Fw%3Ard@h:6379/0")
        self.assertNotIn("redis", made.flags)

    def test_every_way_to_write_a_redis(self):
        for given, url in [
            ("unix:///run/r.sock?db=1", "redis+unix:///run/r.sock?db=1"),
            ("unix:///r.sock?max_connections=9&db=1", "redis+unix:///r.sock?db=1"),
            ("redis+unix:///r.sock?max_connections=9", "redis+unix:///r.sock"),
            ("redis://u:p%3F@h:1/2?max_connections=9", "redis://u:p%3F@h:1/2"),
            ("redis://h/2?db=3&max_connections=9", "redis://h/3"),
            ("valkey://h?db=3", "valkey://h/3"),
            ({"unix_socket_path": "/run/r.sock"}, "redis+unix:///run/r.sock?db=0"),
            ({"host": "::1"}, "redis://[::1]:6379/0"),
            ({"ssl": True}, "rediss://localhost:6379/0"),
            ({"password": "p"}, "redis://:p@localhost:6379/0"),
        ]:
            self.assertEqual(conf.redis_url(given), url)
        with self.assertRaises(conf.Misconfigured):
            conf.redis_url(object())

    def test_a_cluster(self):
        arguments = {"startup_nodes": ["h", ("::1", 7)], "ssl": True}
        made = self.flags(WSLOOP_REDIS=arguments, WSLOOP_REDIS_SHARDED=True)
        self.assertEqual(made.flags["redis"], "rediss+cluster://h:6379,[::1]:7")
        self.assertEqual(made.flags["redis-sharded"], "on")
        made = self.flags(WSLOOP_REDIS="valkey+cluster://u:p@h,k?max_connections=3")
        self.assertEqual(made.secret_redis, "redis+cluster://u:p@h:6379,k:6379")
        self.assertNotIn("redis-sharded", made.flags)

    def test_sentinels_and_several_redis(self):
        arguments = {"sentinels": ["h", "k:1"], "service_name": "a b", "db": 2}
        url = "redis+sentinel://h:26379,k:1/a%20b/2"
        for given in (url, arguments):
            made = self.flags(WSLOOP_REDIS=given)
            self.assertEqual((made.flags["redis"], made.secrets), (url, {}))
        urls = ["redis://h:1", "rediss+sentinel://h/main?max_connections=3"]
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"secret\n")
            file.flush()
            made = self.flags(
                WSLOOP_REDIS=urls,
                WSLOOP_REDIS_SENTINEL_USER="u",
                WSLOOP_REDIS_SENTINEL_PASSWORD=file.name,
            )
        self.assertEqual(made.flags["redis"], "redis://h:1 rediss+sentinel://h:26379/main/0")
        self.assertEqual(made.flags["redis-sentinel-user"], "u")
        self.assertEqual(made.flags["redis-sentinel-password"], file.name)
        self.assertEqual(made.secrets, {})
        arguments["sentinel_kwargs"] = {"username": "u", "password": "secret"}
        made = self.flags(WSLOOP_REDIS=arguments)
        self.assertEqual(made.flags["redis-sentinel-user"], "u")
        self.assertEqual(made.secrets, {"redis-sentinel-password": [b"secret"]})
        arguments["service_name"] = "other"
        arguments.pop("sentinel_kwargs")
        two = [arguments, {**arguments, "service_name": "b", "sentinel_kwargs": {"password": "p"}}]
        with self.assertRaises(conf.Misconfigured):
            self.flags(WSLOOP_REDIS=two)
        made = self.flags(WSLOOP_REDIS="redis+sentinel://u:p@[::1],h:7/main")
        self.assertEqual(made.secret_redis, "redis+sentinel://u:p@[::1]:26379,h:7/main/0")
        self.assertNotIn("redis", made.flags)

    def test_a_callback_is_asked_and_decides(self):
        flags = self.flags(
            WS4REDIS_ALLOWED_CHANNELS=CALLBACKS + "denies", **self.cached("redis://127.0.0.1")
        ).flags
        self.assertEqual(flags["allow"], "all")
        self.assertIn("auth-url", flags)
        self.assertNotIn("session-key", flags)
        with self.assertRaises(conf.Misconfigured):
            self.flags(WS4REDIS_ALLOWED_CHANNELS=lambda: None, ROOT_URLCONF="tests.project.no_urls")

    def test_a_project_without_the_view_knows_nobody(self):
        made = self.flags(ROOT_URLCONF="tests.project.no_urls")
        self.assertNotIn("auth-url", made.flags)
        self.assertEqual(len(made.notes), 1)

    def cached(self, location, backend="django.core.cache.backends.redis.RedisCache", **more):
        cache = {"BACKEND": backend, "LOCATION": location, **more}
        return {
            "SESSION_ENGINE": "django.contrib.sessions.backends.cache",
            "CACHES": {"default": cache},
        }

    def session_flags(self, settings):
        made = self.flags(**settings)
        names = ("session-cookie", "session-key", "session-format")
        return tuple(made.flags.get(name) for name in names), made.secrets

    def test_sessions_in_djangos_cache_on_the_same_redis(self):
        key = ":1:django.contrib.sessions.cache{}"
        place = "redis://localhost:6379/0"
        keyed = {"KEY_PREFIX": "site", "VERSION": 3}
        keyed_key = "site:3:django.contrib.sessions.cache{}"
        django_redis = "django_redis.cache.RedisCache"
        as_json = {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}
        for settings, expected in [
            (self.cached(place), (key, "django-pickle")),
            (self.cached([place]), (key, "django-pickle")),
            (self.cached(place, **keyed), (keyed_key, "django-pickle")),
            (self.cached(place, django_redis), (key, "django-pickle")),
            (self.cached(place, django_redis, OPTIONS=as_json), (key, "json")),
        ]:
            with self.subTest(settings):
                self.assertEqual(self.session_flags(settings), (("sessionid", *expected), {}))
        made = self.flags(**self.cached(place))
        self.assertEqual(made.flags["session-user"], "wsloop:username")
        self.assertEqual(made.flags["session-groups"], "ws4redis:memberof")
        self.assertNotIn("auth-url", made.flags)

    def test_sessions_of_django_redis_sessions(self):
        engine = {"SESSION_ENGINE": "redis_sessions.session", "SESSION_COOKIE_NAME": "sid"}
        secret = {"session-secret-file": [b"not secret, for tests only"]}
        for settings, key in [
            ({}, "{}"),
            ({"SESSION_REDIS": {"host": "localhost", "prefix": "session"}}, "session:{}"),
            ({"SESSION_REDIS_PREFIX": "session"}, "session:{}"),
            ({"SESSION_REDIS": {"url": "redis://127.0.0.1:6379/0"}}, "{}"),
        ]:
            with self.subTest(settings):
                got = self.session_flags({**engine, **settings})
                self.assertEqual(got, (("sid", key, "django"), secret))
        rotated = {**engine, "SECRET_KEY": "new", "SECRET_KEY_FALLBACKS": ["old", b"older"]}
        self.assertEqual(
            self.session_flags(rotated)[1], {"session-secret-file": [b"new", b"old", b"older"]}
        )

    def test_sessions_that_the_server_cannot_read_are_asked_for(self):
        redis_sessions = {"SESSION_ENGINE": "redis_sessions.session"}
        pickle = "django.contrib.sessions.serializers.PickleSerializer"
        django_redis = "django_redis.cache.RedisCache"
        zlib = {"COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor"}
        shards = {"CLIENT_CLASS": "django_redis.client.ShardClient"}
        own = {"SERIALIZER": "my.Serializer"}
        for settings in [
            {"SESSION_ENGINE": "django.contrib.sessions.backends.db"},
            {"SESSION_ENGINE": "django.contrib.sessions.backends.cached_db"},
            {**redis_sessions, "SESSION_SERIALIZER": pickle},
            {**redis_sessions, "SESSION_REDIS": {"host": "elsewhere"}},
            {**redis_sessions, "SESSION_REDIS": {"db": 1}},
            {**redis_sessions, "SESSION_REDIS": {"sentinel_list": [("a", 1)]}},
            self.cached("redis://127.0.0.1:6380"),
            self.cached("redis://127.0.0.1:6379/1"),
            self.cached("redis://127.0.0.1", OPTIONS={"db": 4}),
            self.cached("redis://127.0.0.1", OPTIONS={"serializer": "my.Serializer"}),
            self.cached(["redis://127.0.0.1", "redis://127.0.0.2"]),
            self.cached("redis://127.0.0.1,redis://127.0.0.2"),
            self.cached("redis://127.0.0.1", KEY_PREFIX="{}"),
            self.cached("redis://127.0.0.1", django_redis, OPTIONS=zlib),
            self.cached("redis://127.0.0.1", django_redis, OPTIONS=shards),
            self.cached("redis://127.0.0.1", django_redis, OPTIONS=own),
            self.cached("", "django.core.cache.backends.locmem.LocMemCache"),
            {**self.cached("redis://127.0.0.1"), "WSLOOP_REDIS": None},
        ]:
            with self.subTest(settings):
                self.assertEqual(self.session_flags(settings), ((None, None, None), {}))
                self.assertIn("auth-url", self.flags(**settings).flags)
