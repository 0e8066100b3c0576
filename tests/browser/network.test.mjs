/**
 * The client when the network under it goes, and when another one comes: run by two-networks.
 *
 * WSLOOP_SITE       the site on the other network
 * WSLOOP_HEARTBEAT  the server's --heartbeat
 */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';

import { chromium, eventually, firefox, sleep } from './browsers.mjs';
import { expectToHear, seen, waitFor } from './pages.mjs';
import { pageUrl } from './site.mjs';

const { WSLOOP_SITE, WSLOOP_HEARTBEAT } = process.env;

const ip = (...words) => execFileSync('ip', words);
const pull = () => ip('link', 'set', 'near', 'down');
const plug = () => ip('link', 'set', 'near', 'up');
let address = 2;
const move = () => {
  ip('addr', 'flush', 'dev', 'near');
  address += 1;
  ip('addr', 'add', `10.9.0.${address}/24`, 'dev', 'near');
};
const freshPage = (options) =>
  pageUrl(WSLOOP_SITE, [`/ws/${randomUUID()}?subscribe-broadcast&publish-broadcast&echo`, options]);

for (const launch of [chromium, firefox]) {
  describe(launch.name, () => {
    let browser;
    let tab;

    before(async () => {
      assert.ok(WSLOOP_SITE, 'see two-networks');
      await eventually('the site is there', () => fetch(WSLOOP_SITE).then(() => true, () => false));
      browser = await launch();
    });
    after(() => browser?.end());
    beforeEach(async () => {
      tab = await browser.open(freshPage({ heartbeat_msg: WSLOOP_HEARTBEAT }));
      await expectToHear(tab);
    });
    afterEach(() => tab.close());

    test('a cable that is plugged in again costs nothing', async () => {
      pull();
      await sleep(2000);
      plug();
      await expectToHear(tab);
      await sleep(6000);
      assert.deepEqual(await seen(tab, 'close'), []);
    });

    test('on another network, a heartbeat shows that the connection is dead', async () => {
      pull();
      await sleep(1000);
      move();
      plug();
      const close = await waitFor(tab, 'close');
      assert.equal(close.code, 1006);
      await expectToHear(tab);
    });

    // Without a desktop around it, Firefox does not say that it is online again.
    const tells = launch === chromium ? test : () => {};
    tells('on another network, a page without heartbeats has a new connection', async () => {
      await tab.goto(freshPage({}));
      await expectToHear(tab);
      pull();
      await waitFor(tab, 'offline');
      move();
      plug();
      const { at } = await waitFor(tab, 'online');
      const close = await waitFor(tab, 'close');
      assert.equal(close.reason, 'the network has changed');
      await expectToHear(tab);
      assert.ok((await seen(tab, 'open'))[1].at - at < 5000);
    });
  });
}
