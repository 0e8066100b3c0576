"""Sends one WebSocket frame over and over, on many connections, as fast as the server takes it.

flood.py HOST PORT CONNECTIONS KIND SECONDS; KIND is ping, pong, text or fragment. What the server
answers is read and thrown away. Says "flooding" when every connection is open, and ends by itself.
"""

import selectors
import socket
import sys
import time

host, port, connections, kind, seconds = sys.argv[1:]
BURSTS = {
    "ping": b"\x89\x80abcd" * 10_000,
    "pong": b"\x8a\x80abcd" * 10_000,
    "text": b"\x81\x81abcd\x1b" * 10_000,
    "fragment": b"\x01\x80abcd" + b"\x00\x80abcd" * 9_998 + b"\x80\x80abcd",
}
request = (
    "GET /ws/flood?publish-broadcast HTTP/1.1\r\nHost: flood\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
burst = BURSTS[kind]
poll = selectors.DefaultSelector()
for _ in range(int(connections)):
    flooder = socket.create_connection((host, int(port)))
    flooder.sendall(request.encode())
    assert b" 101 " in flooder.recv(4096)
    flooder.setblocking(False)
    poll.register(flooder, selectors.EVENT_READ | selectors.EVENT_WRITE, [0])
print("flooding", flush=True)
until = time.monotonic() + float(seconds)
while time.monotonic() < until:
    for key, events in poll.select(timeout=0.1):
        try:
            if events & selectors.EVENT_READ:
                key.fileobj.recv(1 << 16)
            if events & selectors.EVENT_WRITE:
                key.data[0] += key.fileobj.send(burst[key.data[0] :])
                key.data[0] %= len(burst)
        except BlockingIOError:
            pass
        except ConnectionError:
            poll.unregister(key.fileobj)
