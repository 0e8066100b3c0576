"""One port with the application: what wsloop takes that hands requests on, and what nginx takes.

    scripts/compare --work proxy

The application is an nginx that answers from files. The two proxies have core 0, one after the other;
the application and the load, which is `wrk`, have core 1. Measured is the proxy's processor time for a
request by the size of its answer, in alternating pairs, and its memory for each connection that rests
between two requests. What it finds is kept in target/compare/proxied.json, for BENCHMARKS.md.
"""

import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import secured
from servers import NGINX

# The size of an answer in bytes, and how many connections ask for it.
SIZES = ((128, 16), (16 << 10, 16), (1 << 20, 8))
RESULTS = secured.ROOT / "target/compare/proxied.json"
PROXY_CORE, LOAD_CORE = 0, 1
# What both set alike; the processes do not fork, so that their ids are the ones that are measured.
COMMON = """user root; daemon off; master_process off; pid {folder}/{name}.pid;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 100000000; keepalive_timeout 75; {bodies}
"""
ORIGIN = COMMON + """sendfile on;
server {{ listen 127.0.0.1:{origin} backlog=4096; root {folder}/files; }} }}
"""
PROXY = COMMON + """upstream app {{ server 127.0.0.1:{origin}; keepalive 32; }}
server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}
"""


@dataclass
class Work:
    """How much is done."""

    rounds: int = 5
    seconds: int = 3
    idle: int = 8_000


def main(quick=False):
    """Measures and keeps what is found; a quick run shows that it works, and keeps nothing."""
    work = Work(1, 1, 100) if quick else Work()
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as folder, Proxies(Path(folder)) as proxies:
        found = {}
        for size, clients in SIZES:
            found[f"a request, answer of {size:,} bytes, µs"] = proxies.compare(work, size, clients)
    with tempfile.TemporaryDirectory() as folder, Proxies(Path(folder)) as proxies:
        found[f"memory of a connection that rests, of {work.idle:,}, bytes"] = proxies.rest(work.idle)
    secured.keep(RESULTS, found, quick)


def section():
    """What was found, for the page; nothing where it was not measured."""
    if not RESULTS.exists():
        return ""
    return "\n".join([
        "## One port with the application", "",
        "wsloop with `--upstream`, and nginx as the proxy of the same application: µs of the proxy's CPU",
        "for a request on a connection that is kept, and user space for a connection that rests between",
        "two requests. `scripts/compare --work proxy` measures it.", "",
        *secured.table(json.loads(RESULTS.read_text()))])


class Proxies:
    """The application, and both proxies before it."""

    def __init__(self, folder):
        self.folder = folder
        self.running = []

    def __enter__(self):
        files = self.folder / "files"
        files.mkdir()
        for size, _ in SIZES:
            (files / str(size)).write_bytes(b"x" * size)
        origin, self.nginx_port, self.wsloop_port = (secured.free_port() for _ in range(3))
        program = str(secured.ROOT / "target/release/wsloop")
        self.start_nginx("origin", ORIGIN, LOAD_CORE, origin, origin)
        self.nginx = self.start_nginx("proxy", PROXY, PROXY_CORE, origin, self.nginx_port)
        self.wsloop = self.start(
            PROXY_CORE, program, "--listen", f"127.0.0.1:{self.wsloop_port}", "--resp", "off",
            "--log", "error", "--max-handshakes", "16000", "--upstream", f"http://127.0.0.1:{origin}")
        for port in (origin, self.nginx_port, self.wsloop_port):
            secured.wait_for(port)
        self.both = ((self.wsloop.pid, self.wsloop_port), (self.nginx.pid, self.nginx_port))
        return self

    def __exit__(self, *_):
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()

    def start(self, core, *command):
        pinned = ["taskset", "--cpu-list", str(core), *command]
        self.running.append(subprocess.Popen(pinned, stdout=subprocess.DEVNULL))
        return self.running[-1]

    def start_nginx(self, name, text, core, origin, port):
        names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        bodies = "".join(f"{body}_temp_path {self.folder}/{name}-{body};\n" for body in names)
        config = self.folder / f"{name}.conf"
        config.write_text(text.format(folder=self.folder, name=name, bodies=bodies, origin=origin,
                                      port=port))
        return self.start(core, NGINX, "-c", str(config), "-e", "/dev/null")

    def compare(self, work, size, clients):
        """wsloop's median and nginx's, in pairs of which each begins every other."""
        found = ([], [])
        for number in range(work.rounds):
            for which in ((0, 1), (1, 0))[number % 2]:
                found[which].append(load(work.seconds, *self.both[which], size, clients))
        return [median(values) for values in found]

    def rest(self, count):
        """Bytes of user space for each; the first few of a process are not the usual ones."""
        found = []
        for pid, port in self.both:
            few = [ask(port) for _ in range(50)]
            before = secured.memory([pid])
            many = [ask(port) for _ in range(count)]
            time.sleep(3)
            found.append((secured.memory([pid]) - before) / count)
            for stream in [*few, *many]:
                stream.close()
            time.sleep(2)
        return found


def load(seconds, pid, port, size, clients):
    """µs of the process for each request."""
    before = secured.processor_s([pid])
    run = subprocess.run(
        ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "-t1", f"-c{clients}", f"-d{seconds}s",
         f"http://127.0.0.1:{port}/{size}"], check=True, capture_output=True, text=True)
    used = secured.processor_s([pid]) - before
    if "Non-2xx" in run.stdout or "Socket errors" in run.stdout:
        sys.exit(f"not every request was answered well:\n{run.stdout}")
    return used * 1e6 / int(re.search(r"(\d+) requests in", run.stdout)[1])


def ask(port):
    """A connection that has had one answer."""
    stream = socket.create_connection(("127.0.0.1", port))
    stream.sendall(f"GET /{SIZES[0][0]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = stream.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return stream


if __name__ == "__main__":
    main()
