"""Starts one server at a time and lets `wsloop stress` measure it.

For CPU time, server and tool share one core and Redis has another: on which core the reader wakes is
worth a factor of two in the cost of a `send`, and would drown everything else. Rates and latencies
come from a second process of the server that nothing is pinned for. Every process started here is
ended by its id, however the program ends.
"""

import json
import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

import stored
from servers import BUILT, CHANNEL, ROOT

DESCRIPTORS = 20_000
# How long one run of the tool may take, and how long a server to come up, in seconds.
PATIENCE = 300
START = 30
# Most handshakes under way.
PENDING = 64
SHARED_CORE, REDIS_CORE = 1, 0


class Failed(Exception):
    """A run that has no result, and why."""


@dataclass
class Work:
    """What every server is given to do."""

    # Connections: to hold, and to deliver to.
    many: int = 10_000
    some: int = 1_000
    echoing: int = 100
    # Deliveries of one run: messages are these by the number of connections. Four times as many
    # where user time counts, which the kernel samples, and where messages travel together.
    deliveries: int = 125_000
    echoes: int = 100_000
    size: int = 64
    window: int = 16
    # Seconds that idle connections are watched: longer than the time between two pings.
    idle: int = 35
    # Seconds before memory is read.
    settle: float = 0.5
    growth: tuple = (1_000, 5_000, 10_000, 19_000)
    # Seconds of connecting and closing while others are held.
    churn: int = 5
    # A crowd that hears ten messages of 1 KiB a second, for so many seconds.
    crowd: int = 15_000
    crowded: int = 10
    # What `rows` measures: by how much fewer messages, and which of its sizes and counts.
    part: int = 1
    sizes: tuple = (64, 1 << 10, 16 << 10, 64 << 10, 1 << 20)
    conns: tuple = (15, 100, 1_000, 10_000, 19_000)
    own: int = 10_000
    # How often a round has the floor and wsloop in turn, and messages of each size to a hundred.
    pairs: int = 3
    repeats: int = 2

    @staticmethod
    def quick():
        """Shows that everything works; the numbers mean nothing."""
        return Work(many=300, some=100, echoing=10, deliveries=2_000, echoes=1_000, idle=1,
                    settle=0.1, growth=(100, 400), churn=1, crowd=300, crowded=2, part=50,
                    sizes=(64, 64 << 10), conns=(15,), own=200, pairs=1, repeats=1)


class Bench:
    """Redis, the tool, and one server at a time."""

    def __init__(self, work):
        self.work = work
        self.tool = ROOT / "target/release/wsloop"
        self.running = []
        self.ports = free_ports()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = max(DESCRIPTORS, limit[0])
        if limit[1] != resource.RLIM_INFINITY and limit[1] < DESCRIPTORS:
            raise SystemExit(f"scripts/compare needs {DESCRIPTORS} descriptors, has {limit[1]}")
        # The same for every server, whatever the machine would allow.
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, DESCRIPTORS), DESCRIPTORS))
        if os.cpu_count() < 2:
            raise SystemExit("scripts/compare needs two cores")

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: exit(1))
        self.redis = next(self.ports)
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        command = ["redis-server", "--port", str(self.redis), *options]
        process = self.spawn(command, {}, BUILT, REDIS_CORE, "redis")
        self.await_port(process, self.redis)
        self.redis_process = process
        return self

    def __exit__(self, *_):
        while self.running:
            self.end(self.running[-1])

    def spawn(self, command, environment, directory, core, log):
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        command = [*pinned, *(str(part) for part in command)]
        BUILT.mkdir(parents=True, exist_ok=True)
        with open(BUILT / f"{log}.log", "ab") as output:
            process = subprocess.Popen(command, cwd=directory, env={**os.environ, **environment},
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.running.append(process)
        return process

    def end(self, process):
        """Asks it to end, and its children if it does not."""
        self.running.remove(process)
        family = [process.pid, *children(process.pid)]
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in family[1:]:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def await_port(self, process, port):
        end = time.monotonic() + START
        while time.monotonic() < end:
            if process.poll() is not None:
                raise Failed(f"ended with status {process.returncode} when started")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise Failed(f"did not listen within {START} s")

    def pin_redis(self, pinned):
        cores = {REDIS_CORE} if pinned else set(range(os.cpu_count()))
        for thread in os.listdir(f"/proc/{self.redis_process.pid}/task"):
            os.sched_setaffinity(int(thread), cores)

    def serve(self, server, pinned, echo=False):
        return Serving(self, server, pinned, echo)


class Serving:
    """One process of one server, and the runs against it."""

    def __init__(self, bench, server, pinned, echo):
        self.bench, self.server, self.echo = bench, server, echo
        self.core = SHARED_CORE if pinned else None
        bench.pin_redis(pinned)

    def __enter__(self):
        self.port = next(self.bench.ports)
        start = self.server.start(self.port, self.bench.redis, self.echo)
        self.process = self.bench.spawn(start.command, start.environment, start.directory,
                                        self.core, self.server.name)
        try:
            self.bench.await_port(self.process, self.port)
            # What the server does once it listens is not to be measured.
            time.sleep(0.5)
        except Failed:
            self.bench.end(self.process)
            raise
        return self

    def __exit__(self, *_):
        self.bench.end(self.process)

    def url(self, path):
        return f"ws://127.0.0.1:{self.port}{path}"

    def fan_out(self, clients, deliveries, window=1):
        clients = min(clients, self.server.most)
        if self.server.publish is None:
            redis = f"redis://127.0.0.1:{self.bench.redis}"
            source = ["--redis", redis, "--channel", CHANNEL]
        else:
            source = ["--publish", self.url(self.server.publish)]
        messages = max(1, deliveries // self.server.slowness // clients)
        return self.stress(self.server.path, "fanout", clients, "--messages", messages,
                           "--window", window, "--size", self.bench.work.size, *source)

    def echoes(self, clients, messages):
        return self.stress(self.server.echo, "echo", clients, "--messages", messages // clients,
                           "--window", 1, "--size", self.bench.work.size)

    def idle(self, clients, seconds):
        clients = min(clients, self.server.most)
        return self.stress(self.server.path, "idle", clients, "--duration", seconds)

    def churn(self, held, seconds):
        """Connects and closes, with `held` more connections that stay."""
        holding = self.command(self.server.path, "idle", held, "--duration", PATIENCE)
        # Not at the cost of the core that is measured.
        holder = self.bench.spawn(holding, {}, ROOT, REDIS_CORE, "holder")
        try:
            end = time.monotonic() + START
            while len(os.listdir(f"/proc/{self.process.pid}/fd")) < held:
                if time.monotonic() > end or holder.poll() is not None:
                    raise Failed(f"{held} connections could not be held")
                time.sleep(0.1)
            return self.stress(self.server.path, "churn", PENDING, "--duration", seconds)
        finally:
            self.bench.end(holder)

    def crowd(self, clients, seconds):
        """A crowd that hears much, and beside it a quiet channel; and how far Redis lags."""
        redis = f"redis://127.0.0.1:{self.bench.redis}"
        rate = 10
        quiet = ["--probe", self.url(self.server.quiet), "--probe-channel", "broadcast:quiet"]
        with stored.Lag(self.bench.redis, self.server.name) as lag:
            result = self.stress(self.server.path, "fanout", clients, "--messages", rate * seconds,
                                 "--rate", rate, "--window", rate, "--size", 1024, "--redis", redis,
                                 "--channel", CHANNEL, *quiet)
        result["redis_output_buffer"] = lag.most
        return result

    def latecomers(self, clients):
        """A stored message, then `clients` that connect and get it, in seconds."""
        where = (self.port, self.server.path, self.bench.redis, CHANNEL)
        try:
            return {"clients": clients, "seconds": stored.run(*where, clients)}
        except (OSError, RuntimeError) as error:
            raise Failed(str(error)) from error

    def command(self, path, mode, clients, *options):
        fixed = ["--settle", self.bench.work.settle, "--timeout", 60, "--pending", PENDING, "--json"]
        return [self.bench.tool, "stress", self.url(path), "--mode", mode, "--clients", clients,
                *options, *fixed]

    def stress(self, path, mode, clients, *options, pids=None):
        """The tool's report; what it says of the server is of these processes, if they are given."""
        pids = pids or [self.process.pid, *children(self.process.pid)]
        named = [option for pid in pids for option in ("--pid", pid)]
        pinned = [] if self.core is None else ["taskset", "--cpu-list", self.core]
        command = [*pinned, *self.command(path, mode, clients, *options, *named)]
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.bench.running.append(process)
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.bench.end(process)
            raise Failed(f"took longer than {PATIENCE} s") from None
        self.bench.running.remove(process)
        if self.process.poll() is not None:
            raise Failed(f"the server ended with status {self.process.returncode}")
        try:
            result = json.loads(output)
        except ValueError:
            raise Failed((errors.strip().splitlines() or ["no result"])[-1]) from None
        if process.returncode or result["connected"] < clients:
            counts = {what: result[what] for what in ("lost", "duplicated", "reordered", "corrupt")}
            counts["connected"] = result["connected"]
            wrong = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
            raise Failed(result["failure"] or f"of {clients} clients: {wrong}")
        return result


def rounds(bench, server):
    """All runs against one server, once: (name, result or `Failed`) one after the other."""
    work = bench.work

    with bench.serve(server, pinned=True) as serving:
        # The first run is of a process that has done nothing, for its memory; it warms it up.
        burst = work.window if server.no_window is None else 1
        yield attempt("memory", serving.fan_out, work.many, work.deliveries, burst)
        yield attempt("many", serving.fan_out, work.many, work.deliveries * 4)
        yield attempt("some", serving.fan_out, work.some, work.deliveries)
        if server.no_window is None:
            yield attempt("window", serving.fan_out, work.some, work.deliveries * 4, work.window)
        if server.pings:
            yield attempt("idle", serving.idle, work.many, work.idle)
    if server.echo is not None:
        with bench.serve(server, pinned=True, echo=True) as serving:
            attempt("warm", serving.echoes, work.echoing, work.echoes // 4)
            yield attempt("echo", serving.echoes, work.echoing, work.echoes)
    with bench.serve(server, pinned=False) as serving:
        attempt("warm", serving.fan_out, work.some, work.deliveries // 4)
        yield attempt("free connect", serving.fan_out, work.many, work.many)
        yield attempt("free some", serving.fan_out, work.some, work.deliveries)
        if server.no_window is None:
            yield attempt("free window", serving.fan_out, work.some, work.deliveries * 4,
                          work.window)
        yield attempt("free once", serving.fan_out, work.some, work.some)
        if server.stores:
            yield attempt("free stored", serving.latecomers, work.some)
    if server.echo is not None:
        with bench.serve(server, pinned=False, echo=True) as serving:
            attempt("warm", serving.echoes, work.echoing, work.echoes // 4)
            yield attempt("free echo", serving.echoes, work.echoing, work.echoes)


def attempt(name, run, *arguments):
    try:
        return name, run(*arguments)
    except Failed as failure:
        return name, failure


def growth(bench, server):
    """The same work with ever more connections, each of a fresh process."""
    work = bench.work
    for clients in work.growth:
        with bench.serve(server, pinned=True) as serving:
            yield attempt(f"growth {clients}", serving.fan_out, clients, work.deliveries * 4)
            # Those that come and go are some of them.
            yield attempt(f"churn {clients}", serving.churn, clients - PENDING, work.churn)


def crowd(bench, server):
    """Who has little to hear while many hear much."""
    with bench.serve(server, pinned=False) as serving:
        attempt("warm", serving.fan_out, bench.work.some, bench.work.deliveries // 4)
        yield attempt("crowd", serving.crowd, bench.work.crowd, bench.work.crowded)


def children(pid):
    """The processes that the process has started, and theirs."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            direct = [int(child) for child in file.read().split()]
    except OSError:
        return []
    return [family for child in direct for family in (child, *children(child))]


def free_ports():
    """Ports below those that clients are given, or a client's could be one of them by now."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    for port in range(first - 1, 1024, -1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
            except OSError:
                continue
        # Each once: what a server leaves behind when it ends is not the next one's.
        yield port
