"""``manage.py wsloop``: starts the server with flags made from the settings.

Secrets are handed over in files of a folder that only this user can read, and Redis's URL, when it
has a password, in the environment: the command line is for everyone to see. The folder is gone with
the server; that of a command which is only printed stays, so that the command works.
"""

import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sysconfig
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Optional

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.autoreload import get_child_arguments

from ... import grants
from ...conf import Command as Flags
from ...conf import Misconfigured, command

Address = tuple[str, int]

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
        parser.add_argument(
            "--print", action="store_true", help="print the command, ready to be run, and end"
        )
        parser.add_argument(
            "--secrets",
            metavar="FOLDER",
            help="keep the files with secrets here, where they stay [one that is gone with the "
            "server; with --print one of this project's in ~/.local/state/wsloop]",
        )
        parser.add_argument("flags", nargs="*", help="behind --: more flags for wsloop")

    def handle(self, *args: Any, **options: Any) -> None:
        """Runs until everything has ended."""
        front_address = _address(options["runserver"]) if options["runserver"] else None
        pages = ("127.0.0.1", _free_port()) if front_address else _address(options["django"])
        try:
            made = command(_text(pages))
        except Misconfigured as why:
            raise CommandError(str(why)) from None
        if front_address:
            made.flags["listen"] = _text(front_address)
            made.flags["upstream"] = f"http://{_text(pages)}"
            # It restarts whenever a file of the project is saved.
            made.flags["upstream-patience"] = "10"
        mute = grants.note(_all_flags(made), options["flags"])
        for note in [*made.notes, *filter(None, [mute])]:
            self.stderr.write(self.style.WARNING(note))
        with _folder(options["secrets"], stays=options["print"]) as folder:
            line = _line(made, folder) + options["flags"]
            if options["print"]:
                self._print(line, made, folder)
                return
            self.stdout.write(("WSLOOP_REDIS=… " if made.secret_redis else "") + shlex.join(line))
            self.stdout.flush()
            runserver = _runserver(options, pages) if front_address else []
            status = self._run(line, made, front_address, pages, runserver)
            if status:
                raise SystemExit(status)

    def _print(self, line: list[str], made: Flags, folder: Path) -> None:
        """Prints the command alone, and beside it where its secrets are."""
        shown = shlex.join(line)
        if made.secret_redis:
            path = _write(folder / "redis-url", made.secret_redis.encode())
            shown = f'WSLOOP_REDIS="$(cat {shlex.quote(str(path))})" {shown}'
        if made.secrets or made.secret_redis:
            self.stderr.write(
                f"The secrets are in {folder}, for this user alone, and stay there; "
                "--secrets FOLDER puts them elsewhere."
            )
        self.stdout.write(shown)

    def _run(
        self,
        line: list[str],
        made: Flags,
        front_address: Optional[Address],
        pages: Address,
        runserver: list[str],
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
            children.append(subprocess.Popen(runserver))
            return self._watch(children, front_address, pages)
        except KeyboardInterrupt:
            return 0
        except OSError as why:
            raise CommandError(str(why)) from None
        finally:
            _end_all(children)

    def _watch(
        self, children: list["subprocess.Popen[bytes]"], listen: Address, pages: Address
    ) -> int:
        """Waits until a child has ended, and returns its status."""
        told = False
        while True:
            if not told and _answers(listen) and _answers(pages):
                told = True
                self.stdout.write(f"Both answer at http://{_text(listen)}/")
                self.stdout.flush()
            for child in children:
                status = child.poll()
                if status is not None:
                    return status or 1
            time.sleep(0.2)


def _answers(address: Address) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True


def _runserver(options: dict[str, Any], pages: Address) -> list[str]:
    """The development server, started as this program was, as far as Django's reloader knows it."""
    line = [str(part) for part in get_child_arguments()]
    line = line[: len(line) - len(sys.argv[1:])]
    # What --settings says is in the environment already.
    path = options["pythonpath"]
    more = [f"--pythonpath={path}"] if path else []
    return [*line, "runserver", f"{pages[0]}:{pages[1]}", *more]


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


def _all_flags(made: Flags) -> dict[str, str]:
    """The flags, those included whose values are not for everyone to see."""
    secret = {"redis": made.secret_redis} if made.secret_redis else {}
    return {**made.flags, **secret}


@contextmanager
def _folder(chosen: Optional[str], stays: bool) -> Iterator[Path]:
    """Where secrets are written: what is chosen stays, and so does what is for a later start."""
    if not chosen and not stays:
        with tempfile.TemporaryDirectory(prefix="wsloop-") as folder:
            yield Path(folder)
        return
    yield Path(chosen).absolute() if chosen else _state_folder()


def _state_folder() -> Path:
    """One for each project of this user, told apart by where its settings are."""
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    module = settings.SETTINGS_MODULE or "configured"
    where = getattr(sys.modules.get(module), "__file__", None) or module
    mark = hashlib.sha256(where.encode()).hexdigest()[:8]
    return base / "wsloop" / f"{module}-{mark}"


def _line(made: Flags, folder: Path) -> list[str]:
    """The command line, its secrets written into the folder."""
    # Of several Redis each is a flag; a URL has no white space.
    flags = [(flag, each) for flag, value in made.flags.items() for each in _values(flag, value)]
    for flag, secrets in made.secrets.items():
        for number, secret in enumerate(secrets, start=1):
            name = flag if number == 1 else f"{flag}-{number}"
            flags.append((flag, str(_write(folder / name, secret))))
    return [_binary(), *(f"--{flag}={value}" for flag, value in flags)]


def _values(flag: str, value: str) -> list[str]:
    return value.split() if flag == "redis" else [value]


def _write(path: Path, secret: bytes) -> Path:
    """Writes a file for this user alone; what reads it meanwhile has the old or the new one."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            # The server takes one trailing newline away, which may not be the secret's own.
            file.write(secret + b"\n")
        os.replace(file.name, path)
    except OSError as why:
        raise CommandError(f"{why}; say with --secrets FOLDER where secrets can be") from None
    return path


def _binary() -> str:
    chosen = getattr(settings, "WSLOOP_BINARY", None) or os.environ.get("WSLOOP_BINARY")
    # A wheel may have brought it, into the folder of this interpreter's programs.
    beside = None if chosen else shutil.which("wsloop", path=sysconfig.get_path("scripts"))
    found = beside or shutil.which(chosen or "wsloop")
    if found is None:
        where = f"{chosen} is no program" if chosen else "wsloop is not on PATH"
        raise CommandError(f"{where}; set WSLOOP_BINARY to where it is")
    return found


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not port.isdecimal():
        raise CommandError(f"{text!r} is no address; write it such as 127.0.0.1:8000")
    return host.strip("[]") or "127.0.0.1", int(port)


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
