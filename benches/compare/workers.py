"""Several workers beside one process: what a delivery costs, and how many there are in a second.

    python3 benches/compare/workers.py [--pairs 7] [--workers 2] [--clients 1000] [--messages 500]
        [--spread]

It takes turns: one process, then a master with its workers, each with a Redis of its own and the same
load, and prints what each took and the median of the ratios. What the workers' processor took for a
delivery says something on every machine: all of them have core 0 then, and the load tool and Redis
the others, for who shares a core with them would be measured too. With --spread each runs where it
likes, and the rates say something, if there are cores for the workers, the load tool and Redis. It
needs `cargo build --release`, redis-server and /proc.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(ROOT / "target/release/wsloop"))
    for name, default in [("pairs", 7), ("workers", 2), ("clients", 1000), ("messages", 500)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--spread", action="store_true")
    given = parser.parse_args()
    every = os.sched_getaffinity(0)
    first = {min(every)}
    given.server_cores = every if given.spread else first
    given.other_cores = every if given.spread else every - first or every
    ratios = {"cpu": [], "rate": []}
    print("pair  workers  CPU us a delivery  deliveries a second  resident KiB of each")
    for pair in range(given.pairs):
        found = {}
        # Whoever is first is second the next time.
        for count in sorted([1, given.workers], reverse=pair % 2 == 1):
            report, resident = load(given, count)
            cpu, rate = report["server"]["delivery_cpu_us"], report["deliveries_per_s"]
            found[count] = cpu, rate
            print(f"{pair:4}  {count:7}  {cpu:17.3f}  {rate:19,.0f}  {resident}", flush=True)
        (one_cpu, one_rate), (cpu, rate) = found[1], found[given.workers]
        ratios["cpu"].append(cpu / one_cpu)
        ratios["rate"].append(rate / one_rate)
    for name, values in ratios.items():
        told = ", ".join(f"{value:.3f}" for value in values)
        print(f"{name} of {given.workers} workers to one's: median {median(values):.3f} of {told}")


def load(given, count):
    """Serves with so many workers and puts load on them; what the load tool reports, and the memory
    of each worker when nobody is there."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"redis+unix://{folder}/redis"
        redis = ["redis-server", "--port", "0", "--save", "", "--unixsocket", f"{folder}/redis"]
        with Running(redis, given.other_cores):
            until(lambda: Path(folder, "redis").is_socket())
            line = [given.program, "--listen", "127.0.0.1:0", "--workers", str(count)]
            with Running([*line, "--redis", url], given.server_cores) as server:
                place = server.stdout.readline().split()[-1].replace("http", "ws")
                workers = children(server.pid) or [server.pid]
                assert len(workers) == count, workers
                resident = [resident_kib(worker) for worker in workers]
                load = [given.program, "stress", f"{place}/ws/load", "--redis", url, "--json"]
                load += ["--clients", str(given.clients), "--messages", str(given.messages)]
                for worker in workers:
                    load += ["--pid", str(worker)]
                with Running(load, given.other_cores) as tool:
                    report = json.loads(tool.communicate()[0])
    return report, resident


class Running:
    """A process on some cores, ended at the end."""

    def __init__(self, line, cores):
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        before = os.sched_getaffinity(0)
        # A process begins on the cores of who starts it.
        os.sched_setaffinity(0, cores)
        self.process = subprocess.Popen(line, **quiet)
        os.sched_setaffinity(0, before)

    def __enter__(self):
        return self.process

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)


def children(parent):
    """The processes that one has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(stat.parent.name))
    return found


def resident_kib(process):
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def until(so):
    deadline = time.monotonic() + 10
    while not so():
        if time.monotonic() > deadline:
            sys.exit("redis-server does not start")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
