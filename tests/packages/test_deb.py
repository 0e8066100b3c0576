"""The Debian package, installed, used and upgraded on a machine with systemd as docs/src/install.md
says. Needs root, and `PACKAGES`, a folder with the package and one of its next revision."""

import os
import subprocess
import unittest
from pathlib import Path

from tests.packages.machine import Machine, blocks, follow

PACKAGES = Path(os.environ["PACKAGES"])
PAGE = "docs/src/install.md"
#: Connects as browsers do, until there is a file /tmp/enough: prints how many were let in.
BROWSERS = """
import os, socket, time
let_in = 0
while not os.path.exists("/tmp/enough"):
    with socket.create_connection(("127.0.0.1", 8080), 5) as browser:
        browser.settimeout(5)
        browser.sendall(b"GET /ws/news?subscribe-broadcast HTTP/1.1\\r\\nHost: h\\r\\n"
                        b"Connection: upgrade\\r\\nUpgrade: websocket\\r\\n"
                        b"Sec-WebSocket-Version: 13\\r\\n"
                        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n")
        head = browser.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 "), head
        let_in += 1
    time.sleep(0.005)
print(let_in)
"""


class Package(unittest.TestCase):
    def test_lintian_finds_nothing(self):
        [package] = PACKAGES.glob("*-1_*.deb")
        line = ["lintian", "--fail-on", "error,warning", "--allow-root", str(package)]
        done = subprocess.run(line, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_it_depends_on_what_debian_has(self):
        [package] = PACKAGES.glob("*-1_*.deb")
        line = ["dpkg-deb", "--field", str(package), "Depends"]
        depends = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        names = {each.split()[0] for each in depends.split(",")}
        self.assertLessEqual({"adduser", "libc6"}, names)
        self.assertLessEqual(names, {"adduser", "libc6", "libgcc-s1"})


class Installed(unittest.TestCase):
    def setUp(self):
        self.machine = Machine(PACKAGES)
        self.addCleanup(self.machine.end)
        self.said = {}

    def test_the_page_is_followed(self):
        self.assertNotEqual(self.machine.typed("command -v wsloop").returncode, 0)
        page = blocks(PAGE, "## Debian and Ubuntu")
        follow(page, self.run_on_page, self.machine.write, self.after)
        self.assertEqual(sorted(self.said), ["install", "remove", "shop", "upgrade"])
        # Who removes keeps the configuration, and who purges does not.
        run = self.machine.run
        self.assertIn("drain = 5", run("cat /etc/wsloop/wsloop.toml"))
        run("apt-get purge --yes wsloop")
        self.assertNotIn("wsloop.toml", run("ls /etc/wsloop 2>/dev/null || true"))

    def run_on_page(self, command):
        if "-2_" not in command:
            return self.machine.run(command)
        before = self.main_pid("wsloop")
        self.assertTrue(self.program_of(before).endswith("/usr/bin/wsloop"))
        script = "cat >/tmp/browsers.py; python3 /tmp/browsers.py"
        enter = ["nsenter", f"--target={self.machine.pid}", "--all", "--root", "--wdns=/"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        browsers = subprocess.Popen([*enter, "bash", "-c", script], text=True, **pipes)
        browsers.stdin.write(BROWSERS)
        browsers.stdin.close()
        browsers.stdin = None
        printed = self.machine.run(command)
        self.machine.run("sleep 1; touch /tmp/enough")
        let_in, _ = browsers.communicate()
        self.assertEqual(browsers.returncode, 0, "a browser was refused while wsloop was upgraded")
        self.assertGreater(int(let_in), 50)
        # The new program is another process, and the old one goes when its drain is over.
        after = self.main_pid("wsloop")
        self.assertNotEqual(after, before)
        self.assertTrue(self.program_of(after).endswith("/usr/bin/wsloop"))
        ends = f"for n in $(seq 200); do [ -e /proc/{before} ] || exit 0; sleep 0.1; done; exit 1"
        self.machine.run(ends)
        self.assertEqual(self.machine.run("systemctl is-active wsloop"), "active\n")
        self.assertIn("drain = 5", self.machine.run("cat /etc/wsloop/wsloop.toml"))
        self.said["upgrade"] = True
        return printed

    def after(self, command):
        """Looks closer at what some commands have done."""
        run = self.machine.run
        if "-1_" in command:
            self.assertEqual(run("stat -c '%U %G %a' /etc/wsloop"), "root wsloop 750\n")
            self.assertEqual(run("stat -c %U /proc/" + self.main_pid("wsloop")), "wsloop\n")
            self.assertIn("/usr/share/man/man1/wsloop.1", run("man --where wsloop"))
            self.assertIn("wsloop 0.1.0", run("wsloop --version"))
            complete = (
                ". /usr/share/bash-completion/completions/wsloop; COMP_WORDS=(wsloop --lis) "
                "COMP_CWORD=1; _wsloop wsloop --lis wsloop; echo ${COMPREPLY[@]}"
            )
            self.assertEqual(run(complete), "--listen\n")
            self.assertIn("refused", run("curl --silent http://127.0.0.1:9090/ || echo refused"))
            self.said["install"] = True
        elif command.startswith("sudo systemctl enable") and "shop" in command:
            self.assertEqual(run("stat -c %U /proc/" + self.main_pid("wsloop@shop")), "wsloop\n")
            run("redis-cli publish shop:broadcast:news hello")
            self.said["shop"] = True
        elif "apt remove" in command:
            self.assertNotEqual(self.machine.typed("command -v wsloop").returncode, 0)
            self.assertNotEqual(self.machine.typed("pgrep -x wsloop").returncode, 0)
            self.said["remove"] = True

    def main_pid(self, unit):
        return self.machine.run(f"systemctl show --property MainPID --value {unit}").strip()

    def program_of(self, pid):
        """Its path; of a program that is no longer there it ends in `(deleted)`."""
        return self.machine.run(f"readlink /proc/{pid}/exe").strip()


class Units(unittest.TestCase):
    def test_systemd_finds_nothing_wrong_with_them(self):
        machine = Machine(PACKAGES)
        self.addCleanup(machine.end)
        machine.run("apt-get install --yes ./wsloop_*-1_*.deb")
        for unit in ("wsloop.service", "wsloop@shop.service"):
            done = machine.typed(f"systemd-analyze verify {unit}")
            self.assertEqual(done.stdout + done.stderr, "", unit)
        wrong = "/etc/systemd/system/wsloop-wrong.service"
        machine.run(f"sed s/User=/Usr=/ /usr/lib/systemd/system/wsloop.service >{wrong}")
        self.assertIn("Usr", machine.typed("systemd-analyze verify wsloop-wrong.service").stderr)


if __name__ == "__main__":
    unittest.main()
