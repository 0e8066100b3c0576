// Express tells wsloop who a browser belongs to; or, with REDIS_URL, keeps its sessions in Redis,
// where wsloop reads them itself.
// This is an example: whoever says that they are john is john, without a password.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createClient } from 'redis';

const GROUPS = new Map([['john', ['chatusers']]]);
const BANNED = ['banned'];
const { PORT = 3000, REDIS_URL, SESSION_SECRET_FILE: file } = process.env;

const secret = file ? readFileSync(file, 'utf8').replace(/\n$/, '') : randomBytes(32).toString('hex');
const redis = REDIS_URL && createClient({ url: REDIS_URL }).on('error', console.error);
await redis?.connect();
const store = redis && new RedisStore({ client: redis, prefix: 'sess:' });

const cookie = { sameSite: 'lax' };
const app = express();
app.use(session({ store, secret, cookie, resave: false, saveUninitialized: false }));

app.get('/', (req, res) => res.sendFile(fileURLToPath(new URL('../page.html', import.meta.url))));

app.post('/login', (req, res, next) => {
  req.session.regenerate((error) => {
    if (error) return next(error);
    const user = String(req.query.user);
    Object.assign(req.session, { user, groups: GROUPS.get(user) ?? [] });
    res.redirect(303, '/');
  });
});

app.post('/logout', async (req, res) => {
  const order = { disconnect: { session: req.sessionID }, reason: 'logged out' };
  await promisify(req.session.destroy).call(req.session);
  await redis?.publish('wsloop:control', JSON.stringify(order));
  res.redirect(303, '/');
});

/** What wsloop asks. Keep it from the public, and before whatever redirects to a login page. */
app.get('/wsloop-auth', (req, res) => {
  const { user, groups } = req.session;
  if (BANNED.includes(user)) return res.status(403).send('You are banned.');
  if (user) {
    if (![user, ...groups].every(isName)) return res.status(403).send('This name cannot be used.');
    res.set('X-Wsloop-User-Encoded', encodeURIComponent(user));
    res.set('X-Wsloop-Groups-Encoded', groups.map(encodeURIComponent).join(','));
    res.set('X-Wsloop-Session', req.sessionID);
  }
  res.end();
});

/** What has blanks around it or control characters is no name for wsloop. */
const isName = (name) => name === name.trim() && !/\p{Cc}|\p{Cs}/u.test(name);

app.listen(PORT, '127.0.0.1');
