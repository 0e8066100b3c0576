"""The Dockerfile, read by a linter; no image is built. `HADOLINT` is the linter."""

import os
import re
import subprocess
import unittest

from tests.packages.machine import ROOT

TEXT = (ROOT / "examples/deploy/docker/Dockerfile").read_text()


class Dockerfile(unittest.TestCase):
    def said(self, text):
        line = [os.environ["HADOLINT"], "--no-color", "-"]
        done = subprocess.run(line, input=text, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def test_hadolint_finds_nothing(self):
        self.assertEqual(self.said(TEXT), (0, ""))
        for right, wrong, rule in [
            ("COPY . .", "COPYY . .", "missing whitespace"),
            ("debian:bookworm-slim", "debian", "DL3006"),
            ("USER 65534:65534", "USER root", "DL3002"),
            ('ENTRYPOINT ["wsloop"]', "ENTRYPOINT wsloop", "DL3025"),
        ]:
            self.assertIn(right, TEXT)
            status, said = self.said(TEXT.replace(right, wrong))
            self.assertEqual(status, 1, wrong)
            self.assertIn(rule, said)

    def test_what_it_gives_wsloop_is_known_to_it(self):
        program = ROOT / "target/packages/wsloop"
        [variables] = re.findall(r"^ENV (.*)", TEXT, re.M)
        environment = dict(each.split("=") for each in variables.split())
        self.assertGreater(len(environment), 3)
        done = subprocess.run([program, "check"], env=environment, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name, value in environment.items():
            self.assertRegex(done.stdout, rf"(?m)^\S+ +{re.escape(value)} +{name}$")
        # What is built is where it is copied from, by a compiler that is new enough.
        self.assertIn("COPY --from=build /src/target/release/wsloop ", TEXT)
