"""Several Redis beside one: what a message costs each of them, with many wsloops to send it to.

    python3 benches/compare/several.py [--nodes 2] [--subscribers 100] [--channels 64]
        [--messages 20000] [--pairs 5]

It takes turns: one Redis, then several, with subscribers that do what a wsloop does (HELLO 3, one
link to each Redis, SUBSCRIBE to the channels that are there) and a publisher that spreads messages
over the channels. Channels are spread by wsloop's rule. Where Redis is the limit, the one that works
most is: so what counts is how much processor time one Redis takes for a message, to what the busiest
of several takes. It needs redis-server and /proc.
"""

import argparse
import os
import selectors
import socket
import subprocess
import tempfile
import threading
import time
from binascii import crc_hqx
from statistics import median


def node_of(channel, nodes):
    # No channel here has a brace in it.
    return (crc_hqx(channel.encode(), 0) % 16384) % nodes


def main():
    parser = argparse.ArgumentParser()
    for name, default in [("nodes", 2), ("subscribers", 100), ("channels", 64), ("pairs", 5)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--messages", type=int, default=20_000)
    given = parser.parse_args()
    ratios = []
    print("pair  Redis  CPU us a message, of each")
    for pair in range(given.pairs):
        found = {}
        # Whoever is first is second the next time.
        for nodes in sorted([1, given.nodes], reverse=pair % 2 == 1):
            found[nodes] = load(nodes, given)
            told = "  ".join(f"{cpu:8.1f}" for cpu in found[nodes])
            print(f"{pair:4}  {nodes:5}  {told}", flush=True)
        ratios.append(max(found[1]) / max(found[given.nodes]))
    told = ", ".join(f"{value:.2f}" for value in ratios)
    print(f"one's to that of the busiest of {given.nodes}: median {median(ratios):.2f} of {told}")


def load(nodes, given):
    """What a message, of all that are published, takes each Redis, in microseconds."""
    channels = [f"broadcast:room{number}" for number in range(given.channels)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/redis{number}" for number in range(nodes)]
        servers = [serve(path) for path in paths]
        try:
            return play(paths, servers, channels, given)
        finally:
            for server in servers:
                server.kill()
                server.wait()


def play(paths, servers, channels, given):
    at = [[name for name in channels if node_of(name, len(paths)) == node]
          for node in range(len(paths))]
    ears, expected = selectors.DefaultSelector(), 0
    for path, own in zip(paths, at):
        for _ in range(given.subscribers):
            link = connect(path)
            link.sendall(command("HELLO", "3") + command("SUBSCRIBE", *own))
            link.setblocking(False)
            ears.register(link, selectors.EVENT_READ)
    push = len(f">3\r\n$7\r\nmessage\r\n")
    for number in range(given.messages):
        name = channels[number % len(channels)]
        size = push + len(f"${len(name)}\r\n{name}\r\n$100\r\n") + 102
        expected += size * given.subscribers
    drain(ears, quiet_s=0.3)
    publishers = [connect(path) for path in paths]
    batches = [[] for _ in paths]
    for number in range(given.messages):
        name = channels[number % len(channels)]
        batches[node_of(name, len(paths))].append(command("PUBLISH", name, "x" * 100))
    before = [cpu_us(server.pid) for server in servers]
    threads = [threading.Thread(target=publish, args=pair) for pair in zip(publishers, batches)]
    for thread in threads:
        thread.start()
    drain(ears, bytes=expected)
    for thread in threads:
        thread.join()
    after = [cpu_us(server.pid) for server in servers]
    for key in list(ears.get_map().values()):
        key.fileobj.close()
    ears.close()
    return [(end - begin) / given.messages for begin, end in zip(before, after)]


def publish(link, commands):
    """Publishes one after the other, as far as Redis has answered all but a few."""
    for start in range(0, len(commands), 16):
        some = commands[start:start + 16]
        link.sendall(b"".join(some))
        answers = 0
        while answers < len(some):
            answers += link.recv(1 << 16).count(b"\r\n")


def drain(ears, bytes=None, quiet_s=30):
    """Reads what comes, until that is so much, or nothing comes for a while."""
    taken = 0
    while bytes is None or taken < bytes:
        ready = ears.select(quiet_s)
        if not ready and bytes is None:
            return
        assert ready, f"{taken} of {bytes} bytes came"
        for key, _ in ready:
            taken += len(key.fileobj.recv(1 << 18))


def serve(path):
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL)
    while True:
        try:
            connect(path).close()
            return server
        except OSError:
            assert server.poll() is None, "redis-server does not start"
            time.sleep(0.02)


def connect(path):
    link = socket.socket(socket.AF_UNIX)
    link.connect(path)
    return link


def command(*words):
    parts = [b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words]
    return b"*%d\r\n%s" % (len(words), b"".join(parts))


def cpu_us(pid):
    with open(f"/proc/{pid}/schedstat") as file:
        main = int(file.read().split()[0]) / 1000
    others = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        if int(task) != pid:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                others += int(file.read().split()[0]) / 1000
    return main + others


if __name__ == "__main__":
    main()
