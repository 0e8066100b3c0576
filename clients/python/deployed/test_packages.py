"""The packages as their users get them: wheel, source distribution and npm's tarball."""

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest
import zipfile
from pathlib import Path

PYTHON = Path(__file__).parents[1]
ROOT = PYTHON.parents[1]
JS = ROOT / "clients" / "js"
LICENCES = {name: (ROOT / name).read_bytes() for name in ("LICENSE-MIT", "LICENSE-APACHE")}
#: Where the project will be, as Cargo.toml has it.
REPOSITORY = re.search(r'^repository = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        line = [sys.executable, "-m", "build", "--outdir", folder.name, str(PYTHON)]
        subprocess.run(line, check=True, capture_output=True)
        [wheel] = Path(folder.name).glob("*.whl")
        [sdist] = Path(folder.name).glob("*.tar.gz")
        with zipfile.ZipFile(wheel) as files:
            cls.wheel = {name: files.read(name) for name in files.namelist()}
        cls.sdist = cls.unpacked(sdist.read_bytes())
        line = ["npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", folder.name]
        subprocess.run(line, cwd=JS, check=True, capture_output=True)
        [tarball] = Path(folder.name).glob("*.tgz")
        cls.npm = cls.unpacked(tarball.read_bytes())

    @classmethod
    def unpacked(cls, archive):
        """Its files, without the folder that they are in; a link is none."""
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            members = [each for each in files.getmembers() if each.isfile()]
            return {
                each.name.partition("/")[2]: files.extractfile(each).read() for each in members
            }

    def test_each_has_the_texts_of_the_licences(self):
        for package, prefix in [
            (self.wheel, "wsloop-0.1.0.dist-info/licenses/"),
            (self.sdist, ""),
            (self.npm, ""),
        ]:
            for name, text in LICENCES.items():
                self.assertEqual(package.get(prefix + name), text, name)

    def test_links_on_their_pages_work_there(self):
        [metadata] = (self.wheel[name] for name in self.wheel if name.endswith("/METADATA"))
        for page in (metadata.decode(), self.npm["README.md"].decode()):
            for target in re.findall(r"\]\(([^)]*)\)", page):
                self.assertRegex(target, r"^(https://|#)")

    def test_they_say_where_the_project_is(self):
        [metadata] = (self.wheel[name] for name in self.wheel if name.endswith("/METADATA"))
        self.assertIn(f"Project-URL: Repository, {REPOSITORY}\n", metadata.decode())
        self.assertIn("Project-URL: Documentation, https://", metadata.decode())
        self.assertIn("License-Expression: MIT OR Apache-2.0\n", metadata.decode())
        package = json.loads(self.npm["package.json"])
        self.assertEqual(package["repository"]["url"], REPOSITORY)
        self.assertIn("homepage", package)

    def test_the_browser_client_is_in_both(self):
        for name in ("wsloop.js", "wsloop.mjs"):
            text = (JS / name).read_bytes()
            self.assertEqual(self.wheel[f"wsloop/django/static/wsloop/{name}"], text)
            self.assertEqual(self.sdist[f"src/wsloop/django/static/wsloop/{name}"], text)
            self.assertEqual(self.npm[name], text)
        self.assertIn("wsloop/py.typed", self.wheel)

    def test_the_tests_are_in_the_source_distribution_and_not_in_the_wheel(self):
        tests = {str(path.relative_to(PYTHON)) for path in (PYTHON / "tests").rglob("*.py")}
        self.assertGreater(len(tests), 10)
        self.assertLessEqual(tests, self.sdist.keys())
        self.assertEqual([name for name in self.wheel if name.startswith("test")], [])
