/**
 * Closes that the server begins, in real browsers: a page sees their code, and that they are clean.
 *
 * WSLOOP_URL        base URL of the server, as http://127.0.0.1:8080; it may end
 * WSLOOP_PID        its process
 * WSLOOP_RESP_PORT  where it answers Redis clients
 * WSLOOP_TOKEN_KEY  path of the file that it has as --token-key-file; an HS256 secret
 */

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import { chromium, eventually, firefox, sleep } from './browsers.mjs';

const { WSLOOP_URL, WSLOOP_PID, WSLOOP_RESP_PORT, WSLOOP_TOKEN_KEY } = process.env;
const LAUNCHES = { chromium, firefox };
const browsers = {};

before(async () => {
  assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is');
  for (const [name, launch] of Object.entries(LAUNCHES)) {
    browsers[name] = await launch();
  }
});
after(() => Promise.all(Object.values(browsers).map((browser) => browser.end())));

function token(user, seconds) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString('base64url');
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const body = `${part({ alg: 'HS256' })}.${part({ sub: user, exp })}`;
  const secret = readFileSync(WSLOOP_TOKEN_KEY, 'utf8').trimEnd();
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

/** A tab whose socket is open. */
async function open(name, user, seconds = 3600) {
  const tab = await browsers[name].open(new URL('/chat/', WSLOOP_URL).href);
  await tab.evaluate((protocol) => {
    const url = new URL('/ws/closes?subscribe-user', location.href.replace(/^http/, 'ws'));
    window.socket = new WebSocket(url, ['closes', protocol]);
    window.ends = [];
    socket.onclose = ({ code, wasClean }) => ends.push({ code, wasClean });
    return new Promise((done) => (socket.onopen = done)).then(() => true);
  }, `bearer.${token(user, seconds)}`);
  return tab;
}

async function expectClean(tab, code) {
  await eventually('the socket is closed', () => tab.evaluate(() => ends.length > 0));
  assert.deepEqual(await tab.evaluate(() => ends), [{ code, wasClean: true }]);
}

/** What an application says to the server. */
function control(message) {
  const socket = connect(Number(WSLOOP_RESP_PORT), '127.0.0.1');
  const words = ['PUBLISH', 'wsloop:control', JSON.stringify(message)];
  const bulk = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  socket.end(`*${words.length}\r\n${bulk.join('')}`);
  socket.resume();
  return new Promise((done) => socket.on('close', done));
}

for (const name of Object.keys(LAUNCHES)) {
  test(`${name}: closes by the application are clean`, async () => {
    for (const code of [1008, 4403, 4999]) {
      const user = randomUUID();
      const tab = await open(name, user);
      await control({ disconnect: { user }, code });
      await expectClean(tab, code);
      await tab.close();
    }
  });

  test(`${name}: the close for a message that is too large is clean`, async () => {
    const tab = await open(name, randomUUID());
    await tab.evaluate(() => socket.send('x'.repeat(3 << 20)));
    await expectClean(tab, 1009);
    await tab.close();
  });

  test(`${name}: the close of a token that has expired is clean`, async () => {
    const tab = await open(name, randomUUID(), 2);
    await expectClean(tab, 4401);
    await tab.close();
  });
}

test('closes at the end of the server are clean', async () => {
  const tabs = [];
  for (const name of Object.keys(LAUNCHES)) {
    tabs.push(await open(name, randomUUID()));
  }
  await sleep(100);
  process.kill(Number(WSLOOP_PID), 'SIGTERM');
  for (const tab of tabs) {
    await expectClean(tab, 1001);
  }
});
