#!/usr/bin/env node
// publish.mjs NAME MESSAGE (needs ioredis: npm install)
import Redis from 'ioredis';

const [name, message] = process.argv.slice(2);
const channel = `broadcast:${name}`;
const redis = new Redis(process.env.WSLOOP_REDIS ?? 'redis://127.0.0.1:6380');
const [[error, receivers]] = await redis
  .pipeline()
  .publish(channel, message)
  .setex(channel, 3600, message)
  .exec();
if (error) throw error;
console.log('receivers:', receivers);
await redis.quit();
