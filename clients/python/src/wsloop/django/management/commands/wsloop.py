"""``manage.py wsloop``: starts the server with flags made from the settings.

Secrets are handed over in files of a folder that only this user can read, and Redis's URL, when it
has a password, in the environment: the command line is for everyone to see.
"""

import asyncio
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn, Optional

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from ... import front
from ...conf import Command as Flags
from ...conf import Misconfigured, command, url_prefix

# How long what was asked to end may take, in seconds; wsloop waits 10 s for its browsers.
END_TIMEOUT = 12


class Command(BaseCommand):
    """``manage.py wsloop [--runserver [HOST:PORT]] [-- FLAG…]``."""

    help = "Starts wsloop with flags made from the settings, and prints them."
    # The server runs as well without a database, and --runserver's own server checks all.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: Any) -> None:
        """Adds what may stand behind the command."""
        parser.add_argument(
            "--runserver",
            nargs="?",
            const="127.0.0.1:8000",
            metavar="HOST:PORT",
            help="start the development server as well; both answer on this port [127.0.0.1:8000]",
        )
        parser.add_argument(
            "--django",
            default="127.0.0.1:8000",
            metavar="HOST:PORT",
            help="where Django answers, for wsloop's questions to it [127.0.0.1:8000]",
        )
        parser.add_argument("--print", action="store_true", help="print the command line only")
        parser.add_argument("flags", nargs="*", help="behind --: more flags for wsloop")

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs until everything has ended."""
        front_address = _address(options["runserver"]) if options["runserver"] else None
        pages = ("127.0.0.1", _free_port()) if front_address else _address(options["django"])
        try:
            made = command(f"{pages[0]}:{pages[1]}")
        except Misconfigured as why:
            raise CommandError(str(why)) from None
        sockets = ("127.0.0.1", _free_port())
        if front_address:
            made.flags["listen"] = f"{sockets[0]}:{sockets[1]}"
        for note in made.notes:
            self.stderr.write(self.style.WARNING(note))
        with tempfile.TemporaryDirectory(prefix="wsloop-") as folder:
            line = _line(made, Path(folder)) + options["flags"]
            self.stdout.write(_shown(line, made))
            self.stdout.flush()
            if not options["print"]:
                status = self._run(line, made, front_address, sockets, pages)
                if status:
                    raise SystemExit(status)

    def _run(
        self,
        line: list[str],
        made: Flags,
        front_address: Optional[front.Address],
        sockets: front.Address,
        pages: front.Address,
    ) -> int:
        # One is for this command; the other is in the settings or was not meant for this project.
        not_for_it = ("WSLOOP_BINARY", "WSLOOP_REDIS")
        environment = {name: each for name, each in os.environ.items() if name not in not_for_it}
        if made.secret_redis:
            environment["WSLOOP_REDIS"] = made.secret_redis
        signal.signal(signal.SIGTERM, _end)
        children = []
        try:
            children.append(subprocess.Popen(line, env=environment))
            if front_address is None:
                return children[0].wait()
            own = [sys.executable, sys.argv[0], "runserver", f"{pages[0]}:{pages[1]}"]
            children.append(subprocess.Popen(own))
            return asyncio.run(self._serve(children, front_address, sockets, pages))
        except KeyboardInterrupt:
            return 0
        except OSError as why:
            raise CommandError(str(why)) from None
        finally:
            _end_all(children)

    async def _serve(
        self,
        children: list["subprocess.Popen[bytes]"],
        listen: front.Address,
        sockets: front.Address,
        pages: front.Address,
    ) -> int:
        """Serves until a child has ended, and returns its status."""
        server = await front.start(listen, url_prefix(), sockets, pages)
        self.stdout.write(f"Both answer at http://{listen[0]}:{listen[1]}/")
        self.stdout.flush()
        while True:
            for child in children:
                status = child.poll()
                if status is not None:
                    server.close()
                    return status or 1
            await asyncio.sleep(0.2)


def _end(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _end_all(children: list["subprocess.Popen[bytes]"]) -> None:
    # A Ctrl-C has reached them as well; a second one is for those who do not want to wait.
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(END_TIMEOUT)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()
            child.wait()


def _line(made: Flags, folder: Path) -> list[str]:
    """The command line, its secrets written into the folder."""
    flags = dict(made.flags)
    for flag, secret in made.secrets.items():
        path = folder / flag
        # The server takes one trailing newline away, which may not be the secret's own.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret + b"\n")
        flags[flag] = str(path)
    return [_binary(), *(f"--{flag}={value}" for flag, value in flags.items())]


def _shown(line: list[str], made: Flags) -> str:
    return ("WSLOOP_REDIS=… " if made.secret_redis else "") + shlex.join(line)


def _binary() -> str:
    chosen = getattr(settings, "WSLOOP_BINARY", None) or os.environ.get("WSLOOP_BINARY")
    found = shutil.which(chosen or "wsloop")
    if found is None:
        where = f"{chosen} is no program" if chosen else "wsloop is not on PATH"
        raise CommandError(f"{where}; set WSLOOP_BINARY to where it is")
    return found


def _address(text: str) -> front.Address:
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise CommandError(f"{text!r} is no address; write it such as 127.0.0.1:8000")
    return host.strip("[]") or "127.0.0.1", int(port)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
