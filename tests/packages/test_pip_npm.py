"""The wheel and the package for npm, installed in new folders as docs/src/install.md says, and the
lines beside the program. `PACKAGES` is the folder with all of them."""

import json
import os
import re
import signal
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path

from tests.packages.machine import ROOT, blocks, follow

PACKAGES = Path(os.environ["PACKAGES"])
PAGE = "docs/src/install.md"
PROGRAM = PACKAGES / "wsloop"
#: Without a wsloop that may be installed here.
FOLDERS = os.environ["PATH"].split(":")
PATH = ":".join(folder for folder in FOLDERS if not (Path(folder) / "wsloop").exists())


class Folder(unittest.TestCase):
    """A new folder that has the packages, and a shell there."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = Path(folder.name)
        for package in [*PACKAGES.glob("*.whl"), *PACKAGES.glob("*.tgz")]:
            (self.place / package.name).symlink_to(package)
        line = ["bash", "--norc", "-s"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        environment = os.environ | {"PATH": PATH, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self.shell = subprocess.Popen(line, cwd=self.place, text=True, env=environment, **pipes)
        self.addCleanup(self.shell.communicate)

    def run_here(self, command):
        """What a command prints, in the shell in which those before it were typed."""
        self.shell.stdin.write(f"{command}\necho; echo status $?\n")
        self.shell.stdin.flush()
        printed = ""
        for line in self.shell.stdout:
            if line.startswith("status "):
                self.assertEqual(line, "status 0\n", f"{command}\n{printed}")
                return printed[:-1]
            printed += line
        self.fail(f"{command}: the shell has ended\n{printed}")

    def follow(self, title):
        write = lambda name, text: (self.place / name).write_text(text)
        follow(blocks(PAGE, title), self.run_here, write)

    def serves_and_ends(self, line):
        """Started by this line, the program itself is what hears a signal."""
        env = os.environ | {"PATH": PATH}
        process = subprocess.Popen(
            [*line, "--listen", "127.0.0.1:0", "--resp", "off"],
            cwd=self.place, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.addCleanup(process.stdout.close)
        self.assertRegex(process.stdout.readline(), r"^listening on http://127\.0\.0\.1:\d+\n$")
        self.assertIn("wsloop", os.readlink(f"/proc/{process.pid}/exe").rsplit("/")[-1])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)


class Wheel(Folder):
    def test_the_page_is_followed(self):
        self.follow("## With pip")
        self.serves_and_ends([str(self.place / ".venv/bin/wsloop")])
        python = str(self.place / ".venv/bin/python")
        # The publisher, and the app for Django, which finds the program without PATH.
        (self.place / "publish.py").write_text(
            "from wsloop import RedisPublisher\n"
            "RedisPublisher(facility='news', broadcast=True, redis='redis://127.0.0.1:1')\n"
        )
        self.run_here(f"{python} publish.py")
        self.run_here("pip install --quiet 'django>=4.2'")
        self.run_here("django-admin startproject site_ .")
        with open(self.place / "site_/settings.py", "a") as settings:
            settings.write("INSTALLED_APPS.append('wsloop.django')\nWSLOOP_REDIS = None\n")
        self.run_here("deactivate")
        printed = self.run_here(f"{python} manage.py wsloop --print")
        self.assertIn(str(self.place / ".venv/bin/wsloop"), printed)

    def test_it_is_for_machines_like_this_and_has_all_of_the_python_package(self):
        [wheel] = PACKAGES.glob("*.whl")
        self.assertRegex(wheel.name, r"^wsloop-.*-py3-none-manylinux_2_\d+_\w+\.whl$")
        with zipfile.ZipFile(wheel) as files:
            names = files.namelist()
            [program] = [name for name in names if name.endswith(".data/scripts/wsloop")]
            self.assertEqual(files.read(program), PROGRAM.read_bytes())
            [metadata] = [files.read(name).decode() for name in names if name.endswith("/METADATA")]
        source = ROOT / "clients/python/src"
        wanted = {
            str(path.relative_to(source))
            for path in source.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and "egg-info" not in str(path)
        }
        self.assertGreater(len(wanted), 20)
        self.assertLessEqual(wanted, set(names))
        licences = {name.rsplit("/")[-1] for name in names if "/licenses/" in name}
        self.assertLessEqual({"LICENSE-MIT", "LICENSE-APACHE"}, licences)
        self.assertIn("Requires-Dist: redis>=4.2", metadata)


class Npm(Folder):
    def test_the_page_is_followed(self):
        self.follow("## With npm")
        self.serves_and_ends([str(self.place / "node_modules/.bin/wsloop")])
        script = "import('wsloop').then((m) => console.log(typeof m.WSLoop))"
        self.assertEqual(self.run_here(f'node -e "{script}"'), "function\n")
        # It is the package of clients/js, and the program.
        package = self.place / "node_modules/wsloop"
        [program] = (package / "bin").glob("*/wsloop")
        self.assertEqual(program.read_bytes(), PROGRAM.read_bytes())
        known = json.loads((ROOT / "clients/js/package.json").read_text())["files"]
        for name in [name for name in known if name != "bin"]:
            original = ROOT / "clients/js" / name
            self.assertEqual((package / name).read_bytes(), original.read_bytes())

    def test_a_machine_that_it_is_not_for_is_told_so(self):
        self.run_here("npm install --silent ./wsloop-*.tgz")
        other = self.place / "other"
        other.mkdir()
        (other / "uname").write_text("#!/bin/sh\n[ $1 = -s ] && echo Darwin || echo arm64\n")
        (other / "uname").chmod(0o755)
        done = subprocess.run(
            [self.place / "node_modules/.bin/wsloop"],
            env={"PATH": f"{other}:{PATH}"}, capture_output=True, text=True,
        )
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^wsloop: .* no program for darwin-arm64; [^\n]*\n$")


class Program(unittest.TestCase):
    def test_it_has_names_and_its_lines_are_beside_it(self):
        names = subprocess.run(["nm", PROGRAM], capture_output=True, text=True, check=True).stdout
        main = re.search(r"^(\w+) \w \w*6wsloop4main\w*$", names, re.M)
        self.assertIsNotNone(main, "no function main of wsloop")
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "wsloop"
            program.write_bytes(PROGRAM.read_bytes())
            line = ["addr2line", "-e", program, main[1]]
            where = lambda: subprocess.run(line, capture_output=True, text=True, check=True).stdout
            self.assertRegex(where(), r"^\?\?:")
            (Path(folder) / "wsloop.debug").write_bytes((PACKAGES / "wsloop.debug").read_bytes())
            self.assertRegex(where(), r"src/main\.rs:\d+")

    def test_it_is_small(self):
        self.assertLess(PROGRAM.stat().st_size, 10 << 20)


if __name__ == "__main__":
    unittest.main()
