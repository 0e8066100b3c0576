"""The commonest work, row by row: who is measured at it, what is run, and what wsloop is to reach.

Each row of a group is one piece of work, and each server that can do it has its column. A group
runs in every round; `scripts/compare --work` chooses among them. Each row is measured of one server
after the other, each in a process of its own, so that a ratio is of runs that follow each other:
what a virtual machine can do changes by half within minutes. What has to be near another is measured
several times a round.
"""

import subprocess
from dataclasses import dataclass, field
from statistics import median
from typing import Callable

import deflated
import plots
from measure import Failed, attempt
from servers import CHANNEL, ROOT

FAST = ("floor", "wsloop", "bun", "fastwebsockets", "sockudo")
PEERS = ("bun", "fastwebsockets", "sockudo")
OWN_WINDOWS = (1, 64)
# Connections and messages in flight for each.
THROUGH = ((1, 1), (1, 64), (100, 1), (100, 64))
JSON = (1 << 10, 4 << 10)
CHURN_S = 3
# What wsloop is to reach beside the floor, in times of it: of deliveries to some and to many, and
# of the rest.
DELIVERIES = 1.08
PAIR_LABELS = {"handshake": "a handshake", "window": "1,000 connections, 16 messages in flight",
               "echo": "an echo of 64 bytes, 100 connections",
               "last": "until the last of 1,000 has a message"}
PAIRED = {"handshake": 1.10, "window": 1.20, "echo": 1.05, "last": 1.30}
# A run takes a second of the server's at least: a tenth of that varies by half and more.
MESSAGES = 400_000
BYTES = 4 << 30
# Kinds of sites, as the benches' `memory` calls them.
SITES = {"one": "all on one channel", "own": "each on its own",
         "groups": "broadcast, user and five groups", "dedicated": "dedicated compression"}


def own(bench, server):
    """Each connection has a channel of its own, and messages go to one after the other."""
    work = bench.work
    redis = ["--redis", f"redis://127.0.0.1:{bench.redis}"]
    with bench.serve(server, pinned=True) as serving:
        for window in OWN_WINDOWS:
            messages = (100_000 if window > 1 else 20_000) // work.part
            path = f"/ws/own-{serving.port}-{{n}}?subscribe-broadcast"
            run = ["fanout", work.own, "--messages", messages, "--window", window, *redis]
            yield attempt(f"own {window}", beside_redis, serving, path, *run)


def through(bench, server):
    """What a browser says comes back to it, through Redis."""
    work = bench.work
    with bench.serve(server.with_arguments("--allow", "all"), pinned=True) as serving:
        for clients, window in THROUGH:
            messages = max(1, (40_000 if clients * window > 1 else 10_000) // work.part // clients)
            query = "subscribe-broadcast&publish-broadcast&echo"
            path = f"/ws/through-{serving.port}-{clients}-{window}-{{n}}?{query}"
            run = ["echo", clients, "--messages", messages, "--window", window]
            yield attempt(f"through {clients} {window}", beside_redis, serving, path, *run)


def sites(bench, server):
    """The core's memory for each connection, by kinds of sites, by an allocator that counts."""
    yield from memory(bench.work.many, SITES)


def memory(conns, kinds):
    command = ["cargo", "run", "--quiet", "--release", "--package", "wsloop-benches", "--bin",
               "memory", str(conns)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for name, kind in kinds.items():
        line = next(line for line in done.stdout.splitlines() if line.startswith(kind))
        idle, after, gone, _ = line.removeprefix(kind).split()
        yield f"sites {name}", {"idle": float(idle), "after": float(after), "gone": float(gone)}


def beside_redis(serving, path, *run):
    """Two runs: one of which the server's processor time is known, and one of which Redis's is."""
    result = serving.stress(path, *run)
    # What is stored is not to be taken for a message of the second run.
    redis = serving.stress(path.replace("-{n}", "-redis-{n}"), *run,
                           pids=[serving.bench.redis_process.pid])
    result["redis_cpu_us"] = redis["server"]["delivery_cpu_us"]
    return result


def echo(bench, server):
    """Messages of each size come back."""
    work = bench.work
    for size in work.sizes:
        clients = 100 if size <= 16 << 10 else 16 if size <= 64 << 10 else 8
        messages = max(1, min(MESSAGES, BYTES // size) // work.part // clients)
        with bench.serve(server, pinned=True, echo=True) as serving:
            attempt("warm", echoes, serving, clients, max(1, messages // 10), size)
            result = attempt(f"echo {size}", echoes, serving, clients, messages, size)
        yield result


def echoes(serving, clients, messages, size):
    return serving.stress(serving.server.echo, "echo", clients, "--messages", messages,
                          "--window", 1, "--size", size)


def fanout(bench, server):
    """Messages of each size to a few."""
    for size in bench.work.repeats * bench.work.sizes:
        yield warm_fan_out(f"fanout {size}", bench, server, 100 if size < 1 << 20 else 20, size)


def conns(bench, server):
    """Small messages to few and to many."""
    for clients in bench.work.conns:
        yield warm_fan_out(f"conns {clients}", bench, server, clients, 64)


def pairs(bench, server):
    """What the floor does as well, one of the two after the other."""
    work = bench.work
    for _ in range(work.pairs):
        yield handshakes(bench, server)
        for clients in work.conns:
            yield with_us(warm_fan_out(f"pairs {clients}", bench, server, clients, 64), us)
        with bench.serve(server, pinned=True) as serving:
            attempt("warm", serving.fan_out, work.some, work.deliveries // 4)
            run = attempt("pairs window", serving.fan_out, work.some, work.deliveries * 4,
                          work.window)
        yield with_us(run, us)
        with bench.serve(server, pinned=True, echo=True) as serving:
            attempt("warm", serving.echoes, work.echoing, work.echoes // 4)
            run = attempt("pairs echo", serving.echoes, work.echoing, MESSAGES // work.part)
        yield with_us(run, us)
        with bench.serve(server, pinned=False) as serving:
            attempt("warm", serving.fan_out, work.some, work.deliveries // 4)
            run = attempt("pairs last", serving.fan_out, work.some, work.deliveries)
        yield with_us(run, lambda result: 1000 * result["last_ms"]["p50"])


def handshakes(bench, server):
    """Of ten thousand, after as many that have come and gone."""
    with bench.serve(server, pinned=True) as serving:
        for name in ("warm", "pairs handshake"):
            run = attempt(name, serving.fan_out, bench.work.many, bench.work.many)
    return with_us(run, handshake_us)


def with_us(run, take):
    """The run, and in its result the figure that the pairs are compared by."""
    name, result = run
    return name, result if isinstance(result, Failed) else {**result, "us": take(result)}


def warm_fan_out(name, bench, server, clients, size):
    with bench.serve(server, pinned=True) as serving:
        deliveries = min(MESSAGES, 2 * BYTES // size) // bench.work.part
        attempt("warm", fan_out, serving, clients, deliveries // 10, size)
        return attempt(name, fan_out, serving, clients, deliveries, size)


def fan_out(serving, clients, deliveries, size):
    redis = f"redis://127.0.0.1:{serving.bench.redis}"
    return serving.stress(serving.server.path, "fanout", clients, "--messages",
                          max(4, deliveries // clients), "--window", 1, "--size", size, "--redis",
                          redis, "--channel", CHANNEL)


def churn(bench, server):
    """Connections come and go."""
    seconds = CHURN_S / bench.work.part
    with bench.serve(server, pinned=True) as serving:
        attempt("warm", serving.stress, server.path, "churn", 64, "--duration", seconds)
        result = attempt("churn", serving.stress, server.path, "churn", 64, "--duration", seconds)
    yield result


def deflate(bench, server):
    """Messages of JSON, compressed, to a hundred."""
    messages = max(2, 500 // bench.work.part)
    other = server.with_arguments("--deflate") if server.name == "bun" else server
    for size in JSON:
        with bench.serve(other, pinned=True) as serving:
            where = (serving.port, server.path, bench.redis, CHANNEL, serving.process.pid)
            result = attempt(f"deflate {size}", deflating, where, size, messages)
        yield result


def deflating(where, size, messages):
    try:
        return deflated.run(*where, size, messages)
    except (OSError, RuntimeError) as error:
        raise Failed(str(error)) from error


@dataclass
class Group:
    """Work of one kind."""

    title: str
    text: str
    run: Callable
    # Who takes part.
    servers: tuple
    # What is shown of a result, by the title of its column.
    figures: dict
    # What wsloop is to reach, in times of the best of these.
    times: float = None
    beside: tuple = ()
    # Or at most so much, by run and figure.
    most: dict = field(default_factory=dict)


def us(result):
    return (result["server"] or {}).get("delivery_cpu_us")


def handshake_us(result):
    return (result["server"] or {}).get("handshake_cpu_us")


def latency(name):
    return lambda result: result["latency_ms"][name]


CPU = {"µs": us}
BESIDE_REDIS = {"µs": us, "µs of Redis": lambda result: result["redis_cpu_us"],
                "p50, ms": latency("p50"), "p99, ms": latency("p99")}

GROUPS = {
    "sites": Group(
        "Memory by kinds of sites", "Bytes of user space for each of 10,000 connections of the "
        "core: all open, after sixteen small messages to each (dedicated: sixty of 1 KiB), and ten "
        "seconds after all have gone. Every user with five groups has a token of their own, and a "
        "hundred share a group.", sites, ("wsloop",), {
            title: lambda result, key=key: result[key]
            for key, title in (("idle", "idle"), ("after", "after messages"), ("gone", "gone"))},
        most={("sites own", "after"): 280, ("sites groups", "after"): 400,
              ("sites dedicated", "idle"): 220, ("sites dedicated", "after"): 1_500}),
    "own": Group(
        "A channel for each", "As many connections as are said, each with a channel of its own, to "
        "which messages of 64 bytes go in turn: µs of server and of Redis for each message, 1 and "
        "64 in flight.", own, ("wsloop",), BESIDE_REDIS),
    "through": Group(
        "From browser to browser, through Redis", "Each connection hears in a room of its own what "
        "it has said there: published, stored and delivered. Connections, and messages in flight "
        "for each.", through, ("wsloop",), BESIDE_REDIS),
    "echo": Group(
        "Messages that come back, by size", "µs of server for each, one in flight on each of 100 "
        "connections up to 16 KiB, 16 at 64 KiB, 8 at 1 MiB.", echo, FAST, CPU, 1.15, PEERS),
    "fanout": Group(
        "Messages to a hundred, by size", "µs of server for each delivery; 1 MiB goes to 20.",
        fanout, FAST, CPU, 1.05, PEERS),
    "conns": Group(
        "Messages to few and to many", "µs of server for each delivery of 64 bytes, by connections.",
        conns, FAST, CPU),
    "pairs": Group(
        "Beside the floor", "µs of server: the floor and wsloop in turn, several times a round. Until "
        "the last has it, in µs of wall time, with nothing pinned.",
        pairs, ("floor", "wsloop"), {"µs": lambda result: result["us"]}, DELIVERIES, ("floor",)),
    "churn": Group(
        "Opening and closing", "µs of server for each connection that opens, sends its close frame "
        "and is closed, 64 of them at a time.", churn, FAST,
        {"µs": handshake_us}, 1.15, ("bun",)),
    "deflate": Group(
        "Compressed JSON to a hundred", "wsloop compresses a message once for all who hear it, "
        "Bun with the compressor that its connections share: once for each of them.", deflate,
        ("wsloop", "bun"), {"µs": lambda result: result["delivery_cpu_us"],
                            "bytes on the wire": lambda result: result["wire_bytes"]}, 1.0,
        ("bun",)),
}


def runs_of(results, group):
    """The names of a group's runs, in their order."""
    found = [entry["run"] for entry in results.raw["runs"]
             if entry["work"] == group and entry["server"] in GROUPS[group].servers]
    return list(dict.fromkeys(found))


def ratios(results, group, run):
    """Times the best of those that wsloop is to be held against, run by run."""
    take = next(iter(group.figures.values()))
    ours = results.values("wsloop", run, take)
    others = [results.values(name, run, take) for name in group.beside]
    best = {at: min(other[at] for other in others if other.get(at))
            for at in ours if any(other.get(at) for other in others)}
    return [ours[at] / best[at] for at in best]


def targets(results):
    """Rows for the table of what is to be reached."""
    rows = []
    for name, group in GROUPS.items():
        rows += [bounded(results, *at, most) for at, most in group.most.items()]
        if group.times is None:
            continue
        beside = "Bun's" if group.beside == ("bun",) else "the floor" \
            if group.beside == ("floor",) else "the best peer's"
        for run in runs_of(results, name):
            found = ratios(results, group, run)
            shown = "{:.3f} × ({:.3f}–{:.3f})".format(
                median(found), min(found), max(found)) if found else ""
            times = group.times if name != "pairs" else PAIRED.get(run.split()[1], DELIVERIES)
            verdict = ("yes" if median(found) <= times else "**no**") if found \
                else "not measured"
            rows.append(f"| {group.title.lower()}: {label(run)} | {times:.2f} × {beside} | "
                        f"{shown} | {verdict} |")
    return rows


def bounded(results, run, key, most):
    """A row for what is to be at most so much."""
    values = list(results.values("wsloop", run, lambda result: result[key]).values())
    shown = plots.figure(median(values)) if values else ""
    verdict = ("yes" if median(values) <= most else "**no**") if values else "not measured"
    when = "idle" if key == "idle" else "after messages"
    work = f"user space per connection, {label(run)}, {when}"
    return f"| {work} | {most:,} | {shown} | {verdict} |"


def label(run):
    """What a run is about, in words."""
    group, *rest = run.split()
    if group in ("echo", "fanout", "deflate"):
        size = int(rest[0])
        return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" \
            if size >= 1 << 10 else f"{size} B"
    if group == "through":
        return f"{rest[0]} connection{'s' * (rest[0] != '1')}, {rest[1]} in flight"
    if group == "sites":
        return SITES[rest[0]]
    if group == "own":
        return f"{rest[0]} in flight"
    if group == "pairs" and rest[0] in PAIR_LABELS:
        return PAIR_LABELS[rest[0]]
    return f"{int(rest[0]):,} connections" if group in ("conns", "pairs") else "one connection"


def sections(results):
    """The tables, one for each group that was measured."""
    return [section(results, name, group) for name, group in GROUPS.items()
            if runs_of(results, name)]


def section(results, name, group):
    servers = [entry for entry in results.raw["servers"] if entry["name"] in group.servers
               and "unavailable" not in entry]
    columns = [(entry, title, take) for entry in servers
               for title, take in group.figures.items()]
    heads = [f"{entry['title']}, {title}" for entry, title, _ in columns]
    rows = ["| | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for run in runs_of(results, name):
        cells = [cell(results, entry["name"], run, take) for entry, _, take in columns]
        rows.append(f"| {label(run)} | " + " | ".join(cells) + " |")
    return f"## {group.title}\n\n{group.text}\n\n" + "\n".join(rows)


def cell(results, name, run, take):
    values = list(results.values(name, run, take).values())
    if not values:
        failed = results.failure(name, run)
        return f"failed: {failed}" if failed else "–"
    middle, least, most = map(plots.figure, (median(values), min(values), max(values)))
    return middle if len(values) == 1 else f"{middle} ({least}–{most})"
