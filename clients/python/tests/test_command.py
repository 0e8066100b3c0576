"""``manage.py wsloop``, as a process, and the one port of ``--runserver``."""

import http.client
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from django.core import signing
from websockets.sync.client import connect
from wsloop import RedisPublisher

from .support import BINARY, Redis, RedisTestCase, Started, eventually, free_port

PROJECT = Path(__file__).parent / "project"
MANAGE = (str(PROJECT / "manage.py"),)


class Command(RedisTestCase):
    def start(self, *arguments, binary, environment=None, cwd=None, by=MANAGE, **settings):
        settings = {"WSLOOP_BINARY": str(binary), **settings}
        environment = {
            **os.environ,
            "PROJECT_SETTINGS": json.dumps(settings),
            "PYTHONPATH": os.pathsep.join([str(PROJECT.parents[1]), *filter(None, sys.path)]),
            "WSLOOP_REDIS": "redis://of.somebody.else",
            **(environment or {}),
        }
        process = subprocess.Popen(
            [sys.executable, *by, "wsloop", *arguments],
            env=environment,
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        # Whoever is asked to end takes its folder along.
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
            try:
                process.communicate(timeout=20)
                return
            except subprocess.TimeoutExpired:
                pass

    def told(self, process):
        shown = process.stdout.readline()
        return shown, json.loads(process.stdout.readline())

    def test_the_server_is_started_with_flags_from_the_settings_which_are_shown(self):
        process = self.start(
            "--", "--log=debug", binary=PROJECT / "told.py", WS4REDIS_HEARTBEAT="--it's me--"
        )
        shown, told = self.told(process)
        self.assertIn("""'--heartbeat=--it'"'"'s me--'""", shown)
        self.assertIn("--heartbeat=--it's me--", told["flags"])
        self.assertEqual(told["flags"][-1], "--log=debug")
        self.assertIsNone(told["redis"])
        process.terminate()
        self.assertEqual(process.wait(10), 0)

    def test_secrets_are_in_files_and_not_shown(self):
        process = self.start(
            binary=PROJECT / "told.py",
            SECRET_KEY="top secret",
            SECRET_KEY_FALLBACKS=["old secret"],
            SESSION_ENGINE="redis_sessions.session",
            SESSION_REDIS={"host": "h", "password": "hush"},
            WS4REDIS_CONNECTION={"host": "h", "password": "hush"},
        )
        shown, told = self.told(process)
        self.assertNotRegex(shown + " ".join(told["flags"]), "hush|secret ")
        self.assertEqual(told["redis"], "redis://:hush@h:6379/0")
        files = told["files"]["--session-secret-file"]
        for (path, modes, secret), expected in zip(files, ("top secret\n", "old secret\n")):
            self.assertEqual((modes, secret), ([0o700, 0o600], expected))
        self.assertEqual(len(files), 2)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(process.wait(10), 0)
        self.assertFalse(Path(path).parent.exists())

    def test_a_printed_command_works_after_the_one_that_printed_it(self):
        protected = Redis(password="hu'sh")
        self.addCleanup(protected.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        settings = {
            "SECRET_KEY": "top secret",
            "SESSION_ENGINE": "redis_sessions.session",
            "SESSION_REDIS": {"port": protected.port, "password": "hu'sh"},
            "WSLOOP_REDIS": {"port": protected.port, "password": "hu'sh"},
        }
        home = Path(folder.name) / "it's home"
        for chosen, state in [([], home / ".local/state/wsloop"), (["--secrets=s"], Path("s"))]:
            for _ in range(2):
                printing = self.start(
                    "--print", *chosen, "--", "--listen=127.0.0.1:0", binary=BINARY,
                    environment={"HOME": str(home), "XDG_STATE_HOME": ""}, cwd=folder.name,
                    **settings,
                )
                line, errors = printing.communicate(timeout=20)
                self.assertEqual((printing.returncode, line.count("\n")), (0, 1), errors)
                self.assertNotRegex(line + errors, "hu'sh|hu%27sh|top secret")
                # It stays in use after this one, and the next one finds it there.
                self.assertIn(str(state), errors)
            secrets = [path for path in (Path(folder.name) / state).rglob("*") if path.is_file()]
            self.assertEqual({path.name for path in secrets}, {"redis-url", "session-secret-file"})
            self.assertEqual({stat.S_IMODE(path.stat().st_mode) for path in secrets}, {0o600})
            environment = {"PATH": os.environ["PATH"]}
            self.assert_it_lets_john_in(["sh", "-c", line], environment, protected)

    def assert_it_lets_john_in(self, shell, environment, protected):
        """The server reads john's session, which is signed with the secret, from the Redis."""
        session = signing.dumps(
            {"wsloop:username": "john"}, key="top secret", compress=True,
            salt="django.contrib.sessions.SessionStore",
        )
        protected.client.set("a" * 32, session)
        server = Started(shell, environment)
        self.addCleanup(server.close)
        uri = f"ws://127.0.0.1:{server.port}/ws/fac?subscribe-user"
        cookie = {"Cookie": f"sessionid={'a' * 32}"}
        with connect(uri, proxy=None, additional_headers=cookie) as browser:
            self.assertEqual(browser.response.headers["X-Wsloop-Granted"], "subscribe-user")

    def test_a_printed_command_has_the_files_that_the_project_named(self):
        with tempfile.NamedTemporaryFile() as file:
            printing = self.start(
                "--print", binary=BINARY, WSLOOP_SESSION_SECRET_FILE=file.name,
                SESSION_ENGINE="redis_sessions.session", SESSION_REDIS={},
                WSLOOP_REDIS="redis://127.0.0.1", environment={"HOME": "/dev/null"},
            )
            line, errors = printing.communicate(timeout=20)
            self.assertIn(f"--session-secret-file={file.name}", line)
            self.assertEqual(errors, "")

    def test_of_several_redis_each_is_a_flag(self):
        several = ["redis+sentinel://h,k/main", "redis://h"]
        printing = self.start(
            "--print", binary=BINARY, WSLOOP_REDIS=several, environment={"HOME": "/dev/null"}
        )
        line, errors = printing.communicate(timeout=20)
        expected = "--redis=redis+sentinel://h:26379,k:26379/main/0 --redis=redis://h "
        self.assertIn(expected, line, errors)

    def test_where_no_secret_can_be_kept_is_one_line(self):
        printing = self.start(
            "--print", binary=BINARY, SESSION_ENGINE="redis_sessions.session", SESSION_REDIS={},
            WSLOOP_REDIS="redis://127.0.0.1",
            environment={"HOME": "/dev/null", "XDG_STATE_HOME": ""},
        )
        _, errors = printing.communicate(timeout=20)
        self.assertEqual(printing.returncode, 1)
        self.assertRegex(errors, r"\ACommandError: .* --secrets FOLDER .*\n\Z")

    def test_who_comes_from_ws4redis_hears_that_pages_publish_no_longer(self):
        said = []
        for name in ("WS4REDIS_PREFIX", "WSLOOP_PREFIX"):
            process = self.start(binary=PROJECT / "told.py", **{name: "demo"})
            self.told(process)
            process.terminate()
            said.append(process.communicate(timeout=20)[1])
        self.assertIn("nothing grants it", said[0])
        self.assertIn("WS4REDIS_PREFIX", said[0])
        self.assertEqual(said[1], "")

    def test_an_address_of_ipv6_stays_in_its_brackets(self):
        process = self.start("--django=[::1]:8000", "--print", binary=PROJECT / "told.py")
        shown, errors = process.communicate(timeout=20)
        self.assertIn("--auth-url=http://[::1]:8000/wsloop/auth/", shown, errors)

    def test_what_is_wrong_is_one_line(self):
        callback = "tests.project.callbacks.denies"
        for settings, why in [
            ({"binary": "/no/such/wsloop"}, "/no/such/wsloop is no program"),
            ({"binary": BINARY, "WSLOOP_EXPIRY": 1}, None),
            (
                {
                    "binary": BINARY,
                    "WS4REDIS_ALLOWED_CHANNELS": callback,
                    "ROOT_URLCONF": "tests.project.no_urls",
                },
                "nothing asks the callback",
            ),
        ]:
            process = self.start(**settings)
            _, errors = process.communicate(timeout=20)
            self.assertNotEqual(process.returncode, 0)
            self.assertNotIn("Traceback", errors)
            self.assertIn(why or "--expiry", errors)

    def test_both_answer_on_one_port_until_ctrl_c(self):
        port = free_port()
        process = self.start(
            f"--runserver=127.0.0.1:{port}",
            binary=BINARY,
            ROOT_URLCONF="tests.project.no_urls",
            DEBUG=True,
            WSLOOP_REDIS=self.redis.url,
        )
        eventually("it listens", lambda: "Both answer" in process.stdout.readline())
        page = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(2):
            page.request("GET", "/")
            self.assertEqual(page.getresponse().read(), b"the project's page")
        # What the browser client asks, to explain a refusal in the console.
        page.request("GET", "/ws/fac?subscribe-broadcast")
        answer = page.getresponse()
        self.assertEqual(answer.status, 426)
        self.assertIn(b"subscribe-broadcast: granted", answer.read())
        page.close()
        page.request("POST", "/", body=b"x" * 300_000, headers={"Connection": "keep-alive"})
        self.assertEqual(page.getresponse().read(), b"the project's page")
        page.close()
        self.assert_a_body_is_asked_for(port)
        uri = f"ws://127.0.0.1:{port}/ws/fac?subscribe-broadcast"
        with connect(uri, proxy=None, origin=f"http://127.0.0.1:{port}") as browser:
            publisher = RedisPublisher(facility="fac", broadcast=True, redis=self.redis.url)
            for message in ("small", "x" * 300_000):
                publisher.publish_message(message, expire=0)
                self.assertEqual(browser.recv(timeout=10), message)
            os.killpg(process.pid, signal.SIGINT)
            self.assertEqual(process.wait(20), 0)
        # The group is gone when nothing of it is left.
        eventually("all of it has ended", lambda: not self.is_alive(process.pid))

    def assert_a_body_is_asked_for(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n"
            raw.sendall(head + b"Expect: 100-continue\r\n\r\n")
            # The page does not wait for the body, so that its response may come along with this.
            said = raw.recv(4096)
            self.assertTrue(said.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"), said)
            raw.sendall(b"x")
            said = said.partition(b"\r\n\r\n")[2] + raw.makefile("rb").read()
        end = rb"\r\nConnection: close\r\n\r\n12\r\nthe project's page\r\n0\r\n\r\n$"
        self.assertRegex(said, rb"(?s)^HTTP/1.1 200 .*" + end)

    def test_so_they_do_however_the_command_was_started(self):
        root = str(PROJECT.parents[1])
        environment = {"PYTHONPATH": "", "DJANGO_SETTINGS_MODULE": ""}
        named = [f"--pythonpath={root}", "--settings=tests.project.settings"]
        elsewhere = tempfile.TemporaryDirectory()
        self.addCleanup(elsewhere.cleanup)
        admin = shutil.which("django-admin", path=Path(sys.executable).parent)
        for by, cwd, options in [
            (["-W", "ignore", "-m", "django"], root, named[1:]),
            (["-m", "django"], elsewhere.name, named),
            ([admin], elsewhere.name, named),
        ]:
            with self.subTest(by):
                port = free_port()
                process = self.start(
                    f"--runserver=127.0.0.1:{port}",
                    *options,
                    by=by,
                    cwd=cwd,
                    environment=environment,
                    binary=BINARY,
                    WSLOOP_REDIS=self.redis.url,
                    DEBUG=True,
                )
                eventually("it listens", lambda: "Both answer" in process.stdout.readline())
                page = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                page.request("GET", "/")
                self.assertEqual(page.getresponse().read(), b"the project's page")
                page.close()
                self.end(process)

    def is_alive(self, group):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True

    def test_the_end_of_one_is_the_end_of_all(self):
        process = self.start(
            f"--runserver=127.0.0.1:{free_port()}",
            "--",
            "--no-such-flag",
            binary=BINARY,
            ROOT_URLCONF="tests.project.no_urls",
        )
        self.assertEqual(process.wait(20), 2)
        eventually("all of it has ended", lambda: not self.is_alive(process.pid))
