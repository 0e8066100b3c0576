"""Runs Autobahn's fuzzing client in two processes and holds the result against tests/autobahn.json.

Called by scripts/autobahn: autobahn.py PYTHON2 URL FOLDER [all | PATTERN ...]
"""

import collections
import json
import pathlib
import subprocess
import sys
import time

PROCESSES = 2
TIMEOUT_S = 3000
CLOSED_WELL = ("OK", "INFORMATIONAL")
# Three sizes of each compression subgroup: small, medium, and large with many messages.
QUICK = [f"{group}.*" for group in range(1, 11)] + [
    f"{group}.{case}"
    for group in [f"12.{n}" for n in range(1, 6)] + [f"13.{n}" for n in range(1, 8)]
    for case in (1, 5, 11)
]
LIST_CASES = """
import json, sys
from autobahntestsuite.case import Cases, CaseCategories, CaseSubCategories, CaseSetname, CaseBasename
from autobahntestsuite.caseset import CaseSet
cases = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories)
print(json.dumps(cases.parseSpecCases({"cases": json.loads(sys.argv[1]), "exclude-cases": []})))
"""


def main(python2, url, folder, patterns):
    patterns = {(): QUICK, ("all",): ["*"]}.get(tuple(patterns), patterns)
    asked = json.loads(subprocess.check_output([python2, "-c", LIST_CASES, json.dumps(patterns)]))
    if not asked:
        sys.exit(f"no case is called {patterns}")
    started = time.monotonic()
    shards = [pathlib.Path(folder) / f"shard{n}" for n in range(min(PROCESSES, len(asked)))]
    runs = [start(python2, url, shard, asked[n :: len(shards)]) for n, shard in enumerate(shards)]
    for run in runs:
        run.wait()
    results = {}
    for shard in shards:
        index = shard / "reports" / "index.json"
        for cases in json.loads(index.read_text()).values() if index.exists() else []:
            results.update(cases)
    report(asked, results, time.monotonic() - started)


def start(python2, url, shard, cases):
    shard.mkdir()
    spec = shard / "spec.json"
    spec.write_text(json.dumps({
        "outdir": str(shard / "reports"),
        "servers": [{"agent": "wsloop", "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }))
    command = ["timeout", str(TIMEOUT_S), python2, "-m", "autobahntestsuite.wstest"]
    return subprocess.Popen(
        command + ["-m", "fuzzingclient", "-s", str(spec)],
        cwd=shard, stdout=(shard / "log").open("w"), stderr=subprocess.STDOUT,
    )


def report(asked, results, seconds):
    exceptions = json.loads(pathlib.Path("tests/autobahn.json").read_text())
    groups = collections.defaultdict(collections.Counter)
    unexpected = []
    for case in asked:
        result = results.get(case, {})
        behavior = result.get("behavior", "MISSING")
        closing = result.get("behaviorClose", "MISSING")
        groups[int(case.split(".")[0])][behavior] += 1
        if behavior != exceptions.get(case, "OK") or closing not in CLOSED_WELL:
            unexpected.append(f"{case}: {behavior}, close {closing} {result.get('remoteCloseCode')}")
    for group, counts in sorted(groups.items()):
        print(f"{group:>3}.*", ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    print("\n".join(unexpected))
    print(f"{len(asked)} cases in {seconds:.0f} s")
    print(f"autobahn: {len(asked) - len(unexpected)} passed, {len(unexpected)} failed")
    sys.exit(bool(unexpected))


main(*sys.argv[1:4], sys.argv[4:])
