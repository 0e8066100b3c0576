/**
 * What browsers hear after a login, a change of the password, a logout and a flush: what is for
 * whoever they now are, and nothing of what is for whoever they were. Each has a second tab open.
 *
 * APP_URL          where the project answers, as http://127.0.0.1:8000
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 *
 * The driver is that of tests/browser of wsloop's repository.
 */

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

const driver = createRequire(new URL('../../../tests/browser/', import.meta.url));
const { chromium } = driver('playwright-core');
const { APP_URL, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;

let browser;

before(async () => {
  const args = ['--no-sandbox', '--disable-background-networking', '--disable-quic'];
  browser = await chromium.launch({ executablePath: WSLOOP_CHROMIUM, args });
});

after(() => browser?.close());

const at = (path) => new URL(path, APP_URL).href;

/** Somebody's browser: a tab to act in, and how to open those that listen. */
async function visit(t, ...paths) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const tab = await context.newPage();
  for (const path of paths) await tab.goto(at(path));
  const listen = async () => {
    const page = await context.newPage();
    page.setDefaultTimeout(10000);
    page.on('pageerror', (error) => t.diagnostic(String(error)));
    page.on('console', (message) => t.diagnostic(message.text()));
    await page.goto(at('/page/'));
    await page.waitForFunction(() => globalThis.loop?.state === 'open');
    return page;
  };
  const key = async () => (await context.cookies()).find(({ name }) => name === 'sessionid')?.value;
  return { tab, listen, key };
}

let number = 0;

/** Publishes to a user or a session, and then to everybody; what the page has heard of both. */
async function hears(page, tab, whom) {
  number += 1;
  const [text, end] = [`text ${number}`, `end ${number}`];
  for (const query of [{ ...whom, text }, { text: end }]) {
    const answer = await tab.request.get(at(`/publish/?${new URLSearchParams(query)}`));
    assert.equal(answer.status(), 200);
  }
  await page.waitForFunction((end) => heard.includes(end), end);
  return page.evaluate((text) => heard.includes(text), text);
}

/** The page's socket was closed so, and it has come back by itself. */
async function cameBack(page, ...codes) {
  await page.waitForFunction((n) => codes.length >= n && loop.state === 'open', codes.length);
  assert.deepEqual(await page.evaluate(() => codes), codes);
}

async function ended(page, code) {
  await page.waitForFunction(() => loop.state === 'closed');
  assert.equal((await page.evaluate(() => codes)).at(-1), code);
}

test('a login over a login', async (t) => {
  const { tab, listen, key } = await visit(t, '/enter/john/');
  const page = await listen();
  const johns = await key();
  assert.ok(await hears(page, tab, { user: 'john' }));
  await tab.goto(at('/enter/mary/'));
  await cameBack(page, 4001);
  assert.ok(!(await hears(page, tab, { user: 'john' })));
  assert.ok(!(await hears(page, tab, { session: johns })));
  assert.ok(await hears(page, tab, { user: 'mary' }));
  assert.ok(await hears(page, tab, { session: await key() }));
  await tab.goto(at('/leave/'));
  await ended(page, 4403);
});

test('a login over a session that nobody owned', async (t) => {
  const { tab, listen, key } = await visit(t, '/cart/');
  const page = await listen();
  assert.ok(await hears(page, tab, { session: await key() }));
  assert.ok(!(await hears(page, tab, { user: 'john' })));
  await tab.goto(at('/enter/john/'));
  await cameBack(page, 4001);
  assert.ok(await hears(page, tab, { user: 'john' }));
  assert.ok(await hears(page, tab, { session: await key() }));
});

test('a change of the password, and a logout after it', async (t) => {
  const { tab, listen, key } = await visit(t, '/enter/paul/');
  const page = await listen();
  const before = await key();
  await tab.goto(at('/password/'));
  await cameBack(page, 4001);
  assert.notEqual(await key(), before);
  assert.ok(await hears(page, tab, { user: 'paul' }));
  assert.ok(await hears(page, tab, { session: await key() }));
  await tab.goto(at('/leave/'));
  await ended(page, 4403);
});

test('a logout, and not that of another browser', async (t) => {
  const { tab, listen } = await visit(t, '/enter/john/');
  const pages = [await listen(), await listen()];
  const elsewhere = await visit(t, '/enter/john/');
  const other = await elsewhere.listen();
  await tab.goto(at('/leave/'));
  for (const page of pages) await ended(page, 4403);
  assert.ok(await hears(other, elsewhere.tab, { user: 'john' }));
  assert.deepEqual(await other.evaluate(() => codes), []);
});

test('a flush', async (t) => {
  const { tab, listen, key } = await visit(t, '/enter/john/');
  const page = await listen();
  const before = await key();
  await tab.goto(at('/flush/'));
  await cameBack(page, 4001);
  assert.ok(!(await hears(page, tab, { user: 'john' })));
  assert.ok(!(await hears(page, tab, { session: before })));
});

test('a socket without a session hears who has logged in when its page asks again', async (t) => {
  const { tab, listen } = await visit(t);
  const page = await listen();
  await tab.goto(at('/enter/john/'));
  assert.ok(!(await hears(page, tab, { user: 'john' })));
  // As the README says: each page is told by the one that has logged in.
  await page.evaluate(() => {
    new BroadcastChannel('login').addEventListener('message', () => location.reload());
  });
  await tab.evaluate(() => new BroadcastChannel('login').postMessage('john'));
  await page.waitForFunction(() => globalThis.loop?.state === 'open' && codes.length === 0);
  assert.ok(await hears(page, tab, { user: 'john' }));
});
