"""A machine to install packages on, with a real systemd, and somebody who follows a page there."""

import re
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60


class Machine:
    """See `boot`. Needs root."""

    def __init__(self, packages):
        self.folder = tempfile.TemporaryDirectory()
        place = Path(self.folder.name) / "machine"
        place.mkdir()
        (Path(self.folder.name) / "machine.packages").symlink_to(packages)
        spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"]
        boot = Path(__file__).with_name("boot")
        line = ["unshare", *spaces, "--fork", "--kill-child", str(boot), str(place)]
        self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL)
        self.pid = None
        deadline = time.monotonic() + PATIENCE
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.end()
                raise AssertionError("no systemd: see `boot` above")
            time.sleep(0.1)

    def is_up(self):
        if self.pid is None:
            pid = self.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children or Path(f"/proc/{children[0]}/comm").read_text() != "systemd\n":
                return False
            self.pid = int(children[0])
        state = self.typed("systemctl is-system-running").stdout
        return state.strip() in ("running", "degraded")

    def typed(self, command, folder="/srv"):
        """What becomes of a command."""
        line = ["nsenter", f"--target={self.pid}", "--all", "--root", "--wdns=" + folder]
        home = ["env", "--ignore-environment", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        line += [*home, "LANG=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        return subprocess.run(
            [*line, "bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def run(self, command):
        """What a command prints, which has to end well."""
        done = self.typed(command)
        if done.returncode != 0:
            log = self.typed("journalctl --no-pager --lines 30").stdout
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{log}")
        return done.stdout

    def write(self, path, text):
        line = ["nsenter", f"--target={self.pid}", "--all", "--root", "tee", path]
        subprocess.run(line, input=text, text=True, check=True, stdout=subprocess.DEVNULL)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def blocks(page, title):
    """The blocks of a section, those below it included: (lead, language, text)."""
    lines = (ROOT / page).read_text().splitlines()
    depth = title.index(" ")
    section = lines[lines.index(title) + 1 :]
    ends = (n for n, line in enumerate(section) if re.match(rf"#{{1,{depth}}} ", line))
    text = "\n".join(section[: next(ends, len(section))]) + "\n"
    parts = re.split(r"^```(\w*)\n(.*?)^```\n", text, flags=re.S | re.M)
    # The lead is the last paragraph before the block.
    leads = (" ".join(prose.strip().split("\n\n")[-1].split()) for prose in parts[::3])
    found = list(zip(leads, parts[1::3], parts[2::3]))
    assert found, f"{page} has no blocks in {title}"
    return found


def follow(blocks, run, write, after=lambda command: None):
    """Does what a reader does: writes files, types commands, compares what they print."""
    printed = ""
    for lead, language, block in blocks:
        if language == "sh":
            printed = ""
            for command in block.splitlines():
                printed += run(command)
                after(command)
        elif language == "text":
            pattern = re.escape(block.rstrip("\n")).replace("…", ".*")
            if not re.fullmatch(pattern, printed.rstrip("\n"), re.S):
                raise AssertionError(f"expected {block}\nand not {printed}")
        else:
            write(re.search(r"`([^`]*)`:$", lead)[1], block)
