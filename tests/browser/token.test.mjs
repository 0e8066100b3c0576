/**
 * A page with tokens that expire: a real browser against a running server that verifies them.
 *
 * WSLOOP_URL        base URL of the server, as http://127.0.0.1:8080
 * WSLOOP_TOKEN_KEY  path of the file that the server has as --token-key-file; an HS256 secret
 * WSLOOP_REFUSE     what the server has as --refuse, status (its default) or close
 * WSLOOP_CHROMIUM   the browser, /usr/bin/chromium unless given
 *
 *     head -c 32 /dev/urandom | base64 > secret
 *     wsloop --token-key-file secret --allow all &
 *     WSLOOP_URL=http://127.0.0.1:8080 WSLOOP_TOKEN_KEY=secret node --test token.test.mjs
 *
 * The page takes its tokens from this process, which is what signs them. It is a page of the
 * server, so that its origin is right; which one does not matter.
 */

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { WSLOOP_URL, WSLOOP_TOKEN_KEY, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
const { WSLOOP_REFUSE = 'status' } = process.env;
/** How long a token is good for, in seconds. */
const LIFETIME = 3;

let browser;
let secret;

before(async () => {
  assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is, as http://127.0.0.1:8080');
  assert.ok(WSLOOP_TOKEN_KEY, 'WSLOOP_TOKEN_KEY has to say where the secret of the server is');
  assert.match(WSLOOP_REFUSE, /^(status|close)$/);
  // The server takes the bytes of the file less one newline.
  const file = readFileSync(WSLOOP_TOKEN_KEY);
  secret = file.at(-1) === 0x0a ? file.subarray(0, -1) : file;
  browser = await chromium.launch({
    executablePath: WSLOOP_CHROMIUM,
    args: ['--no-sandbox', '--disable-background-networking', '--disable-quic'],
  });
});

after(() => browser?.close());

/** A JWT for john that is good for so many seconds. */
function sign(seconds, key = secret) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString('base64url');
  const claims = { sub: 'john', exp: Date.now() / 1000 + seconds };
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

/**
 * A page with `makeLoop(options)`, which makes `loop` and writes what it does to `seen`, and with
 * `askToken()`, which this process answers with what `answer(n)` gives the n-th time.
 */
async function open(t, answer) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.asked = 0;
  page.urls = [];
  page.on('websocket', (socket) => page.urls.push(new URL(socket.url())));
  await page.exposeFunction('askToken', () => answer((page.asked += 1)));
  await page.goto(new URL('/wsloop.mjs', WSLOOP_URL).href);
  await page.evaluate(async (facility) => {
    const { WSLoop } = await import('/wsloop.mjs');
    globalThis.seen = [];
    globalThis.makeLoop = (options) => {
      const uri = `ws://${location.host}/ws/${facility}?subscribe-user&publish-user&echo`;
      globalThis.loop = new WSLoop(uri, options);
      loop.addEventListener('state', () => seen.push(loop.state));
      loop.addEventListener('message', (event) => seen.push(`message ${event.data}`));
      loop.addEventListener('close', (event) => {
        const { code, reason, willReconnect, reconnectIn } = event;
        seen.push({ code, reason, willReconnect, reconnectIn });
      });
    };
  }, `test-${randomUUID()}`);
  return page;
}

const seen = (page) => page.evaluate(() => seen);
const closes = async (page) => (await seen(page)).filter((entry) => typeof entry === 'object');

/** Waits until the page has seen so many of these. */
const waitFor = (page, entry, count = 1) =>
  page.waitForFunction(
    ([wanted, least]) => seen.filter((one) => one === wanted).length >= least,
    [entry, count],
  );

for (const tokenIn of ['protocol', 'query']) {
  test(`a token that expires is followed by another one, in the ${tokenIn}`, async (t) => {
    const page = await open(t, () => sign(LIFETIME));
    await page.evaluate((where) => {
      // Tokens of so short a life count as refused, and the waits grow: 0.1 and 0.3 s.
      Math.random = () => 0.1;
      let expired = 0;
      makeLoop({
        token: () => askToken(),
        tokenIn: where,
        disconnected: () => (expired += 1) === 3 && loop.close(),
      });
    }, tokenIn);
    for (let n = 1; n <= 3; n += 1) {
      await waitFor(page, 'open', n);
      // Only john hears this, so that it comes back shows who the server takes the page for.
      await page.evaluate((number) => loop.send(`hello ${number}`), n);
      await waitFor(page, `message hello ${n}`);
    }
    await waitFor(page, 'closed');

    const states = (await seen(page)).filter((entry) => /^[a-z]+$/.test(entry));
    const life = ['open', 'waiting', 'connecting'];
    // The first `connecting` came before its listener.
    assert.deepEqual(states, [...life, ...life, 'open', 'closed']);
    const expiries = await closes(page);
    assert.equal(expiries.length, 3);
    for (const { code, willReconnect } of expiries) {
      assert.equal(code, 4401);
      assert.equal(willReconnect, true);
    }
    assert.equal(page.asked, 3, 'a token for each attempt');
    const shown = page.urls.filter((url) => url.searchParams.has('token'));
    assert.equal(shown.length, tokenIn === 'query' ? 3 : 0);
  });
}

test('a text that expires is the end', async (t) => {
  const page = await open(t, () => sign(LIFETIME));
  await page.evaluate(async () => makeLoop({ token: await askToken() }));
  await waitFor(page, 'closed');
  const [only, ...others] = await closes(page);
  assert.deepEqual(others, []);
  assert.equal(only.code, 4401);
  assert.equal(only.willReconnect, false);
  await page.waitForTimeout(1500);
  assert.equal(page.urls.length, 1);
});

test('tokens that are refused at once are tried ever more slowly', async (t) => {
  const page = await open(t, () => sign(60, 'not the secret that the server has'));
  await page.evaluate(() => {
    Math.random = () => 0.5;
    makeLoop({ token: () => askToken() });
  });
  await waitFor(page, 'waiting', 3);
  const all = await closes(page);
  assert.deepEqual(all.map(({ reconnectIn }) => reconnectIn), [500, 1500, 3500]);
  // Browsers hide the status of a refusal from the page.
  const code = WSLOOP_REFUSE === 'close' ? 4401 : 1006;
  assert.deepEqual(all.map((close) => close.code), [code, code, code]);
  assert.equal(page.asked, 3);
});

test('a function that fails is asked again, and its state is connecting meanwhile', async (t) => {
  let release;
  const held = new Promise((resolve) => (release = resolve));
  const page = await open(t, async (n) => {
    if (n === 1) {
      throw new Error('the application is away');
    }
    await held;
    return sign(60);
  });
  await page.evaluate(() => makeLoop({ token: () => askToken() }));
  await waitFor(page, 'connecting');
  assert.equal(await page.evaluate(() => loop.is_connecting()), true);
  assert.equal(page.urls.length, 0);
  release();
  await waitFor(page, 'open');
  const [only, ...others] = await closes(page);
  assert.deepEqual(others, []);
  assert.equal(only.code, 1006);
  assert.match(only.reason, /^no token: .*the application is away/);
  await page.evaluate(() => loop.close());
  await waitFor(page, 'closed');
});
