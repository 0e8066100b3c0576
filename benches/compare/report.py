"""Makes BENCHMARKS.md and its plots of the results; measures nothing."""

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Callable

import plots
import proxied
import rows as commonest
import secured
from servers import ROOT

PLOTS = ROOT / "benches/plots"
PAGE = ROOT / "BENCHMARKS.md"


@dataclass
class Figure:
    """One column: from which run it is taken, and how."""

    title: str
    unit: str
    run: str
    take: Callable
    # Whether it says something how many times the floor's it is.
    relative: bool = True


def server(name):
    return lambda result: (result["server"] or {}).get(name)


def nested(outer, inner):
    return lambda result: result[outer][inner]


FIGURES = {
    "idle": Figure("idle", "bytes", "memory", server("bytes_per_conn"), False),
    "after": Figure("after the burst", "bytes", "memory", server("bytes_per_conn_after"),
                    False),
    "cpu idle": Figure("CPU while idle", "% of a core", "idle", server("idle_cpu_percent"), False),
    "handshake": Figure("a handshake", "µs", "many", server("handshake_cpu_us")),
    "one of some": Figure("to 1,000, one at a time", "µs", "some", server("delivery_cpu_us")),
    "one of many": Figure("to 10,000, one at a time", "µs", "many", server("delivery_cpu_us")),
    "user of many": Figure("of it user time", "µs", "many", server("delivery_user_us"),
                           False),
    "window": Figure("to 1,000, 16 in flight", "µs", "window", server("delivery_cpu_us")),
    "echo": Figure("echo, 64 bytes", "µs", "echo", server("delivery_cpu_us")),
    "connects": Figure("handshakes", "per s", "free connect", nested("connect", "per_s")),
    "rate": Figure("deliveries, one at a time", "per s", "free some",
                   lambda result: result["deliveries_per_s"]),
    "window rate": Figure("deliveries, 16 in flight", "per s", "free window",
                          lambda result: result["deliveries_per_s"]),
    "p50": Figure("p50", "ms", "free some", nested("latency_ms", "p50")),
    "p99": Figure("p99", "ms", "free some", nested("latency_ms", "p99")),
    "p999": Figure("p99.9", "ms", "free some", nested("latency_ms", "p999")),
    "last": Figure("until the last of 1,000 has it", "ms", "free some", nested("last_ms", "p50")),
    "echo p50": Figure("echo p50", "ms", "free echo", nested("latency_ms", "p50")),
    "echo p99": Figure("echo p99", "ms", "free echo", nested("latency_ms", "p99")),
    "once": Figure("1,000 connect, then one message", "s", "free once",
                   lambda result: result["connect"]["seconds"] + result["last_ms"]["max"] / 1000),
    "quiet": Figure("p99 of a quiet channel beside a crowd", "ms", "crowd",
                    lambda result: result["probe"]["latency_ms"]["p99"], False),
    "lag": Figure("Redis's output buffer meanwhile", "KiB", "crowd",
                  lambda result: result["redis_output_buffer"] / 1024, False),
    "stored": Figure("1,000 connect to a stored message", "s", "free stored",
                     lambda result: result["seconds"]),
}

TABLES = [
    ("Memory, and CPU while nothing happens",
     "Private memory of the server's processes (what is not shared with others, the kernel's 4 KB "
     "for each socket not counted) for each of 10,000 connections that are subscribed to one "
     "channel: before the first message, and after a burst. Then CPU while they are idle.",
     ["idle", "after", "cpu idle"]),
    ("CPU for each operation",
     "User and system time of the server, which shares one core with the load tool.",
     ["handshake", "one of some", "one of many", "user of many", "window", "echo"]),
    ("Rates", "Wall time, nothing pinned. The load tool and Redis take their part of the two cores.",
     ["connects", "rate", "window rate"]),
    ("Latencies",
     "Wall time, nothing pinned. A message to 1,000 at a time, from its publishing to its arrival; "
     "the last of the 1,000 is the median over all messages.",
     ["p50", "p99", "p999", "last", "echo p50", "echo p99"]),
    ("The stress test of ws4redis",
     "A thousand connect and each gets a message, in wall time. Who keeps the last message for "
     "latecomers is also tested as the original does it: the message is there first, everybody "
     "leaves when they have it, and the client is Python.",
     ["once", "stored"]),
]


@dataclass
class Target:
    """What wsloop is to reach: at most so much."""

    work: str
    figure: str
    most: float


TARGETS = [
    Target("user space per idle, subscribed connection", "idle", 300),
    Target("the same after a burst of traffic", "after", 300),
    Target("user time per delivery, one message at a time, 10,000 subscribers, in µs",
           "user of many", 0.4),
    Target("a quiet channel's p99 while 15,000 hear 10 messages of 1 KiB a second, in ms", "quiet",
           10),
    Target("Redis's output buffer for wsloop meanwhile, in KiB", "lag", 1024),
    Target("CPU while 10,000 connections idle with pings on, % of a core", "cpu idle", 0.5),
]


# What was looked into of those that may not be reached. What is measured stands in the tables.
MISSED = """## What stands in the way of the rest

- **A handshake** makes the same four system calls as the floor's, which looks for the key in what it
  read and believes the rest. Of wsloop's 14,100 instructions (`benches/counts.tsv`) SHA-1 takes 2,750,
  as with the floor, and the parsing of the head 2,830; the rest checks head, URL, Origin and
  permissions, and enters the connection into the tables of links, channels and timers. No function
  among these takes more than 600.
- **User space for each of 19,000** is held against what a process has from its start, see
  [Growth](#growth)."""


class Results:
    """Answers questions about the raw results."""

    def __init__(self, raw):
        self.raw = raw
        self.names = [entry["name"] for entry in raw["servers"] if "unavailable" not in entry]

    def values(self, name, run, take):
        """By round, and which of the round's."""
        found, seen = {}, Counter()
        for entry in self.raw["runs"]:
            if (entry["server"], entry["run"]) == (name, run):
                at = entry["round"], seen[entry["round"]]
                seen[entry["round"]] += 1
                value = take(entry["result"]) if "result" in entry else None
                if value is not None:
                    found[at] = value
        return found

    def of(self, name, key):
        return self.values(name, FIGURES[key].run, FIGURES[key].take)

    def failure(self, name, run):
        """Why a run has no result."""
        for entry in self.raw["runs"]:
            if (entry["server"], entry["run"]) == (name, run) and "failed" in entry:
                return entry["failed"]
        return None

    def clients(self, name, run):
        counts = self.values(name, run, lambda result: result.get("clients"))
        return next(iter(counts.values()), None)

    def expected(self, run):
        """How many connections the run has for whoever takes them all."""
        return max((self.clients(name, run) or 0 for name in self.names), default=0)

    def ratios(self, name, key):
        """Times the floor's, in the same rounds."""
        ours, floor = self.of(name, key), self.of("floor", key)
        return [ours[at] / floor[at] for at in ours if floor.get(at)]


def spread(values):
    values = list(values)
    return median(values), min(values), max(values)


def words(values):
    """The median and, where there are several, the least and the most."""
    middle, least, most = map(plots.figure, spread(values))
    return middle if len(values) == 1 else f"{middle} ({least}–{most})"


def write(raw):
    """Writes the page and its plots, and returns the page's path."""
    results = Results(raw)
    PLOTS.mkdir(exist_ok=True)
    parts = [introduction(raw), reached(results), MISSED]
    pictures = draw(results)
    for number, (title, text, keys) in enumerate(TABLES):
        parts.append(f"## {title}\n\n{text}\n\n{table(results, keys)}")
        parts.extend(picture(*named) for named in pictures.get(number, []))
    parts += [*commonest.sections(results), growth(results),
              secured.section(), proxied.section(), machine(raw), method(raw)]
    PAGE.write_text("\n\n".join(part.strip() for part in parts if part) + "\n")
    return PAGE


def introduction(raw):
    small = "" if not raw["quick"] else (
        "\n\n**Made by a shortened run, which shows that the script works: believe no number.**")
    return f"""# Benchmarks

wsloop beside what one would use instead, and beside a floor: the cheapest loop that can be written
with epoll and `send`, with no safety at all. `scripts/compare` measures them one after the other, in
{raw["rounds"]} round{"s" * (raw["rounds"] != 1)}, and writes this page; run it on a machine of your own.
Given is the median of the rounds, with the least and the most in parentheses. A difference below 1.15
times needs more rounds before it is believed.{small}"""


def reached(results):
    if "wsloop" not in results.names:
        return ""
    rows = ["## What wsloop is to reach", "",
            "| work | at most | measured | reached |", "|---|---|---|---|"]
    for target in TARGETS:
        values = list(results.of("wsloop", target.figure).values())
        shown = words(values) if values else ""
        verdict = ("yes" if median(values) <= target.most else "**no**") if values \
            else "not measured"
        rows.append(f"| {target.work} | {plots.figure(target.most)} | {shown} | {verdict} |")
    rows += commonest.targets(results)
    rows += [further_row(results)]
    rows += [growth_row(results, *row) for row in GROWTH if row[-1] is not None]
    rows.append("| the core alone, a million connections with one subscription each, bytes | 200 | "
                "see `cargo run --release -p wsloop-benches --bin memory 1000000` | |")
    return "\n".join(rows)


def table(results, keys):
    """Servers by figures, each with how many times the floor's it is."""
    titles = [f"{FIGURES[key].title}, {FIGURES[key].unit}" for key in keys]
    rows = ["| | " + " | ".join(titles) + " |", "|---" * (len(keys) + 1) + "|"]
    for entry in results.raw["servers"]:
        if "unavailable" in entry:
            cells = [entry["unavailable"]] + [""] * (len(keys) - 1)
        else:
            cells = [cell(results, entry, key) for key in keys]
        rows.append(f"| {entry['title']} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def cell(results, entry, key):
    name, figure = entry["name"], FIGURES[key]
    values = list(results.of(name, key).values())
    if not values:
        failed = results.failure(name, figure.run)
        if failed:
            return f"failed: {failed}"
        return entry["no_window"] if "window" in figure.run and entry["no_window"] else "–"
    shown = words(values)
    ratios = results.ratios(name, key)
    if name != "floor" and figure.relative and ratios:
        shown += f"; {plots.figure(median(ratios))} ×"
    clients = results.clients(name, figure.run)
    if clients and clients < results.expected(figure.run):
        shown += f" [{clients} connections]"
    return shown


def draw(results):
    """Draws the bars; returns which belong under which table."""
    drawn = {}
    wanted = [
        (0, "memory", "idle", "User space per idle connection", "bytes, logarithmic", True),
        (1, "delivery", "one of some", "CPU per delivery to 1,000, one message at a time",
         "µs of server CPU time", False),
        (1, "window", "window", "CPU per delivery to 1,000, 16 messages in flight",
         "µs of server CPU time", False),
        (1, "handshake", "handshake", "CPU per handshake", "µs of server CPU time, logarithmic",
         True),
    ]
    for number, file, key, title, note, log in wanted:
        rows = []
        for entry in results.raw["servers"]:
            values = list(results.of(entry["name"], key).values())
            if values:
                colours = {"wsloop": plots.OURS, "floor": plots.FLOOR}
                colour = colours.get(entry["name"], plots.OTHERS)
                rows.append((entry["title"], spread(values), colour))
        if rows and max(most for _, (_, _, most), _ in rows) > 0:
            rows.sort(key=lambda row: row[1][0])
            (PLOTS / f"{file}.svg").write_text(plots.bars(title, note, rows, log))
            drawn.setdefault(number, []).append((title, file))
    return drawn


def picture(title, file):
    return f"![{title}](benches/plots/{file}.svg)"


# Title, unit, run, figure of the server, and how much more the most connections may take.
GROWTH = [
    ("user space per connection", "bytes", "growth", "bytes_per_conn", 1.05),
    ("user time per delivery", "µs", "growth", "delivery_user_us", 1.25),
    ("user time per handshake, with its closing", "µs", "churn", "handshake_user_us", 1.25),
    ("CPU per delivery", "µs", "growth", "delivery_cpu_us", None),
    ("CPU per handshake, with its closing", "µs", "churn", "handshake_cpu_us", None),
]


def grown(results, run, key):
    """The values of all rounds by number of connections."""
    take = server(key)
    found = {clients: list(results.values("wsloop", f"{run} {clients}", take).values())
             for clients in results.raw["growth"]}
    return {clients: values for clients, values in found.items() if values}


def further_row(results):
    """What one more connection takes when there are many, against when there are few: the first
    thousand fit partly into what a process has from its start."""
    title, limit = "user space of each further connection", 1.25
    held = {clients: median(values.values()) for clients in results.raw["growth"]
            if (values := results.values("wsloop", f"growth {clients}", connected))}
    if len(held) < 3:
        return f"| {title}, as connections grow | {limit} × | | not measured |"
    counts = sorted(held)
    each = [(held[many] - held[few]) / (many - few) for few, many in zip(counts, counts[1:])]
    ratio = each[-1] / each[0]
    verdict = "yes" if ratio <= limit else "**no**"
    return (f"| {title}, from {counts[-2]:,} to {counts[-1]:,} ({each[-1]:.0f} bytes) to from "
            f"{counts[0]:,} to {counts[1]:,} ({each[0]:.0f}) | {limit} × | {ratio:.3f} × | "
            f"{verdict} |")


def connected(result):
    return ((result["server"] or {}).get("private_bytes") or {}).get("connected")


def growth_row(results, title, _unit, run, key, limit):
    found = grown(results, run, key)
    if len(found) < 2:
        return f"| {title}, as connections grow | {limit} × | | not measured |"
    few, many = median(found[min(found)]), median(found[max(found)])
    ratio = many / few if few else float("inf")
    verdict = "yes" if ratio <= limit else "**no**"
    return (f"| {title}, {max(found):,} connections to {min(found):,} | {limit} × | {ratio:.3f} × | "
            f"{verdict} |")


def growth(results):
    if "wsloop" not in results.names:
        return ""
    columns = {key: grown(results, run, key) for _, _, run, key, _ in GROWTH}
    counts = results.raw["growth"]
    rows = ["## Growth", "", "wsloop, each number of connections in a process of its own, with as "
            "many deliveries; then 64 of them come and go while the others stay. A process has some "
            "100 KiB of heap from its start, into which a part of the first thousand fits, so that "
            "they seem cheaper by as much; what each further connection takes is in the first table.",
            "",
            "| connections | " + " | ".join(f"{count:,}" for count in counts) + " |",
            "|---" * (len(counts) + 1) + "|"]
    for title, unit, _, key, _ in GROWTH:
        cells = [words(columns[key][count]) if count in columns[key] else "–" for count in counts]
        rows.append(f"| {title}, {unit} | " + " | ".join(cells) + " |")
    for file, title, note, wanted in [
        ("growth-memory", "User space per connection", "bytes, by number of connections",
         {"bytes_per_conn": "bytes"}),
        ("growth-delivery", "CPU per delivery", "µs, by number of connections",
         {"delivery_cpu_us": "user and system", "delivery_user_us": "user"}),
        ("growth-handshake", "CPU per handshake, with its closing", "µs, by number of connections",
         {"handshake_cpu_us": "user and system", "handshake_user_us": "user"}),
    ]:
        series = [(label, [median(columns[key][count]) for count in counts])
                  for key, label in wanted.items() if len(columns[key]) == len(counts)]
        if series:
            (PLOTS / f"{file}.svg").write_text(plots.lines(title, note, counts, series))
            rows += ["", picture(f"{title} as connections grow", file)]
    return "\n".join(rows)


def machine(raw):
    rows = ["## Where and what", "", "| | |", "|---|---|"]
    rows += [f"| {title} | {text} |" for title, text in raw["machine"].items()]
    rows += pieces(raw["measured"])
    for entry in raw["servers"]:
        text = entry.get("version") or entry.get("unavailable") or "this repository's"
        rows.append(f"| {entry['title']} | {text}: {entry['remark']} |")
    return "\n".join(rows)


def pieces(measured):
    """What was measured when, and of which wsloop, if that was not all at one time."""
    groups = {}
    for work, when in measured.items():
        groups.setdefault((when["date"], when["wsloop"]), []).append(work)
    if len(groups) < 2:
        return []
    return [f"| measured {date}, wsloop {version} | {', '.join(works)} |"
            for (date, version), works in groups.items()]


def method(raw):
    work = raw["work"]
    return f"""## How it is measured

```sh
scripts/compare
```

installs the peers (Debian's packages with apt-get, the others below `target/` and `node_modules`),
measures all, and writes this page, its plots and `target/compare/results.json`. `--only wsloop,floor`
measures some, `--work own,churn` some of what there is and keeps the results of the rest, `--rounds` more often,
`--quick` shows within a minute that it works, `--report` writes the page again.

- The load is `wsloop stress`: every connection checks that it got every message once and in order. A
  server that loses one has no figure but the reason. Messages have {work["size"]} bytes; each server is
  given the same number of them, where it is not said otherwise above: {work["deliveries"]:,} deliveries
  a run, four times that to 10,000 and with {work["window"]} in flight.
- CPU times are the kernel's of the server's processes, divided by what was done. The server and the load
  tool are pinned to one core then, and Redis to the other: on which core the reader wakes is worth a
  factor of two in the cost of a `send`. Rates and latencies come from another process, with nothing
  pinned. What a run does first warms the server up, except for memory, which is read in a new process.
- Where a table goes by sizes or by connections, each row is measured of one server after the other,
  each in a process of its own and for a second of its CPU at least; where a row says how many times
  another's it is, that is of two runs some seconds apart.
- How CPU divides into user and system time is sampled by the kernel a hundred to a thousand times a
  second, where it is built so: user times are less exact than their sum.
- Compression is not offered, but for compressed JSON: there the client is Python. Servers keep their own defaults for pings, as said above.
- The floor joins what one read from Redis brought into one `send` for each connection, and so does the
  tokio-tungstenite server with what waits.

Not measured: more than 20,000 connections, which is how many descriptors a process may have on the
machine that this page comes from; networks, for all is loopback, where sending is also the other
side's receiving; several processes of a server;
ws4redis with several workers, which is how it would serve more than 450 connections, and with several
messages in flight, of which it hands on one; Nchan behind Redis, to which it is published directly,
so that its latencies lack one hop; echo for Nchan and ws4redis, which have none without
an application."""
