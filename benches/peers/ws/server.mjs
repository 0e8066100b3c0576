// A WebSocket fan-out as one would write it with ws and ioredis.
//
// Usage: node server.mjs --listen PORT --redis PORT --channel NAME. Every connection gets what Redis
// brings on the channel; one to /echo gets its own messages back instead.

import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import Redis from 'ioredis';
import { WebSocketServer } from 'ws';

const text = { type: 'string' };
const { values } = parseArgs({ options: { listen: text, redis: text, channel: text } });

const listeners = new Set();
const http = createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
server.on('connection', (socket, request) => {
    socket.on('error', () => socket.terminate());
    if (request.url === '/echo') {
        socket.on('message', (data, binary) => socket.send(data, { binary }));
        return;
    }
    listeners.add(socket);
    socket.on('close', () => listeners.delete(socket));
});

const redis = new Redis(Number(values.redis));
// As bytes: a string would be encoded again for each socket.
redis.on('messageBuffer', (_channel, data) => {
    for (const socket of listeners) {
        socket.send(data, { binary: false });
    }
});
await redis.subscribe(values.channel);

http.listen({ host: '127.0.0.1', port: Number(values.listen), backlog: 4096 }, () => {
    console.log('listening');
});
