// A WebSocket fan-out as one would write it for Bun: its own server, which is uWebSockets with its
// topics, and its own client of Redis.
//
// Usage: bun server.mjs --listen PORT --redis PORT --channel NAME [--deflate]. Every connection gets
// what Redis brings on the channel, compressed by the compressor that all share where that is asked
// for; one to /echo gets its own messages back instead.

import { RedisClient, serve } from 'bun';
import { parseArgs } from 'node:util';

const text = { type: 'string' };
const deflate = { type: 'boolean', default: false };
const { values } = parseArgs({ options: { listen: text, redis: text, channel: text, deflate } });
const TOPIC = 'bench';

const server = serve({
    hostname: '127.0.0.1',
    port: Number(values.listen),
    fetch(request, server) {
        const echo = new URL(request.url).pathname === '/echo';
        if (!server.upgrade(request, { data: echo })) {
            return new Response('a WebSocket is expected', { status: 400 });
        }
    },
    websocket: {
        perMessageDeflate: values.deflate ? { compress: 'shared', decompress: 'shared' } : false,
        open(socket) {
            if (!socket.data) {
                socket.subscribe(TOPIC);
            }
        },
        message(socket, message) {
            if (socket.data) {
                socket.send(message);
            }
        },
    },
});

const redis = new RedisClient(`redis://127.0.0.1:${values.redis}`);
await redis.subscribe(values.channel, (message) => server.publish(TOPIC, message, values.deflate));
console.log('listening');
