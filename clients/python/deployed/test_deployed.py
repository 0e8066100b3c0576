"""Real servers and workers, with a real wsloop and a real Redis."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode

from tests.support import BINARY, RedisTestCase, Started, eventually, free_port
from websockets.sync.client import connect

PACKAGE = Path(__file__).parents[1]
USERS = ["john", "mary", "paul", "voilà", "Å", "Zoë"]
CREATE = (
    "from django.contrib.auth.models import User\n"
    f"for name in {USERS!a}: User.objects.create_user(name)\n"
)
#: Most connections that a process has: 20 for itself, and so many for an event loop.
MOST = 40


class DeployedTestCase(RedisTestCase):
    preloads = False

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="wsloop-deployed-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.app_port, socket_port = free_port(), free_port()
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "deployed.settings",
            "DEPLOYED_DATABASE": f"{folder.name}/db.sqlite3",
            "DEPLOYED_REDIS_PORT": str(self.redis.port),
            "DEPLOYED_WEBSOCKETS": f"ws://127.0.0.1:{socket_port}/ws/",
            "DEPLOYED_PRELOADS": "yes" if self.preloads else "",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.socket_port = socket_port

    def run_program(self, *arguments):
        subprocess.run(
            [sys.executable, "-m", *arguments], cwd=PACKAGE, env=self.environment, check=True
        )

    def start_program(self, *arguments):
        log = tempfile.TemporaryFile()
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=PACKAGE,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def end():
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(0)
            self.log = log.read().decode()

        self.addCleanup(end)
        return process

    def heard_texts(self, pubsub, count):
        texts = [self.heard(pubsub).decode() for _ in range(count)]
        self.assertIsNone(pubsub.get_message(timeout=0.3), "something was published twice")
        return sorted(texts)

    def publishers(self):
        return [each for each in self.redis.client.client_list() if each["name"] == "publisher"]


class Server:
    """The tests of a server; a subclass says how it is started."""

    publishing = ["publish", "publish-async"]

    def setUp(self):
        super().setUp()
        self.run_program("django", "migrate", "--verbosity=0")
        self.run_program("django", "shell", "--verbosity=0", "-c", CREATE)
        process = self.start()
        eventually("it answers", lambda: process.poll() is not None or self.answers(), 60)
        self.assertIsNone(process.poll())
        flags = [
            f"--listen=127.0.0.1:{self.socket_port}",
            f"--redis={self.redis.url}",
            f"--auth-url=http://127.0.0.1:{self.app_port}/wsloop/auth/",
            f"--allowed-origins=http://127.0.0.1:{self.app_port}",
        ]
        self.websockets = Started([BINARY, *flags])
        self.addCleanup(self.websockets.close)

    def get(self, path, **query):
        conn = http.client.HTTPConnection("127.0.0.1", self.app_port, timeout=20)
        try:
            conn.request("GET", f"/{path}?{urlencode(query)}")
            answer = conn.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            conn.close()

    def answers(self):
        try:
            return self.get("")[0] == 200
        except OSError:
            return False

    def test_browsers_hear_what_is_for_who_they_are(self):
        environment = {**os.environ, "APP_URL": f"http://127.0.0.1:{self.app_port}"}
        line = ["node", "--test", "--test-reporter=spec", "deployed/sessions.test.mjs"]
        done = subprocess.run(line, cwd=PACKAGE, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_many_publish_at_once_and_each_message_is_heard_once(self):
        pubsub = self.listen("broadcast:fac")
        # It is not one of those that are asked for.
        for way in self.publishing:
            with self.subTest(way), ThreadPoolExecutor(50) as threads:
                texts = [f"{way} {number}" for number in range(200)]
                answers = list(threads.map(lambda text: self.get(f"{way}/", text=text), texts))
                published = {json.loads(body)["receivers"] for _, _, body in answers}
                self.assertEqual(({status for status, *_ in answers}, published), ({200}, {1}))
                self.assertEqual(self.heard_texts(pubsub, 200), sorted(texts))
        self.assertLessEqual(len(self.publishers()), MOST * self.processes)

    def test_event_loops_leave_no_connections_behind(self):
        self.get("publish/", text="a")
        for way in ("publish-to-sync", "publish-by-a-loop"):
            for number in range(50):
                self.assertEqual(self.get(f"{way}/", text=f"{number}")[0], 200)
        kept = 2 * self.processes
        eventually("they are closed", lambda: len(self.publishers()) <= kept)

    def test_names_reach_the_server_as_they_are(self):
        for name in USERS:
            _, headers, _ = self.get(f"enter/{self.quoted(name)}/")
            cookie = headers["Set-Cookie"].partition(";")[0]
            uri = f"ws://127.0.0.1:{self.socket_port}/ws/fac?subscribe-user"
            more = {"Cookie": cookie}
            with self.subTest(name), connect(uri, proxy=None, additional_headers=more) as browser:
                granted = browser.response.headers["X-Wsloop-Granted"]
                self.assertEqual(granted, "subscribe-user")
                self.get("publish/", user=name, text="for you")
                self.assertEqual(browser.recv(timeout=10), "for you")

    def quoted(self, name):
        return urlencode({"": name})[1:]


class Gunicorn(Server, DeployedTestCase, unittest.TestCase):
    preloads = True
    processes = 3

    def start(self):
        return self.start_program(
            "gunicorn",
            "--preload",
            "--workers=2",
            "--threads=8",
            f"--bind=127.0.0.1:{self.app_port}",
            f"--worker-tmp-dir={self.folder}",
            "deployed.applications:wsgi",
        )


class Uvicorn(Server, DeployedTestCase, unittest.TestCase):
    processes = 1

    def start(self):
        return self.start_program(
            "uvicorn", "--host=127.0.0.1", f"--port={self.app_port}", "deployed.applications:asgi"
        )


class Celery(DeployedTestCase, unittest.TestCase):
    """Prefork: each process has what was there before its fork, and begins anew."""

    def test_tasks_publish(self):
        pubsub = self.listen("broadcast:fac")
        control = self.listen("wsloop:control")
        worker = self.start_program(
            "celery",
            "--app=deployed.tasks",
            "worker",
            "--pool=prefork",
            "--concurrency=2",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        )
        self.assertEqual(self.heard(pubsub), b"from the parent")
        script = (
            "import json, sys\n"
            "from deployed import tasks\n"
            "asked = [getattr(tasks, way).delay(text) for way, text in json.load(sys.stdin)]\n"
            "print(json.dumps([each.get(timeout=60) for each in asked]))\n"
        )
        ways = ("publish", "publish_async", "publish_to_sync")
        wanted = [(way, f"{way} {number}") for number in range(40) for way in ways]
        wanted += [("send_away", "john")]
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(wanted),
            cwd=PACKAGE,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        self.assertIsNone(worker.poll())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), [1] * len(wanted))
        # The program that asked for the tasks has imported them, and is another parent.
        expected = sorted([text for _, text in wanted[:-1]] + ["from the parent"])
        self.assertEqual(self.heard_texts(pubsub, len(expected)), expected)
        self.assertEqual(self.heard(control), b'{"disconnect": {"user": "john"}}')
        # One of the parent, and one of each process.
        self.assertLessEqual(len(self.publishers()), 3)
