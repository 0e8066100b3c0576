"""A Redis with a replica and three sentinels, for tests of what happens when the master goes."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path

import redis

from .support import Redis, eventually, free_port

#: What the sentinels call it.
NAME = "main"

_CONFIG = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor main 127.0.0.1 {master} 2
sentinel down-after-milliseconds main 500
sentinel failover-timeout main 5000
sentinel parallel-syncs main 1
"""


class Sentinel:
    """One sentinel; ``lines`` are more of its configuration."""

    def __init__(self, master: int, lines: str, password: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wsloop-sentinel-")
        self.port = free_port()
        path = Path(self.folder.name) / "sentinel.conf"
        text = _CONFIG.format(port=self.port, folder=self.folder.name, master=master)
        path.write_text(text + lines)
        line = ["redis-server", str(path), "--sentinel"]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port, password=password or None, decode_responses=True)

    def knows_all(self) -> bool:
        """Whether it has found the replica and the other sentinels."""
        try:
            state = self.state()
        except redis.RedisError:
            return False
        others = state["num-slaves"], state["num-other-sentinels"], state["flags"]
        return others == ("1", "2", "master")

    def state(self) -> dict[str, str]:
        reply = self.client.execute_command("SENTINEL", "MASTER", NAME)
        pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2])
        return dict(pairs)

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


class Group:
    """All of them."""

    def __init__(self, password: str = "", sentinel_password: str = "") -> None:
        self.nodes: list[Redis] = []
        self.sentinels: list[Sentinel] = []
        try:
            self._start(password, sentinel_password)
        except BaseException:
            self.close()
            raise
        login = f":{password}@" if password else ""
        self.hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.sentinels)
        self.url = f"redis+sentinel://{login}{self.hosts}/{NAME}"

    def _start(self, password: str, sentinel_password: str) -> None:
        for _ in range(2):
            self.nodes.append(Redis(password=password))
            self.nodes[-1].client.config_set("masterauth", password)
        self.nodes[1].client.replicaof("127.0.0.1", self.nodes[0].port)
        link = lambda: self.nodes[1].client.info("replication")["master_link_status"] == "up"
        eventually("there is a replica", link)
        lines = f"sentinel auth-pass {NAME} {password}\n" if password else ""
        lines += f"requirepass {sentinel_password}\n" if sentinel_password else ""
        for _ in range(3):
            self.sentinels.append(Sentinel(self.nodes[0].port, lines, sentinel_password))
        eventually("sentinels know each other", self.is_settled, 30)

    def is_settled(self) -> bool:
        return all(each.knows_all() for each in self.sentinels)

    def master(self) -> Redis:
        """Where the first sentinel says it is."""
        port = int(self.sentinels[0].state()["port"])
        return next(node for node in self.nodes if node.port == port)

    def others_than(self, node: Redis) -> Redis:
        return next(each for each in self.nodes if each is not node)

    def close(self) -> None:
        for each in self.sentinels:
            each.close()
        for node in self.nodes:
            # One that is stopped does not end.
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
            node.close()
