"""An unchanged ws4redis publishes and fetches, and wsloop is where its own loop was.

Run by ``test`` beside this file, which says what it needs.
"""

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import redis
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in
from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.test import Client, override_settings
from project.names import store_name_in_session
from project.views import FACILITY
from tests.support import BINARY, Wsloop, eventually, free_port
from websockets.sync.client import connect

HERE = Path(__file__).resolve().parent
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {django};
            proxy_set_header Host $http_host;
        }}
        location /ws/ {{
            proxy_pass http://127.0.0.1:{wsloop};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


class Base(StaticLiveServerTestCase):
    """john and mary, who are chatusers; jörg and admin, who are not."""

    def setUp(self):
        chatusers = Group.objects.create(name="chatusers")
        for name in ("john", "mary", "jörg", "admin"):
            user = User.objects.create_user(name, password="secret")
            if name in ("john", "mary"):
                user.groups.add(chatusers)
        self.redis = redis.Redis(port=settings.REDIS_PORT)
        self.redis.flushall()

    def flags(self):
        """What wsloop is told of the project, which is what the project's settings say."""
        return {
            "redis": f"redis://127.0.0.1:{settings.REDIS_PORT}",
            "allow": "all",
            "prefix": settings.WS4REDIS_PREFIX,
            "expire": settings.WS4REDIS_EXPIRE,
            "heartbeat": settings.WS4REDIS_HEARTBEAT,
            **self.identity(),
        }

    def identity(self):
        """The sessions are in Redis, signed."""
        file = tempfile.NamedTemporaryFile()
        self.addCleanup(file.close)
        file.write(settings.SECRET_KEY.encode())
        file.flush()
        return {"session-key": "session:{}", "session-secret-file": file.name}

    def login(self, name):
        client = Client()
        self.assertTrue(client.login(username=name, password="secret"))
        return client


class Sockets(Base):
    """What every project has, however wsloop learns the names."""

    def setUp(self):
        super().setUp()
        flags = (f"--{name}={value}" for name, value in self.flags().items())
        self.server = Wsloop(*flags)
        self.addCleanup(self.server.close)

    def connect(self, options, client=None):
        headers = {}
        if client:
            headers["Cookie"] = f"sessionid={client.session.session_key}"
        uri = f"ws://127.0.0.1:{self.server.port}/ws/{FACILITY}?{options}"
        browser = connect(uri, additional_headers=headers, proxy=None)
        self.addCleanup(browser.close)
        return browser

    def publish(self, message, client=None, **audience):
        answer = (client or Client()).post("/publish/", {"message": message, **audience})
        self.assertEqual(answer.status_code, 204)

    def fetch(self, client, audience):
        answer = client.get("/fetch/", {"audience": audience})
        return answer.content.decode() if answer.status_code == 200 else None

    def hears(self, message, *browsers):
        for browser in browsers:
            self.assertEqual(self.next(browser), message)

    def next(self, browser):
        while True:
            message = browser.recv(timeout=5)
            if message != settings.WS4REDIS_HEARTBEAT:
                return message

    def said(self, browser, message, client, audience):
        """What a browser says is what the project fetches."""
        browser.send(message)
        eventually(f"{message} is stored", lambda: self.fetch(client, audience) == message)


class Unchanged:
    """Broadcasts, groups and sessions want nothing of a project."""

    def test_everybody_hears_a_broadcast(self):
        browsers = [self.connect("subscribe-broadcast") for _ in range(2)]
        self.publish("to everybody", broadcast=1)
        self.hears("to everybody", *browsers, self.connect("subscribe-broadcast"))

    def test_what_a_browser_broadcasts_is_fetched(self):
        browser = self.connect("publish-broadcast")
        self.said(browser, "grüß Gott", Client(), "broadcast")
        self.assertEqual(self.fetch(Client(), "any"), "grüß Gott")
        self.assertLessEqual(self.redis.ttl(f"demo:broadcast:{FACILITY}"), 30)

    def test_the_members_hear_what_is_for_their_group(self):
        john, mary, admin = (self.login(name) for name in ("john", "mary", "admin"))
        options = "subscribe-group&subscribe-broadcast"
        members = [self.connect(options, who) for who in (john, mary)]
        other = self.connect(options, admin)
        self.publish("by its name", groups="chatusers")
        self.publish("by a member", john, groups="SELF")
        self.publish("to everybody", broadcast=1)
        for message in ("by its name", "by a member", "to everybody"):
            self.hears(message, *members)
        self.hears("to everybody", other)
        self.assertEqual(self.fetch(mary, "group"), "by a member")
        self.assertIsNone(self.fetch(admin, "group"))

    def test_what_a_member_says_is_fetched_by_another(self):
        john, mary = self.login("john"), self.login("mary")
        self.said(self.connect("publish-group", john), "from john", mary, "group")

    def test_a_session_hears_what_is_for_it(self):
        here, elsewhere = self.login("john"), self.login("john")
        options = "subscribe-session&subscribe-broadcast"
        heard, other = self.connect(options, here), self.connect(options, elsewhere)
        self.publish("to this one", here, sessions="SELF")
        self.publish("by its key", sessions=here.session.session_key)
        self.publish("to everybody", broadcast=1)
        for message in ("to this one", "by its key", "to everybody"):
            self.hears(message, heard)
        self.hears("to everybody", other)
        self.said(self.connect("publish-session", here), "from here", here, "session")
        self.assertIsNone(self.fetch(elsewhere, "session"))


class Users:
    """Messages for users, where wsloop knows their names."""

    def test_a_user_hears_what_is_for_them_on_all_devices(self):
        john, mary = self.login("john"), self.login("mary")
        options = "subscribe-user&subscribe-broadcast"
        devices = [self.connect(options, who) for who in (john, self.login("john"))]
        others = [self.connect(options, mary), self.connect(options)]
        self.publish("by his name", users=["john", "admin"])
        self.publish("to himself", john, users="SELF")
        self.publish("to everybody", broadcast=1)
        for message in ("by his name", "to himself", "to everybody"):
            self.hears(message, *devices)
        self.hears("to everybody", *others)

    def test_what_a_user_says_is_fetched(self):
        john, mary = self.login("john"), self.login("mary")
        self.said(self.connect("publish-user", john), "from john", john, "user")
        self.assertEqual(self.fetch(john, "any"), "from john")
        self.assertIsNone(self.fetch(mary, "user"))
        self.assertIsNone(self.fetch(Client(), "user"))

    def test_names_are_any_text(self):
        client = self.login("jörg")
        browser = self.connect("subscribe-user", client)
        self.publish("Grüße", users="jörg")
        self.hears("Grüße", browser)


class NothingOfUsers(Unchanged, Sockets):
    """Nothing was done to the project: there is no name of a user in its sessions."""

    def test_nobody_has_the_channel_of_a_user(self):
        john = self.login("john")
        browser = self.connect("subscribe-user&subscribe-broadcast", john)
        self.assertEqual(browser.response.headers["X-Wsloop-Granted"], "subscribe-broadcast")
        self.publish("for john", users="john")
        self.publish("to everybody", broadcast=1)
        self.hears("to everybody", browser)


class IdsForNames(Unchanged, Sockets):
    """Nothing was done to the project, but it publishes to the ids of users."""

    def identity(self):
        return {**super().identity(), "session-user": "_auth_user_id"}

    def test_a_user_hears_what_is_for_their_id(self):
        john = self.login("john")
        browser = self.connect("subscribe-user", john)
        self.publish("for john", users="john")
        self.publish("for his id", users=str(User.objects.get(username="john").pk))
        self.hears("for his id", browser)


class NamesInSessions(Unchanged, Users, Sockets):
    """One receiver more: the name is in the session from the next login on."""

    def setUp(self):
        user_logged_in.connect(store_name_in_session)
        self.addCleanup(user_logged_in.disconnect, store_name_in_session)
        super().setUp()


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.db")
class Asked(Unchanged, Users, Sockets):
    """One view more: wsloop asks it, wherever the sessions are."""

    def identity(self):
        return {"auth-url": f"{self.live_server_url}/whoami/"}


class Pages(Base):
    """Its ws4redis.js in a browser, behind nginx."""

    def test_pages(self):
        user_logged_in.connect(store_name_in_session)
        self.addCleanup(user_logged_in.disconnect, store_name_in_session)
        socket_port, port = free_port(), free_port()
        self.nginx(port, socket_port)
        flags = {"listen": f"127.0.0.1:{socket_port}", **self.flags()}
        line = [BINARY, *(f"--{name}={value}" for name, value in flags.items())]
        url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "DROPIN_URL": url, "DROPIN_WSLOOP": json.dumps(line)}
        node = ["node", "--test", "--test-reporter=spec", HERE / "page.test.mjs"]
        self.assertEqual(subprocess.run(node, env=environment, timeout=300).returncode, 0)

    def nginx(self, port, socket_port):
        folder = tempfile.TemporaryDirectory(prefix="wsloop-nginx-")
        self.addCleanup(folder.cleanup)
        file = Path(folder.name, "nginx.conf")
        ports = {"port": port, "wsloop": socket_port, "django": self.live_server_url}
        file.write_text(NGINX.format(folder=folder.name, **ports))
        error_log = str(Path(folder.name, "error.log"))
        line = ["nginx", "-e", error_log, "-p", folder.name, "-c", str(file)]
        nginx = subprocess.Popen(line)
        self.addCleanup(nginx.wait)
        self.addCleanup(nginx.terminate)
        eventually("nginx answers", lambda: nginx.poll() is not None or answers(port))
        self.assertIsNone(nginx.poll())


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
