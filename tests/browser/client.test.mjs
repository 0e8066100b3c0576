/**
 * The client in real browsers, for what a fake cannot show.
 *
 * WSLOOP_URL        base URL of the server, as http://127.0.0.1:8080
 * WSLOOP_HEARTBEAT  its --heartbeat
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { chromium, eventually, firefox, sleep } from './browsers.mjs';
import { expectToHear, seen, waitFor } from './pages.mjs';
import { startSite } from './site.mjs';

const { WSLOOP_URL, WSLOOP_HEARTBEAT } = process.env;

/** Hidden tabs are throttled to one timer a minute after so many seconds, not after minutes. */
const THROTTLE = '--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/2';

const freshRoom = () => `/ws/test-${randomUUID()}?subscribe-broadcast&publish-broadcast&echo`;
const types = async (tab) => (await tab.evaluate(() => seen)).map(({ type }) => type);

for (const launch of [() => chromium([THROTTLE]), firefox]) {
  const name = launch === firefox ? 'firefox' : 'chromium';
  describe(name, () => {
    let browser;
    let site;
    let tabs;
    const open = async (url) => {
      tabs.push(await browser.open(url));
      return tabs.at(-1);
    };

    before(async () => {
      assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is');
      browser = await launch();
    });
    after(() => browser?.end());
    beforeEach(async () => {
      tabs = [];
      site = await startSite(WSLOOP_URL);
    });
    afterEach(async () => {
      await Promise.all(tabs.map((tab) => tab.close()));
      await site.end();
    });

    test('a page from the back-forward cache hears its room again', async () => {
      const tab = await open(site.page([freshRoom()]));
      await expectToHear(tab);
      await tab.goto(new URL('/blank.html', site.url).href);
      await eventually('the connection is gone', () => site.connected === 0);
      await tab.back();
      await expectToHear(tab);
      const restored = (await seen(tab, 'pageshow')).at(-1);
      // Firefox keeps no page with an open WebSocket and loads it anew.
      assert.equal(restored.persisted, name === 'chromium');
      if (restored.persisted) {
        const all = await types(tab);
        assert.deepEqual(all.filter((type) => type !== 'message'), [
          ...['pageshow', 'open', 'close', 'hidden', 'visible', 'pageshow', 'connecting', 'open'],
        ]);
        assert.equal((await seen(tab, 'close'))[0].reason, 'the page was left');
      }
    });

    test('a page that waits in the back-forward cache tries at once when it is back', async () => {
      // A browser that is short of something may keep no page for once.
      let restored;
      for (let tries = 3; tries > 0 && !restored?.persisted; tries -= 1) {
        site.mode = 'cut';
        const tab = await open(site.page([freshRoom(), { explain: false }]));
        await waitFor(tab, 'close');
        await tab.evaluate(() => (window.Math.random = () => 30));
        // An attempt may have been planned already.
        let lost = await waitFor(tab, 'close', 2);
        if (lost.reconnectIn < 30000) lost = await waitFor(tab, 'close', 3);
        assert.ok(lost.reconnectIn >= 30000);
        await tab.goto(new URL('/blank.html', site.url).href);
        site.mode = 'pass';
        await tab.back();
        await expectToHear(tab);
        restored = (await seen(tab, 'pageshow')).at(-1);
        assert.ok((await seen(tab, 'open'))[0].at - restored.at < 15000);
      }
      assert.equal(restored.persisted, true);
    });

    test('a throttled tab hears what comes, is not closed, and comes back', async () => {
      const room = freshRoom();
      const hidden = await open(site.page([room, { heartbeat_msg: WSLOOP_HEARTBEAT }]));
      await expectToHear(hidden);
      const shown = await open(site.page([room]));
      await waitFor(hidden, 'hidden');
      // Longer than it takes to find a connection dead that answers no heartbeat.
      await hidden.evaluate(() => {
        window.ticks = 0;
        setInterval(() => (window.ticks += 1), 100);
      });
      await sleep(26000);
      assert.ok((await hidden.evaluate(() => ticks)) < 60, 'it is throttled');
      await shown.evaluate(() => loop.send('for the hidden one'));
      await eventually('it is heard', async () =>
        (await seen(hidden, 'message')).some(({ data }) => data === 'for the hidden one'));
      assert.deepEqual(await seen(hidden, 'close'), []);
      site.cut();
      await waitFor(hidden, 'close');
      await hidden.show();
      await expectToHear(hidden);
      assert.equal((await seen(hidden, 'open')).length, 2);
    });

    test('a page that is online again tries at once', async () => {
      const tab = await open(site.page([freshRoom()]));
      await expectToHear(tab);
      await tab.setOffline(true);
      await waitFor(tab, 'offline');
      await tab.evaluate(() => (window.Math.random = () => 30));
      site.cut();
      const { reconnectIn } = await waitFor(tab, 'close');
      assert.ok(reconnectIn >= 30000);
      await tab.setOffline(false);
      const online = await waitFor(tab, 'online');
      await expectToHear(tab);
      assert.ok((await seen(tab, 'open'))[1].at - online.at < 15000);
    });

    test('a connection from before is not trusted when the page is online again', async () => {
      const room = freshRoom();
      const deaf = await open(site.page([room]));
      const sound = await open(site.page([room, { heartbeat_msg: WSLOOP_HEARTBEAT }]));
      for (const tab of [deaf, sound]) {
        await expectToHear(tab);
        await tab.setOffline(true);
        await waitFor(tab, 'offline');
        await tab.setOffline(false);
        await waitFor(tab, 'online');
        await expectToHear(tab);
      }
      const [close] = await seen(deaf, 'close');
      assert.equal(close.reason, 'the network has changed');
      assert.equal(close.reconnectIn, 0);
      await eventually('the old one is closed', () => site.connected === 2);
      // A second longer than the answer to a heartbeat may take.
      await sleep(6000);
      assert.deepEqual(await seen(sound, 'close'), [], 'it has answered');
    });

    test('workers have loops, and a page under a service worker has one', async () => {
      const tab = await open(new URL('/worker.html', site.url).href);
      await eventually('it is in charge', () => tab.evaluate(() => window.controlled));
      await tab.goto(new URL('/worker.html', site.url).href);
      await eventually('it is in charge of this page', () =>
        tab.evaluate(() => navigator.serviceWorker.controller !== null));
      await tab.evaluate(() => navigator.serviceWorker.controller.postMessage('begin'));
      for (const kind of ['dedicated', 'shared', 'service']) {
        await eventually(`the ${kind} worker hears itself`, () =>
          tab.evaluate((it) => heard[it]?.includes(`from the ${it} worker`), kind));
      }
      await tab.goto(site.page([freshRoom()]));
      const response = await tab.evaluate(async () =>
        (await fetch('/wsloop.mjs')).headers.get('X-Worker'));
      assert.equal(response, 'yes');
      await expectToHear(tab);
      site.cut();
      await waitFor(tab, 'close');
      await expectToHear(tab);
      await tab.evaluate(async () => {
        const all = await navigator.serviceWorker.getRegistrations();
        await Promise.all(all.map((registration) => registration.unregister()));
      });
    });

    test('the strictest policy that allows the address is enough', async () => {
      const trusted = "require-trusted-types-for 'script'; trusted-types 'none'";
      const csp = `default-src 'none'; script-src 'self'; connect-src 'self'; ${trusted}`;
      const isOurs = ({ violatedDirective }) => violatedDirective !== 'img-src';
      const tab = await open(site.page([freshRoom()], { csp }));
      await expectToHear(tab);
      site.cut();
      await waitFor(tab, 'close');
      await expectToHear(tab);
      // Firefox tells of its own request for an icon.
      assert.deepEqual((await seen(tab, 'violation')).filter(isOurs), []);
      const old = await open(site.page([freshRoom()], { csp, path: '/classic.html' }));
      await expectToHear(old);
      assert.deepEqual((await seen(old, 'violation')).filter(isOurs), []);
    });

    test('a policy that forbids the address is an error at once, or a lost attempt', async () => {
      const csp = "default-src 'self'; connect-src 'none'";
      const tab = await open(site.page([freshRoom(), { explain: false }], { csp }));
      await waitFor(tab, 'violation');
      if (name === 'firefox') {
        const { reason } = await waitFor(tab, 'thrown');
        assert.match(reason, /blocked/);
      } else {
        const { code, willReconnect } = await waitFor(tab, 'close');
        assert.deepEqual([code, willReconnect], [1006, true]);
      }
      assert.equal(site.asked, 0);
    });

    test('a server that accepts and then closes is tried ever more slowly', async () => {
      site.mode = 'shut';
      const tab = await open(site.page([freshRoom(), { explain: false }]));
      await tab.evaluate(() => (window.Math.random = () => 0.2));
      // The first waits may have been drawn before that.
      const before = (await seen(tab, 'close')).length;
      await waitFor(tab, 'close', Math.max(4, before + 1));
      const closes = await seen(tab, 'close');
      assert.deepEqual(closes.map(({ code }) => code), closes.map(() => 1011));
      const waits = closes.map(({ reconnectIn }) => Math.round(reconnectIn));
      const drawn = [200, 600, 1400, 3000, 6000, 6000].slice(before, closes.length);
      assert.deepEqual(waits.slice(before), drawn);
      site.mode = 'pass';
      await expectToHear(tab);
    });

    test('an attempt that is never answered is given up', async () => {
      site.mode = 'hold';
      const options = { connectTimeout: 1000, explain: false };
      const tab = await open(site.page([freshRoom(), options]));
      await waitFor(tab, 'close', 2);
      const closes = await seen(tab, 'close');
      for (const { code, reason, willReconnect } of closes) {
        assert.deepEqual([code, reason, willReconnect], [1006, 'no answer', true]);
      }
      site.mode = 'pass';
      await expectToHear(tab);
      assert.ok(site.asked >= 3);
      // Firefox leaves that to the server.
      if (name === 'chromium') {
        await eventually('the others are closed', () => site.connected === 1);
      }
    });

    test('relative and http URLs, as texts and as objects, are of the page', async () => {
      const room = freshRoom();
      for (const args of [
        [`${site.url}${room}`],
        [{ uri: room }],
        [{ uri: `${site.url}${room}#part`, token: 't', tokenIn: 'query' }],
      ]) {
        await expectToHear(await open(site.page(args)));
      }
      const tab = await open(site.page([room]));
      await expectToHear(tab);
      await tab.evaluate((path) => made(new URL(path, location.href)), room);
      await eventually('it is open', () => tab.evaluate(() => other.state === 'open'));
    });

    test('on localhost the console says why, in the words of the server', async () => {
      for (const [option, level, words] of [
        ['subscribe-user', 'warn', /subscribe-user: no channel: nothing says which user/],
        ['subscribe-brodcast', 'warn', /^wsloop: .*: There is no option "subscribe-brodcast"/],
        ['subscribe-broadcast', 'info', /subscribe-broadcast: granted/],
      ]) {
        const tab = await open(site.page([`/ws/x?${option}`]));
        const said = await waitFor(tab, level);
        assert.match(said.text, words);
        await tab.evaluate(() => loop.close());
      }
    });

    test('on localhost the console says why, on the same site and on another', async () => {
      const other = await startSite(WSLOOP_URL);
      const uri = (on, options) => `${on.url.replace('http', 'ws')}/ws/x?${options}`;
      const explain = (origin) => (response, { headers }) => {
        const cors = { 'Access-Control-Allow-Origin': origin ?? headers.origin };
        response.writeHead(426, {
          'Content-Type': 'text/plain; charset=utf-8',
          'X-Wsloop-Granted': '',
          'Access-Control-Allow-Credentials': 'true',
          ...(headers.origin ? cors : {}),
        });
        response.end('Nothing is granted: log in.\n');
      };
      const expectSaid = async (address, count, text) => {
        const tab = await open(site.page([address]));
        const warning = await waitFor(tab, 'warn');
        assert.equal(warning.text, `wsloop: ${text}`);
        await waitFor(tab, 'close', count);
        assert.equal((await seen(tab, 'warn')).length, 1);
        await tab.evaluate(() => loop.close());
      };
      try {
        site.mode = other.mode = 'cut';
        site.answer = other.answer = explain();
        for (const on of [site, other]) {
          const address = uri(on, 'subscribe-user');
          await expectSaid(address, 2, `${address}: Nothing is granted: log in.`);
        }
        other.answer = explain('http://elsewhere.test');
        const page = uri(other, 'subscribe-group').replace('ws:', 'http:');
        await expectSaid(
          uri(other, 'subscribe-group'),
          3,
          `${page} tells this page nothing; open it in a tab of its own`,
        );
        site.mode = 'pass';
        const silent = uri(site, 'subscribe-user');
        const tab = await open(site.page([silent]));
        const warning = await waitFor(tab, 'warn');
        assert.equal(warning.text, `wsloop: ${silent}: Nothing is granted: log in.`);
        assert.deepEqual(await seen(tab, 'close'), []);
      } finally {
        await other.end();
      }
    });
  });
}
