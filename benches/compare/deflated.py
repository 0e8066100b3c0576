"""Compressed messages to a crowd: what they cost the server, and how many bytes go over the wire.

The load tool offers no compression; this client does, as browsers do. It inflates what the first of
the crowd gets and holds it against what was published; of the others it counts the bytes.
"""

import os
import random
import selectors
import socket
import time
import zlib

from stored import command

CLIENTS = 100
# How long all may take, in seconds.
PATIENCE = 60
OFFER = "permessage-deflate; client_max_window_bits"


def run(port, path, redis, channel, pid, size, messages):
    """Publishes messages of JSON one after the other."""
    crowd = [Hearer(port, path) for _ in range(CLIENTS)]
    selector = selectors.DefaultSelector()
    try:
        for hearer in crowd:
            selector.register(hearer.socket, selectors.EVENT_READ, hearer)
        time.sleep(0.3)
        texts = [json_text(number, size) for number in range(messages + 1)]
        # The first message of all makes what is made once.
        deliver(selector, crowd, redis, channel, texts[0])
        before, sent = processor_s(pid), sum(hearer.bytes for hearer in crowd)
        for text in texts[1:]:
            deliver(selector, crowd, redis, channel, text)
        used = processor_s(pid) - before
        deliveries = messages * CLIENTS
        wire = sum(hearer.bytes for hearer in crowd) - sent
        return {"clients": CLIENTS, "delivery_cpu_us": used * 1e6 / deliveries,
                "wire_bytes": wire / deliveries, "plain_bytes": size}
    finally:
        selector.close()
        for hearer in crowd:
            hearer.socket.close()


def deliver(selector, crowd, redis, channel, text):
    wanted = crowd[0].frames + 1
    command(redis, b"PUBLISH", channel.encode(), text)
    waiting, end = len(crowd), time.monotonic() + PATIENCE
    while waiting:
        for key, _ in selector.select(1):
            hearer = key.data
            had = hearer.frames >= wanted
            hearer.read(text if hearer is crowd[0] else None)
            waiting -= hearer.frames >= wanted and not had
        if time.monotonic() > end:
            raise RuntimeError(f"{waiting} of {len(crowd)} did not get a compressed message")


class Hearer:
    """One of the crowd."""

    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.sendall((
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Extensions: {OFFER}\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
        self.unread = b""
        while b"\r\n\r\n" not in self.unread:
            self.unread += self.receive()
        head, _, self.unread = self.unread.partition(b"\r\n\r\n")
        head = head.decode().lower()
        if " 101 " not in head or "permessage-deflate" not in head:
            raise RuntimeError(f"no compression was agreed on: {head[:200]}")
        self.takeover = "server_no_context_takeover" not in head
        self.inflater = zlib.decompressobj(-15)
        self.socket.setblocking(False)
        self.bytes = self.frames = 0

    def receive(self):
        received = self.socket.recv(1 << 18)
        if not received:
            raise RuntimeError("the server hung up")
        return received

    def read(self, expected):
        """Takes what is there; `expected` is what the messages must say, if that is looked at."""
        received = self.receive()
        self.bytes += len(received)
        self.unread += received
        while (frame := whole_frame(self.unread)) is not None:
            first, payload, length = frame
            self.unread = self.unread[length:]
            if first & 0x0f == 9:
                # An empty pong, or a slow run would be one of silent browsers.
                self.socket.sendall(b"\x8a\x80\0\0\0\0")
            if first & 0x0f not in (1, 2):
                continue
            self.frames += 1
            if expected is not None and self.text(first, payload) != expected:
                raise RuntimeError("a compressed message is another than was published")

    def text(self, first, payload):
        if not first & 0x40:
            raise RuntimeError("a message was not compressed")
        if not self.takeover:
            self.inflater = zlib.decompressobj(-15)
        return self.inflater.decompress(payload + b"\x00\x00\xff\xff")


def whole_frame(bytes_):
    """The first byte, the payload and the length of the frame in front, if it is whole."""
    if len(bytes_) < 2:
        return None
    size, at = bytes_[1] & 0x7f, 2
    if size == 126:
        size, at = int.from_bytes(bytes_[2:4], "big"), 4
    elif size == 127:
        size, at = int.from_bytes(bytes_[2:10], "big"), 10
    return (bytes_[0], bytes_[at:at + size], at + size) if len(bytes_) >= at + size else None


def json_text(seed, size):
    """Objects of a few fields, such as applications send."""
    dice, text = random.Random(seed), ""
    while len(text) < size:
        number = dice.randrange(1 << 12)
        price = dice.randrange(100_000)
        text += f'{{"id":{number},"name":"instrument {number}","price":{price}}},'
    return text[:size].encode()


def processor_s(pid):
    """Processor time of all threads of a process, in seconds."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
            total += int(file.read().split()[0])
    return total / 1e9
