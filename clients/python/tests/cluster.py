"""A Redis Cluster of six, three masters with a replica each, for tests of what becomes of slots."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import redis
from redis.crc import key_slot

from .support import eventually, free_port

#: A node that is silent for so long is held for dead, in milliseconds.
NODE_TIMEOUT_MS = 1500


class Ear:
    """Hears channels by the protocol that has no pushes, whatever redis-py's version speaks."""

    def __init__(self, port: int, password: str, word: str, names: tuple[str, ...]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file = self.socket.makefile("rb")
        if password:
            self.socket.sendall(f"AUTH {password}\r\n".encode())
            self.file.readline()
        for name in names:
            self.socket.sendall(f"{word} {name}\r\n".encode())
            assert self._read()[0].endswith("subscribe")

    def hear(self) -> str:
        return self._read()[2]

    def is_quiet(self, seconds: float = 0.1) -> bool:
        return not select.select([self.socket], [], [], seconds)[0]

    def _read(self) -> list[str]:
        assert self.file.readline() == b"*3\r\n"
        return [self._one() for _ in range(3)]

    def _one(self) -> str:
        line = self.file.readline().decode()
        if line[0] == ":":
            return line[1:].strip()
        return self.file.read(int(line[1:]) + 2)[:-2].decode()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Node:
    """One redis-server of the cluster."""

    def __init__(self, password: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="wsloop-cluster-")
        self.port = free_port()
        line = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        line += ["--dir", self.folder.name, "--cluster-enabled", "yes"]
        line += ["--cluster-port", str(free_port()), "--repl-diskless-sync-delay", "0"]
        line += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS)]
        line += ["--requirepass", password, "--masterauth", password]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port, password=password or None, decode_responses=True)
        eventually("redis-server answers", self._answers)

    def _answers(self) -> bool:
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def ask(self, *words):
        """The answer to a command that redis-py has a form of its own for."""
        pool = self.client.connection_pool
        connection = pool.connection_class(**pool.connection_kwargs)
        connection.connect()
        try:
            connection.send_command(*words)
            return connection.read_response()
        finally:
            connection.disconnect()

    @property
    def id(self) -> str:
        return self.ask("CLUSTER", "MYID")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.client.close()
        # One that is stopped does not end.
        self.thaw()
        self.kill()
        self.folder.cleanup()


class Six:
    """All of them."""

    def __init__(self, password: str = "") -> None:
        self.password = password
        self.nodes: list[Node] = []
        try:
            while len(self.nodes) < 6:
                self.nodes.append(Node(password))
            self._join()
        except BaseException:
            self.close()
            raise
        login = f":{password}@" if password else ""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{login}{hosts}"

    def _join(self) -> None:
        line = ["redis-cli", "--no-auth-warning", "--cluster", "create"]
        line += [f"127.0.0.1:{node.port}" for node in self.nodes]
        line += ["--cluster-replicas", "1", "--cluster-yes"]
        line += ["-a", self.password] if self.password else []
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, timeout=60)
        eventually("the cluster is whole", self.is_whole, 30)

    def is_whole(self) -> bool:
        """Whether all agree who has which slots, and every master has its replica."""
        def view(node: Node):
            info = node.ask("CLUSTER", "INFO")
            ranges = node.ask("CLUSTER", "SLOTS")
            replicas = all(len(each) == 4 for each in ranges)
            owners = sorted((each[0], each[1], each[2][1]) for each in ranges)
            return "cluster_state:ok" in info and replicas and owners

        views = [view(node) for node in self.nodes]
        links = (node.client.info("replication").get("master_link_status") for node in self.nodes)
        return all(views) and views.count(views[0]) == 6 and "down" not in links

    def at(self, port: int) -> Node:
        return next(node for node in self.nodes if node.port == port)

    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.process.poll() is None]

    def owner(self, channel: str, seen_by: Node | None = None) -> Node:
        """The master that has the slot of a channel, as one node sees it."""
        owner = self.owner_if_any(channel, seen_by)
        assert owner, f"nobody has the slot of {channel}"
        return owner

    def owner_if_any(self, channel: str, seen_by: Node | None = None) -> Node | None:
        slot = key_slot(channel.encode())
        for first, last, master, *_ in (seen_by or self.alive()[0]).ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self.at(master[1])
        return None

    def replica(self, master: Node, seen_by: Node | None = None) -> Node:
        for _, _, first, *others in (seen_by or master).ask("CLUSTER", "SLOTS"):
            if first[1] == master.port:
                return self.at(others[0][1])
        raise AssertionError("it is no master")

    def other_master(self, channel: str) -> Node:
        owner = self.owner(channel)
        masters = (each[2][1] for each in owner.ask("CLUSTER", "SLOTS"))
        return self.at(next(port for port in masters if port != owner.port))

    def begin_move(self, channel: str, to: Node) -> Node:
        """The slot of a channel begins to move; who has it still."""
        owner, slot = self.owner(channel), key_slot(channel.encode())
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", owner.id)
        owner.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        return owner

    def end_move(self, channel: str, owner: Node, to: Node) -> None:
        """It moves with all that is in it, and those who have it say so."""
        slot = key_slot(channel.encode())
        while True:
            keys = owner.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
            if not keys:
                break
            login = ["AUTH", self.password] if self.password else []
            owner.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, *login, "KEYS", *keys)
        for node in (to, owner):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", to.id)

    def next_after(self, master: Node, channel: str) -> tuple[float, Node]:
        """When a node had another master for the channel, and which."""
        seen_by = next(node for node in self.alive() if node is not master)

        def decided():
            # For a moment nobody has it.
            owner = self.owner_if_any(channel, seen_by)
            return owner not in (None, master) and (time.monotonic(), owner)

        return eventually("the cluster decides", decided, 20)

    def close(self) -> None:
        for node in self.nodes:
            node.close()
