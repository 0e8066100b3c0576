"""What a project that comes from ws4redis is told."""

import sys
import tempfile
import textwrap
import unittest
from pathlib import Path
from types import ModuleType
from unittest import mock

from django.core.checks import run_checks
from django.test import SimpleTestCase, override_settings
from wsloop.django import conf, grants

CALLBACK = "tests.project.callbacks.only_logged_in"
RULES = textwrap.dedent(
    """
    [[allow]]
    facility = "chat/*"
    {}
    """
)


class Checks(SimpleTestCase):
    def told(self):
        found = run_checks(tags=["wsloop"])
        for each in found:
            self.assertTrue(each.hint)
        return [(each.id, each.msg) for each in found]

    def test_a_project_with_nothing_of_ws4redis_is_told_nothing(self):
        self.assertEqual(self.told(), [])
        with override_settings(WS4REDIS_PREFIX="demo", WEBSOCKET_URL="/ws4redis./"):
            self.assertEqual(self.told(), [])

    def test_what_is_left_in_the_settings_is_named(self):
        processor = "ws4redis.context_processors.default"
        backend = "django.template.backends.django.DjangoTemplates"
        ours = "wsloop.django.context_processors.default"
        templates = [{"BACKEND": backend, "OPTIONS": {"context_processors": [ours, processor]}}]
        middleware = ["django.middleware.common.CommonMiddleware", "ws4redis.some.Middleware"]
        for settings, expected in [
            ({"WSGI_APPLICATION": "ws4redis.django_runserver.application"}, "wsloop.W001"),
            ({"MIDDLEWARE": middleware}, "wsloop.W002"),
            ({"MIDDLEWARE_CLASSES": middleware}, "wsloop.W002"),
            ({"TEMPLATES": templates}, "wsloop.W003"),
            ({"WS4REDIS_SUBSCRIBER": "ws4redis.subscriber.RedisSubscriber"}, "wsloop.W005"),
        ]:
            with self.subTest(settings), override_settings(**settings):
                [(check, text)] = self.told()
                self.assertEqual(check, expected)
                self.assertIn("ws4redis.", text)

    def test_ws4redis_itself_and_what_is_imported_from_it_are_named(self):
        modules = {name: ModuleType(name) for name in ("ws4redis", "ws4redis.store", "shop.views")}
        of_ws4redis = {"__module__": "ws4redis.store"}
        message = type("RedisMessage", (bytes,), of_ws4redis)
        modules["ws4redis.store"].RedisMessage = message
        views = modules["shop.views"]
        views.RedisMessage, views.SELF = message, type("SELF_TYPE", (), of_ws4redis)()
        views.store, views.own = modules["ws4redis.store"], type("Own", (), {"__module__": "shop"})
        with mock.patch.dict(sys.modules, modules):
            [(check, text)] = self.told()
            self.assertEqual(check, "wsloop.W006")
            self.assertIn("shop.views imports RedisMessage, SELF, store from ws4redis", text)
            with mock.patch.object(conf.settings, "INSTALLED_APPS", ["ws4redis", "wsloop.django"]):
                self.assertEqual([check for check, _ in self.told()], ["wsloop.W004", check])


class Note(unittest.TestCase):
    """On pages that publish, which ws4redis lets and wsloop does not."""

    def note(self, *arguments, **settings):
        settings = {"WS4REDIS_PREFIX": "demo", **settings}
        with override_settings(**settings):
            return grants.note(conf.command("127.0.0.1:8000").flags, arguments)

    def test_it_names_the_settings_and_the_way_facility_by_facility(self):
        note = self.note(WEBSOCKET_URL="/ws/")
        self.assertIn("WEBSOCKET_URL, WS4REDIS_PREFIX", note)
        self.assertIn("[[allow]]", note)

    def test_it_is_said_while_nothing_grants_it(self):
        for arguments, settings in [
            ((), {}),
            ((), {"WSLOOP_ALLOW": ["subscribe-broadcast", "subscribe-user"]}),
            ((), {"WSLOOP_REDIS": None}),
            ((), {"WSLOOP_DEMO": True, "WSLOOP_ALLOW": "subscribe-broadcast"}),
            ((), {"WS4REDIS_PROCESS_REQUEST": "tests.project.callbacks.process_request"}),
            (("--allow=subscribe-user", "--log=debug"), {}),
        ]:
            with self.subTest(settings=settings, arguments=arguments):
                self.assertIsNotNone(self.note(*arguments, **settings))

    def test_it_is_not_said_otherwise(self):
        no_view = {"ROOT_URLCONF": "tests.project.no_urls", "WSLOOP_REDIS": None}
        for arguments, settings in [
            ((), {"WSLOOP_ALLOW": "all"}),
            ((), {"WSLOOP_ALLOW": "subscribe-user, publish-user"}),
            ((), {"WSLOOP_DEMO": True}),
            # The server's own chat is on, and nobody is told from anybody.
            ((), no_view),
            ((), {"WS4REDIS_ALLOWED_CHANNELS": CALLBACK}),
            (("--allow", "all"), {}),
            (("--log=debug", "--allow=publish-group"), {"WSLOOP_ALLOW": "subscribe-user"}),
        ]:
            with self.subTest(settings=settings, arguments=arguments):
                self.assertIsNone(self.note(*arguments, **settings))
        with mock.patch.dict("os.environ", WSLOOP_ALLOW="all"):
            self.assertIsNone(self.note())
        self.assertIsNone(grants.note(conf.command("127.0.0.1:8000").flags, ()), "a new project")

    @unittest.skipIf(sys.version_info < (3, 11), "tomllib is missing")
    def test_rules_that_speak_of_publishing_are_enough(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "wsloop.toml"
            for text, is_said in [
                ("ping-interval = 20", True),
                (RULES.format('direction = "subscribe"'), True),
                ('allow = "subscribe-broadcast"', True),
                (RULES.format('direction = "publish"'), False),
                (RULES.format('direction = ["subscribe", "publish"]'), False),
                (RULES.format(""), False),
                (RULES.format('direction = "publish"\ngrant = false'), False),
                ('allow = "subscribe-broadcast,publish-broadcast"', False),
                ('allow = ["publish-user"]', False),
                ("demo = true", False),
                # The server says what is wrong with this.
                ("= = =", False),
            ]:
                path.write_text(text)
                with self.subTest(text):
                    self.assertEqual(bool(self.note(WSLOOP_CONFIG=str(path))), is_said)
