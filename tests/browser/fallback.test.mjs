/**
 * Pages behind a proxy that lets no WebSocket through, in real browsers: they hear and publish by
 * streams and POST, come back to a WebSocket when one gets through, and miss nothing in either switch.
 *
 * WSLOOP_URL          base URL of the server
 * WSLOOP_RESP_PORT    where it answers Redis clients, which publish here
 * WSLOOP_TOKEN_KEY    path of the file that it has as --token-key-file; an HS256 secret and a newline
 * WSLOOP_FRIEND_PORT  the port of 127.0.0.1 whose pages --allowed-origins names
 */

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { chromium, eventually, firefox, sleep } from './browsers.mjs';
import { startSite } from './site.mjs';

const { WSLOOP_URL, WSLOOP_RESP_PORT, WSLOOP_TOKEN_KEY, WSLOOP_FRIEND_PORT } = process.env;

/** A token of that user's, for ten minutes. */
function tokenOf(user) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { sub: user, exp: Math.floor(Date.now() / 1000) + 600 };
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  const secret = readFileSync(WSLOOP_TOKEN_KEY, 'utf8').trimEnd();
  return `${body}.${createHmac('sha256', secret).update(body).digest('base64url')}`;
}

/** Publishes, at a steady pace, until it is stopped; `last` is the number of the last message. */
function publishSteadily(channel) {
  const socket = connect(Number(WSLOOP_RESP_PORT), '127.0.0.1');
  socket.resume();
  const publisher = { last: 0 };
  const timer = setInterval(() => {
    publisher.last += 1;
    const words = ['PUBLISH', channel, String(publisher.last)];
    const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
    socket.write(`*3\r\n${parts.join('')}`);
  }, 50);
  publisher.stop = () => {
    clearInterval(timer);
    socket.end();
  };
  return publisher;
}

/** Has the page subscribe; what it is told is in `told`, by the facility. */
const subscribe = (tab, ...facilities) =>
  tab.evaluate((all) => {
    window.told ??= {};
    for (const facility of all) {
      const heard = (told[facility] = []);
      const subscription = loop.subscribe(facility);
      subscription.addEventListener('message', ({ data }) =>
        heard.push(typeof data === 'string' ? data : [...new Uint8Array(data)]));
      subscription.addEventListener('gap', () => heard.push('gap'));
    }
  }, facilities);

const toldOf = (tab, facility) => tab.evaluate((it) => told[it], facility);
const numbers = (to) => Array.from({ length: to }, (_, at) => String(at + 1));
const fresh = (kind = 'chat') => `${kind}/${randomUUID()}`;
/** Waits until it has that transport. With `hurry`, no attempt waits. */
const isOn = (tab, wanted, hurry = false) =>
  eventually(`it is on a ${wanted}`, () =>
    tab.evaluate(
      (it, now) => (now && loop.reconnect(), loop.state === 'open' && loop.transport === it),
      wanted, hurry,
    ));
/** To the page, the network was away. */
const goOnline = (tab) => tab.evaluate(() => void dispatchEvent(new Event('online')));

for (const launch of [chromium, firefox]) {
  describe(launch.name, () => {
    let browser;
    let site;
    let tab;
    let publisher;

    before(async () => {
      assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is');
      browser = await launch();
    });
    after(() => browser?.end());
    beforeEach(async () => {
      site = await startSite(WSLOOP_URL);
    });
    afterEach(async () => {
      publisher?.stop();
      publisher = null;
      await tab?.close();
      await site.end();
    });

    /** A page that hears these, behind a proxy in that mode; of the server's origin or another. */
    const open = async (mode, facilities, options = {}, from = site) => {
      site.mode = mode;
      tab = await browser.open(from.page([`${site.url}/ws/`, options]));
      await subscribe(tab, ...facilities);
    };
    const expectTold = async (facility, texts) => {
      await eventually(`${facility} has told ${texts.at(-1)}`, async () =>
        JSON.stringify((await toldOf(tab, facility)).at(-1)) === JSON.stringify(texts.at(-1)));
      assert.deepEqual(await toldOf(tab, facility), texts);
    };

    for (const mode of ['refuse', 'cut', 'hold']) {
      test(`where upgrades meet '${mode}', a page hears and publishes`, async () => {
        const facilities = [fresh(), fresh('plain')];
        await open(mode, facilities, { connectTimeout: 1000 });
        await isOn(tab, 'stream');
        assert.deepEqual([site.asked, site.streams], [2, 1]);
        await eventually('all is heard', () =>
          tab.evaluate(async (all) => all.every((it) => loop.subscribe(it).state === 'open'), facilities));
        const said = await tab.evaluate(async (all) => {
          for (const facility of all) {
            await loop.publish(facility, 'text\nof two lines');
            await loop.publish(facility, 'with\ra CR');
            await loop.publish(facility, new Uint8Array([10, 0, 255]));
          }
          return loop.publish(all[0], 'x', { audience: 'user' }).catch(({ name, status }) => name + status);
        }, facilities);
        assert.equal(said, 'RefusedError403');
        for (const facility of facilities) {
          await expectTold(facility, ['text\nof two lines', 'with\ra CR', [10, 0, 255]]);
        }
      });
    }

    test('a page comes to a stream and back, and misses nothing', async () => {
      const facility = fresh();
      await open('pass', [facility]);
      await isOn(tab, 'websocket');
      await eventually('it is heard', () =>
        tab.evaluate((it) => loop.subscribe(it).state === 'open', facility));
      publisher = publishSteadily(`broadcast:${facility}`);
      for (let round = 0; round < 3; round += 1) {
        await sleep(200);
        site.mode = 'refuse';
        site.cut();
        await eventually('it notices', () => tab.evaluate(() => loop.state !== 'open'));
        await isOn(tab, 'stream', true);
        await sleep(200);
        // Streams are lost as well, and topics come and go.
        site.cut();
        await eventually('it notices', () => tab.evaluate(() => loop.state !== 'open'));
        await isOn(tab, 'stream', true);
        await subscribe(tab, fresh());
        await sleep(200);
        site.mode = 'pass';
        await goOnline(tab);
        await isOn(tab, 'websocket');
        await eventually('the stream is closed', () => site.streams === 0);
      }
      await sleep(200);
      publisher.stop();
      await expectTold(facility, numbers(publisher.last));
      assert.ok(publisher.last > 50, `${publisher.last} messages`);
    });

    test('a page without a topic publishes', async () => {
      const facility = fresh();
      await open('refuse', []);
      await isOn(tab, 'stream', true);
      await tab.evaluate((it) => loop.publish(it, 'before it listens'), facility);
      await subscribe(tab, facility);
      await eventually('it is heard', () =>
        tab.evaluate((it) => loop.subscribe(it).state === 'open', facility));
      await tab.evaluate((it) => loop.publish(it, 'after'), facility);
      await eventually('it has come', async () =>
        (await toldOf(tab, facility)).at(-1) === 'after');
    });

    for (const tokenIn of ['protocol', 'query']) {
      test(`a page of another origin has a token (${tokenIn})`, async () => {
        const friend = await startSite(WSLOOP_URL, { port: Number(WSLOOP_FRIEND_PORT) });
        try {
          await open('refuse', [], { token: tokenOf('john'), tokenIn }, friend);
          await isOn(tab, 'stream', true);
          const heard = await tab.evaluate(async (facility) => {
            const mine = loop.subscribe(facility, { audience: 'user' });
            const came = new Promise((done) => mine.addEventListener('message', ({ data }) => done(data)));
            await new Promise((done) =>
              mine.addEventListener('state', ({ state }) => state === 'connecting' || done()));
            await loop.publish(facility, 'to myself', { audience: 'user' });
            return came;
          }, fresh());
          assert.equal(heard, 'to myself');
        } finally {
          await friend.end();
        }
      });
    }

    test('after some 30 s it comes back by itself', async () => {
      const facility = fresh();
      await open('refuse', [facility]);
      await isOn(tab, 'stream');
      await eventually('it is heard', () =>
        tab.evaluate((it) => loop.subscribe(it).state === 'open', facility));
      publisher = publishSteadily(`broadcast:${facility}`);
      site.mode = 'pass';
      const began = performance.now();
      await isOn(tab, 'websocket');
      const seconds = (performance.now() - began) / 1000;
      assert.ok(seconds > 10 && seconds < 40, `it took ${seconds} s`);
      publisher.stop();
      await expectTold(facility, numbers(publisher.last));
    });
  });
}
