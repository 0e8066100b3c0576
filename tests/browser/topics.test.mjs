/**
 * Many topics on one WebSocket, in real browsers: what is published while the network is away comes
 * when it is back, once and in order, or there is a gap.
 *
 * WSLOOP_URL        base URL of the server
 * WSLOOP_RESP_PORT  where it answers Redis clients, which publish here
 * WSLOOP_KEPT       how many messages the history of a channel below chat/ has, at most
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { chromium, eventually, firefox } from './browsers.mjs';
import { startSite } from './site.mjs';

const { WSLOOP_URL, WSLOOP_RESP_PORT, WSLOOP_KEPT } = process.env;

/** Publishes these texts, one after the other. */
async function publish(channel, texts) {
  const socket = connect(Number(WSLOOP_RESP_PORT), '127.0.0.1');
  const command = (text) =>
    `*3\r\n${['PUBLISH', channel, text]
      .map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
      .join('')}`;
  socket.end(texts.map(command).join(''));
  let answer = '';
  for await (const chunk of socket) {
    answer += chunk;
  }
  assert.match(answer, new RegExp(`^(:\\d+\r\n){${texts.length}}$`));
}

/** Has the page subscribe; what it is told is in `told`, by the facility. */
const subscribe = (tab, ...facilities) =>
  tab.evaluate((all) => {
    window.told ??= {};
    window.subscriptions ??= {};
    for (const facility of all) {
      const subscription = loop.subscribe(facility);
      const heard = [];
      told[facility] = heard;
      subscriptions[facility] = subscription;
      subscription.addEventListener('message', ({ data, stored }) =>
        heard.push(stored ? `stored ${data}` : data));
      subscription.addEventListener('gap', () => heard.push('gap'));
    }
  }, facilities);

const isOpen = (tab, facility) => tab.evaluate((it) => subscriptions[it].state === 'open', facility);
const toldOf = (tab, facility) => tab.evaluate((it) => told[it], facility);
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => String(from + at));
const fresh = (kind = 'chat') => `${kind}/${randomUUID()}`;

for (const launch of [chromium, firefox]) {
  describe(launch.name, () => {
    let browser;
    let site;
    let tab;

    before(async () => {
      assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is');
      browser = await launch();
    });
    after(() => browser?.end());
    beforeEach(async () => {
      site = await startSite(WSLOOP_URL);
      tab = await browser.open(site.page(['/ws/']));
    });
    afterEach(async () => {
      await tab.close();
      await site.end();
    });

    const expectTold = async (facility, texts) => {
      await eventually(`${facility} has told ${texts.at(-1)}`, async () =>
        (await toldOf(tab, facility)).at(-1) === texts.at(-1));
      assert.deepEqual(await toldOf(tab, facility), texts);
    };

    /** The page has no network meanwhile. */
    const whileAway = async (task) => {
      await tab.setOffline(true);
      site.mode = 'cut';
      site.cut();
      await eventually('it is away', () => tab.evaluate(() => loop.state !== 'open'));
      await task();
      site.mode = 'pass';
      await tab.setOffline(false);
      await eventually('it is back', () => tab.evaluate(() => loop.state === 'open'));
    };

    test('fifty topics are one WebSocket', async () => {
      const all = Array.from({ length: 50 }, () => fresh());
      await subscribe(tab, ...all);
      await eventually('all are open', () =>
        tab.evaluate(() => Object.values(subscriptions).every(({ state }) => state === 'open')));
      for (const facility of all) {
        await publish(`broadcast:${facility}`, [`to ${facility}`]);
      }
      for (const facility of all) {
        await expectTold(facility, [`to ${facility}`]);
      }
      assert.equal(site.asked, 1);
    });

    test('what was missed comes, once and in order', async () => {
      const [facility, other] = [fresh(), fresh()];
      await subscribe(tab, facility, other);
      await eventually('it is open', () => isOpen(tab, facility));
      await publish(`broadcast:${facility}`, numbers(1, 5));
      await expectTold(facility, numbers(1, 5));
      for (const start of [5, 45]) {
        await whileAway(() => publish(`broadcast:${facility}`, numbers(start + 1, start + 30)));
        await publish(`broadcast:${facility}`, numbers(start + 31, start + 40));
        await expectTold(facility, numbers(1, start + 40));
      }
      assert.deepEqual(await toldOf(tab, other), []);
    });

    test('what the history has no more is a gap, and then it goes on', async () => {
      const facility = fresh();
      await subscribe(tab, facility);
      await eventually('it is open', () => isOpen(tab, facility));
      await publish(`broadcast:${facility}`, ['1']);
      await expectTold(facility, ['1']);
      await whileAway(() => publish(`broadcast:${facility}`, numbers(2, Number(WSLOOP_KEPT) + 5)));
      await expectTold(facility, ['1', 'gap']);
      await publish(`broadcast:${facility}`, ['last']);
      await expectTold(facility, ['1', 'gap', 'last']);
    });

    test('where there is no history, being away is a gap', async () => {
      const facility = fresh('plain');
      await subscribe(tab, facility);
      await eventually('it is open', () => isOpen(tab, facility));
      await publish(`broadcast:${facility}`, ['1']);
      await expectTold(facility, ['1']);
      await whileAway(() => publish(`broadcast:${facility}`, ['2']));
      await expectTold(facility, ['1', 'gap']);
      await publish(`broadcast:${facility}`, ['3']);
      await expectTold(facility, ['1', 'gap', '3']);
    });

    test('a network that has died is noticed, and nothing is missed', async () => {
      const facility = fresh();
      await subscribe(tab, facility);
      await eventually('it is open', () => isOpen(tab, facility));
      await publish(`broadcast:${facility}`, ['1']);
      await expectTold(facility, ['1']);
      site.freeze();
      const began = performance.now();
      await publish(`broadcast:${facility}`, numbers(2, 20));
      await expectTold(facility, numbers(1, 20));
      const seconds = (performance.now() - began) / 1000;
      // On a machine that has more to do, timers are late.
      assert.ok(seconds > 5 && seconds < 25, `it took ${seconds} s`);
      assert.equal(site.asked, 2);
    });

    test('a page publishes, is told so, and hears itself', async () => {
      const facility = fresh();
      await subscribe(tab, facility);
      await eventually('it is open', () => isOpen(tab, facility));
      const said = await tab.evaluate(async (it) => {
        await loop.publish(it, 'text\nof two lines');
        await loop.publish(it, new Uint8Array([10, 0, 255]));
        const refused = await loop.publish(it, 'x', { audience: 'user' }).catch(({ name }) => name);
        await loop.publish(it, 'last');
        return refused;
      }, facility);
      assert.equal(said, 'RefusedError');
      await eventually('all has come', async () => (await toldOf(tab, facility)).length === 3);
      const heard = await tab.evaluate((it) =>
        told[it].map((data) => (typeof data === 'string' ? data : [...new Uint8Array(data)])), facility);
      assert.deepEqual(heard, ['text\nof two lines', [10, 0, 255], 'last']);
    });
  });
}
