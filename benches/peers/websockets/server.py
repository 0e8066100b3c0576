"""A WebSocket fan-out as one would write it with websockets and redis-py.

Usage: server.py --listen PORT --redis PORT --channel NAME. Every connection gets what Redis brings
on the channel; one to /echo gets its own messages back instead.
"""

import argparse
import asyncio

from redis.asyncio import Redis
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

listeners = set()


async def handle(socket):
    if socket.request.path == "/echo":
        try:
            async for message in socket:
                await socket.send(message)
        except ConnectionClosed:
            pass
        return
    listeners.add(socket)
    try:
        await socket.wait_closed()
    finally:
        listeners.discard(socket)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--redis", type=int, required=True)
    parser.add_argument("--channel", required=True)
    arguments = parser.parse_args()
    pushes = Redis(port=arguments.redis, decode_responses=True).pubsub()
    await pushes.subscribe(arguments.channel)
    options = {"compression": None, "backlog": 4096}
    async with serve(handle, "127.0.0.1", arguments.listen, **options):
        print("listening", flush=True)
        async for push in pushes.listen():
            if push["type"] == "message":
                broadcast(listeners, push["data"])


asyncio.run(main())
