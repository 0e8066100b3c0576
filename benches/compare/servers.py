"""The servers that are compared: how each is installed, started, and what is known of it.

Knows nothing of measuring. All listen on loopback and hand on one channel of Redis; Nchan, which has
no Redis client for that, is published to over its own WebSocket.
"""

import copy
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benches/peers"
BUILT = ROOT / "target/compare"
CHANNEL = "broadcast:bench"
# What Debian keeps where only root's PATH looks.
NGINX = "/usr/sbin/nginx"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
BUN = PEERS / "bun/node_modules/bun/bin/bun.exe"
# Where it is when npm does not run the scripts of packages.
BUN_UNMOVED = PEERS / "bun/node_modules/@oven/bun-linux-x64/bin/bun"
TUNGSTENITE = ROOT / "target/peers/release/peer-tungstenite"


class Unavailable(Exception):
    """A server that cannot be had on this machine, and why."""


@dataclass
class Start:
    """How a server's process is started."""

    command: list
    environment: dict = field(default_factory=dict)
    directory: Path = ROOT


class Server:
    """What all have in common; each below says what differs."""

    name = ""
    title = ""
    path = "/"
    echo = "/echo"
    # Where publishers connect, when not to Redis.
    publish = None
    # Has a stored message for who connects later, under the channel's name in Redis.
    stores = False
    # Most connections that it takes.
    most = 20_000
    # Its CPU is watched while connections are idle, which takes longer than a ping interval.
    pings = False
    # By how much fewer messages it is given, so that it does not take a quarter of an hour.
    slowness = 1
    # Why it cannot have several messages in flight.
    no_window = None
    # Arguments besides.
    extra = ()
    # Debian packages, each with a file that shows it is there.
    packages = {}
    remark = ""

    def with_arguments(self, *arguments):
        """The same server, started with these besides."""
        other = copy.copy(self)
        other.extra = arguments
        return other

    def prepare(self):
        """Installs or builds it."""

    def version(self):
        """What exactly was measured."""
        return ""

    def start(self, port, redis, echo):
        """How it is started; `echo` when only that is asked of it."""
        raise NotImplementedError


class Floor(Server):
    name, title = "floor", "the floor"
    pings = True
    echo = "/"
    remark = "epoll and `send` without any safety, `benches/floor`"

    def prepare(self):
        run("cargo", "build", "--quiet", "--release", "--package", "wsloop-floor")

    def start(self, port, redis, echo):
        mode = ["--echo"] if echo else []
        return Start([ROOT / "target/release/wsloop-floor", *arguments(port, redis), *mode])


class Wsloop(Server):
    name, title = "wsloop", "wsloop"
    quiet = "/ws/quiet?subscribe-broadcast"
    pings = True
    path = "/ws/bench?subscribe-broadcast"
    stores = True
    remark = "defaults and `--redis`: a ping every 30 s, permessage-deflate where it is offered"

    def prepare(self):
        run("cargo", "build", "--quiet", "--release", "--package", "wsloop")

    def version(self):
        described = output("git", "describe", "--always", "--dirty", "--abbrev=10")
        return f"{output(self.binary, '--version').split()[1]} ({described})"

    @property
    def binary(self):
        return ROOT / "target/release/wsloop"

    def start(self, port, redis, echo):
        listen = ["--listen", f"127.0.0.1:{port}", "--redis", f"redis://127.0.0.1:{redis}"]
        return Start([self.binary, *listen, "--echo", "/echo", "--log", "warn", *self.extra])


class Peer(Server):
    """A server of ours around a crate, in the folder of that name below benches/peers."""

    folder = "tokio"

    def prepare(self):
        manifest = PEERS / self.folder / "Cargo.toml"
        build = ["cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", manifest]
        run(*build, "--target-dir", ROOT / "target/peers")

    def version(self):
        text = (PEERS / self.folder / "Cargo.lock").read_text()
        blocks = dict(block.split('"')[1::2][:2] for block in text.split("[[package]]")[1:])
        return ", ".join(f"{name} {blocks[name]}" for name in (self.title, "tokio", "redis"))

    def start(self, port, redis, echo):
        return Start([ROOT / "target/peers/release" / self.name, *arguments(port, redis)])


class Tungstenite(Peer):
    name, title, folder = "tungstenite", "tokio-tungstenite", "tungstenite"
    remark = "one thread, the redis crate, read buffers of 4 KiB instead of 128, joins what waits"

    def start(self, port, redis, echo):
        return Start([TUNGSTENITE, *arguments(port, redis)])


class Fastwebsockets(Peer):
    name, title = "fastwebsockets", "fastwebsockets"
    remark = "one thread, the redis crate, the handshake of sockudo-ws; one write a message"


class Sockudo(Peer):
    name, title = "sockudo", "sockudo-ws"
    remark = "one thread, the redis crate, joins what waits"


class Npm(Server):
    """What npm installs."""

    packages = {"nodejs": "/usr/bin/node", "npm": "/usr/bin/npm"}

    def prepare(self):
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        run("npm", "ci", "--prefix", PEERS / self.name, *quiet)


class Bun(Npm):
    name, title = "bun", "Bun"
    remark = "uWebSockets inside, its own server, topics and Redis client; its own pings"

    def version(self):
        return output(self.binary, "--version")

    @property
    def binary(self):
        return BUN_UNMOVED if BUN_UNMOVED.exists() else BUN

    def start(self, port, redis, echo):
        script = PEERS / "bun/server.mjs"
        return Start([self.binary, script, *arguments(port, redis), *self.extra])


class Ws(Npm):
    name, title = "ws", "npm ws"
    remark = "fed by ioredis; no pings"

    def version(self):
        locked = (PEERS / "ws/package-lock.json").read_text()
        versions = [f"{name} {after(locked, name)}" for name in ("ws", "ioredis")]
        return ", ".join([*versions, f"Node {output('node', '--version')}"])

    def start(self, port, redis, echo):
        return Start(["node", PEERS / "ws/server.mjs", *arguments(port, redis)])


class Nchan(Server):
    name, title = "nchan", "Nchan"
    path, echo, publish = "/sub", None, "/pub"
    packages = {"nginx": NGINX, "libnginx-mod-nchan": NCHAN}
    remark = "one worker, messages in memory, published over its WebSocket and not through Redis; no pings"

    def version(self):
        nginx = subprocess.run([NGINX, "-v"], stderr=subprocess.PIPE, text=True, check=True)
        nchan = output("dpkg-query", "--show", "--showformat=${Version}", "libnginx-mod-nchan")
        return f"{nchan}, nginx {nginx.stderr.split('/')[1].split()[0]}"

    def start(self, port, redis, echo):
        home = BUILT / "nchan"
        home.mkdir(parents=True, exist_ok=True)
        text = (PEERS / "nchan/nginx.conf").read_text()
        text = text.replace("127.0.0.1:PORT", f"127.0.0.1:{port}")
        text = text.replace("load_module MODULE", f"load_module {NCHAN}")
        (home / "nginx.conf").write_text(text)
        return Start([NGINX, "-p", home, "-c", home / "nginx.conf", "-e", "stderr"])


class Venv(Server):
    """What pip installs."""

    packages = {"python3-venv": "/usr/lib/python3.11/ensurepip/__init__.py"}

    @property
    def home(self):
        return BUILT / f"venv-{self.name}"

    @property
    def requirements(self):
        return PEERS / self.name / "requirements.txt"

    def prepare(self):
        run(sys.executable, "-m", "venv", self.home)
        pip = [self.home / "bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        run(*pip, "--requirement", self.requirements)

    def version(self):
        lines = self.requirements.read_text().splitlines()
        pinned = [line.replace("==", " ") for line in lines if "==" in line]
        python = ".".join(map(str, sys.version_info[:3]))
        return ", ".join([*(pin for pin in pinned if "setuptools" not in pin), f"Python {python}"])


class Websockets(Venv):
    name, title = "websockets", "Python websockets"
    slowness = 4
    remark = "redis-py, `broadcast`; a ping every 20 s; a quarter of the messages"

    def start(self, port, redis, echo):
        script = PEERS / "websockets/server.py"
        return Start([self.home / "bin/python", script, *arguments(port, redis)])


class Ws4redis(Venv):
    name, title = "ws4redis", "ws4redis on uWSGI"
    path, echo = "/ws/bench?subscribe-broadcast", None
    stores = True
    most = 450
    slowness = 20
    no_window = "hands on one message of a burst"
    packages = {
        **Venv.packages,
        "gcc": "/usr/bin/gcc",
        "python3-dev": "/usr/include/python3.11/Python.h",
    }
    remark = (
        "one gevent worker, no router before it; two descriptors a connection and none above 1,023, "
        "so 450 connections are all it takes; a ping every 30 s; a twentieth of the messages"
    )

    def start(self, port, redis, echo):
        options = ["--gevent", "500", "--wsgi-file", "wsgi.py", "--die-on-term", "--listen", "512"]
        listen = ["--http-socket", f"127.0.0.1:{port}", "--disable-logging"]
        command = [self.home / "bin/uwsgi", *listen, *options]
        return Start(command, {"REDIS_PORT": str(redis)}, PEERS / "ws4redis")


SERVERS = [
    Floor(),
    Wsloop(),
    Bun(),
    Nchan(),
    Tungstenite(),
    Fastwebsockets(),
    Sockudo(),
    Ws(),
    Websockets(),
    Ws4redis(),
]


def install(servers, works):
    """Installs the Debian packages that these lack, and Redis, without starting services."""
    wanted = {"redis-server": "/usr/bin/redis-server"}
    if not {"tls", "proxy"}.isdisjoint(works):
        wanted.update({"nginx": NGINX, "wrk": "/usr/bin/wrk"})
    for server in servers:
        wanted.update(server.packages)
    missing = [name for name, file in wanted.items() if not (Path(file).exists() or on_path(name))]
    if not missing:
        return
    root = [] if os.getuid() == 0 else ["sudo"]
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        script = "#!/bin/sh\nexit 101\n"
        subprocess.run([*root, "tee", policy], input=script, text=True, check=True,
                       stdout=subprocess.DEVNULL)
        run(*root, "chmod", "+x", policy)
    try:
        run(*root, "apt-get", "update", "-qq")
        get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qq", "--yes"]
        run(*root, *get, "--no-install-recommends", *missing)
    finally:
        if ours:
            run(*root, "rm", "-f", policy)


def prepare(server):
    """Installs or builds the server; raises `Unavailable`."""
    try:
        server.prepare()
        return server.version()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"could not be installed: {error}") from error


def arguments(port, redis):
    return ["--listen", str(port), "--redis", str(redis), "--channel", CHANNEL]


def on_path(package):
    """Node and npm may come from elsewhere than Debian."""
    program = {"nodejs": "node"}.get(package, package)
    return package != "nginx" and any(
        Path(folder, program).exists() for folder in os.environ["PATH"].split(":")
    )


def after(locked, name):
    """A package's version in the text of a package-lock.json."""
    return locked.split(f'"node_modules/{name}": {{')[1].split('"version": "')[1].split('"')[0]


def run(*command):
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)


def output(*command):
    command = [str(part) for part in command]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()
