/**
 * The page of examples/game.rs: a real browser against the example.
 *
 * WSLOOP_URL       where it serves, as http://127.0.0.1:8080
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 *
 *     cargo run --example game &
 *     WSLOOP_URL=http://127.0.0.1:8080 node --test game.test.mjs
 */

import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { WSLOOP_URL, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;

let browser;

before(async () => {
  browser = await chromium.launch({
    executablePath: WSLOOP_CHROMIUM,
    args: ['--no-sandbox', '--disable-background-networking', '--disable-quic'],
  });
});

after(() => browser?.close());

test('each sees the dots of all', async () => {
  const pages = [await browser.newPage(), await browser.newPage()];
  for (const page of pages) {
    await page.goto(WSLOOP_URL);
  }
  for (const page of pages) {
    await page.getByText('2 are here.').waitFor();
  }
  // A dot moves to where its player points, and the other's page draws it there.
  await pages[0].locator('#field').hover({ position: { x: 300, y: 200 } });
  const drawn = ([x, y]) => {
    const pen = document.getElementById('field').getContext('2d');
    return pen.getImageData(x, y, 1, 1).data[3] > 0;
  };
  await pages[1].waitForFunction(drawn, [300, 200]);
  await pages[0].close();
  await pages[1].getByText('1 are here.').waitFor();
});
