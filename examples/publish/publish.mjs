#!/usr/bin/env node
// publish.mjs NAME MESSAGE (needs ioredis: npm install)
import Redis from 'ioredis';

const [name, message] = process.argv.slice(2);
const channel = `broadcast:${name}`;
const url = process.env.WSLOOP_REDIS ?? 'redis://127.0.0.1:6380';
if (!url.startsWith('redis://')) throw new Error('WSLOOP_REDIS is no redis:// URL');
const redis = new Redis(url, { retryStrategy: null, connectTimeout: 5000, commandTimeout: 5000 });
redis.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
const [[error, receivers]] = await redis
  .pipeline()
  .publish(channel, message)
  .setex(channel, 3600, message)
  .exec();
if (error) throw error;
console.log('receivers:', receivers);
await redis.quit();
