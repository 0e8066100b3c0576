/**
 * The page of examples/echo_page.rs: a real browser against the example.
 *
 * WSLOOP_URL       where it serves, as http://127.0.0.1:8080
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 *
 *     cargo run --example echo_page &
 *     WSLOOP_URL=http://127.0.0.1:8080 node --test echo_page.test.mjs
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

test('what is typed comes back', async () => {
  const page = await browser.newPage();
  await page.goto(WSLOOP_URL);
  await page.getByText('open', { exact: true }).waitFor();
  await page.getByLabel('Message').fill('grüße');
  await page.getByRole('button', { name: 'Send' }).click();
  await page.locator('#log').getByText('grüße').waitFor();
  const second = await browser.newPage();
  await second.goto(WSLOOP_URL);
  await second.getByText('1 connected so far.').waitFor();
});
