/**
 * ws4redis's own script and jQuery, in pages of a project behind nginx, with wsloop there as well.
 *
 * DROPIN_URL       where nginx answers, as http://127.0.0.1:8000
 * DROPIN_WSLOOP    wsloop's command line, in JSON; it is started, and started again, here
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 *
 * The driver is that of tests/browser. Any exception in a page fails the test.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

const driver = createRequire(new URL('../browser/', import.meta.url));
const { chromium } = driver('playwright-core');
const { DROPIN_URL, DROPIN_WSLOOP, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
const HEARTBEAT = '--heartbeat--';

let browser;
let wsloop;

before(async () => {
  assert.ok(DROPIN_URL && DROPIN_WSLOOP, 'tests/dropin/test says where things are');
  wsloop = await start();
  browser = await chromium.launch({ executablePath: WSLOOP_CHROMIUM, args: ['--no-sandbox'] });
});

after(async () => {
  await browser?.close();
  await end();
});

async function start() {
  const [program, ...flags] = JSON.parse(DROPIN_WSLOOP);
  const child = spawn(program, flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  assert.match(String(line), /127\.0\.0\.1:\d+/, 'wsloop listens');
  child.stdout.resume();
  return child;
}

async function end() {
  if (!wsloop || wsloop.exitCode !== null) return;
  wsloop.kill('SIGTERM');
  await once(wsloop, 'exit');
}

/** Somebody's own browser, on a page that listens to what the options say. */
async function open(t, options, name) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.problems = [];
  page.sent = [];
  page.received = [];
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('websocket', (socket) => {
    socket.on('framesent', ({ payload }) => page.sent.push(payload));
    socket.on('framereceived', ({ payload }) => page.received.push(payload));
  });
  if (name) {
    await page.goto(new URL('/login/', DROPIN_URL).href);
    await page.fill('[name=username]', name);
    await page.fill('[name=password]', 'secret');
    await page.click('button');
    // Whoever goes on before the answer has no cookie.
    await page.waitForURL((url) => url.pathname !== '/login/');
  }
  await page.goto(new URL(`/?${options}`, DROPIN_URL).href);
  await connected(page, 1);
  return page;
}

/** Waits until the page has been connected so many times. */
function connected(page, times, timeout = 10000) {
  const enough = (times) => window.seen?.filter((what) => what === 'connected').length === times;
  return page.waitForFunction(enough, times, { timeout });
}

/** Waits until the page's log ends like this. */
async function sees(page, tail) {
  const ends = (tail) => JSON.stringify(window.seen.slice(-tail.length)) === JSON.stringify(tail);
  await page.waitForFunction(ends, tail).catch(async () => assert.deepEqual(await log(page), tail));
}

/** Waits until the page's log begins like this, whatever it has gone on to. */
async function saw(page, head) {
  const enough = (length) => window.seen.length >= length;
  await page.waitForFunction(enough, head.length).catch(() => {});
  assert.deepEqual((await log(page)).slice(0, head.length), head);
}

const log = (page) => page.evaluate(() => window.seen);
const send = (page, text) => page.evaluate((text) => window.ws4redis.send_message(text), text);

/** Publishes by the project's code, as whoever the page's browser is. */
async function publish(page, form) {
  const answer = await page.request.post(new URL('/publish/', DROPIN_URL).href, { form });
  assert.equal(answer.status(), 204);
}

async function fetched(page, audience) {
  const url = new URL(`/fetch/?audience=${audience}`, DROPIN_URL);
  return (await page.request.get(url.href)).text();
}

test('a page hears what Django publishes, and Django fetches what a page sends', async (t) => {
  const options = 'subscribe-broadcast&publish-broadcast&echo';
  const [one, two] = [await open(t, options), await open(t, options)];
  await publish(one, { message: 'from Django: grüß', broadcast: '1' });
  for (const page of [one, two]) await sees(page, ['message from Django: grüß']);
  await send(one, 'from a page: grüß');
  for (const page of [one, two]) await sees(page, ['message from a page: grüß']);
  // Published first and stored then: the second page may be told before.
  for (let tries = 0; (await fetched(one, 'broadcast')) !== 'from a page: grüß'; tries += 1) {
    assert.ok(tries < 100, 'it is stored');
    await one.waitForTimeout(50);
  }
  await one.evaluate(() => window.ws4redis.close());
  await sees(one, ['disconnected 1005']);
  assert.deepEqual([...one.problems, ...two.problems], []);
});

test('john, mary and their group hear what is for them', async (t) => {
  const options = 'subscribe-user&subscribe-group&subscribe-session';
  const john = await open(t, options, 'john');
  const mary = await open(t, options, 'mary');
  await publish(mary, { message: 'to john', users: 'john' });
  await publish(mary, { message: 'to my session', sessions: 'SELF' });
  await publish(mary, { message: 'to the group', groups: 'chatusers' });
  const common = ['connecting', 'connected'];
  await sees(john, [...common, 'message to john', 'message to the group']);
  await sees(mary, [...common, 'message to my session', 'message to the group']);
  assert.deepEqual([...john.problems, ...mary.problems], []);
});

test('heartbeats go both ways and are nobody\'s message', async (t) => {
  const page = await open(t, 'subscribe-user&publish-broadcast', 'admin');
  await page.waitForTimeout(12000);
  const count = (frames) => frames.filter((payload) => payload === HEARTBEAT).length;
  assert.ok(count(page.sent) >= 2, `${count(page.sent)} went`);
  assert.ok(count(page.received) >= 2, `${count(page.received)} came`);
  assert.deepEqual(await log(page), ['connecting', 'connected']);
  assert.notEqual(await fetched(page, 'broadcast'), HEARTBEAT);
  assert.deepEqual(page.problems, []);
});

test('a page comes back after a restart, and hears what it has missed', async (t) => {
  const page = await open(t, 'subscribe-user&subscribe-session', 'admin');
  await end();
  // The first wait may be next to nothing, so that the page may be connecting again by now.
  await saw(page, ['connecting', 'connected', 'disconnected 1001']);
  await publish(page, { message: 'meanwhile', users: 'SELF' });
  wsloop = await start();
  // Its waits are random, 1 s at most after the first loss, then 3, 7, 15 and 30.
  await connected(page, 2, 60000);
  await sees(page, ['connected', 'message meanwhile']);
  await publish(page, { message: 'still there', sessions: 'SELF' });
  await sees(page, ['message still there']);
  assert.deepEqual(page.problems, []);
});
