"""Tornado's WebSocket client, which compresses: says the same long message twice, and hears it."""

import asyncio
import sys

import tornado
from tornado.websocket import websocket_connect


async def main(url):
    text = "the same long message " * 40
    socket = await websocket_connect(url, compression_options={})
    heard = []
    for _ in range(2):
        try:
            await socket.write_message(text)
        except tornado.websocket.WebSocketClosedError:
            break
        answer = await asyncio.wait_for(socket.read_message(), 10)
        if answer is None:
            break
        heard.append(answer == text)
    print(tornado.version, heard, socket.close_code)


asyncio.run(main(sys.argv[1]))
