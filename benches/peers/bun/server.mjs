// A WebSocket fan-out as one would write it for Bun: its own server, which is uWebSockets with its
// topics, and its own client of Redis.
//
// Usage: bun server.mjs --listen PORT --redis PORT --channel NAME. Every connection gets what Redis
// brings on the channel; one to /echo gets its own messages back instead.

import { RedisClient, serve } from 'bun';
import { parseArgs } from 'node:util';

const text = { type: 'string' };
const { values } = parseArgs({ options: { listen: text, redis: text, channel: text } });
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
        perMessageDeflate: false,
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
await redis.subscribe(values.channel, (message) => server.publish(TOPIC, message));
console.log('listening');
