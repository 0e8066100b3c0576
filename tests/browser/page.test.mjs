/**
 * The chat's page in detail, see support.mjs: how it reads, what can be done with it besides
 * chatting, and that axe finds nothing, in light and dark, on a desktop and on a phone.
 *
 * WSLOOP_SCREENSHOTS  a folder for pictures of what axe looks at, if given
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import {
  at,
  connected,
  DESKTOP,
  ELSEWHERE,
  expectMessages,
  expectNoProblems,
  freshRoom,
  open,
  PHONE,
  say,
  shown,
  state,
} from './support.mjs';

const { WSLOOP_SCREENSHOTS } = process.env;
const axe = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** What a page is prepared with so that its WebSockets lead to the test; the sockets go there. */
const routed = (sockets, onSocket) => (page) =>
  page.routeWebSocket(/./, (socket) => {
    sockets.push(socket);
    onSocket?.(socket);
  });

const log = (page) => page.getByRole('log');
const waits30 = (page) => page.evaluate(() => (Math.random = () => 30));

test('the command is copied, and the button says so', async (t) => {
  const permissions = ['clipboard-read', 'clipboard-write'];
  const page = await open(t, { path: freshRoom(), permissions });
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  const copy = page.getByRole('button', { name: 'Copy' });
  const command = await page.locator('#command').textContent();
  await copy.click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  await state(page, /^Copied$/);
  assert.equal(await clipboard(), command);
  await copy.waitFor();

  // A page that is not from localhost and came without TLS has no access to the clipboard.
  const other = await page.context().newPage();
  const address = new URL(at(freshRoom()));
  address.hostname = ELSEWHERE;
  await other.goto(address.href);
  assert.equal(await other.evaluate(() => navigator.clipboard), undefined);
  await other.getByRole('button', { name: 'Copy' }).click();
  await other.getByRole('button', { name: 'Copied' }).waitFor();
  await page.bringToFront();
  assert.equal(await clipboard(), await other.locator('#command').textContent());
  expectNoProblems([page]);
});

test('whoever does not want to wait reconnects now', async (t) => {
  const sockets = [];
  const page = await open(t, { path: freshRoom(), prepare: routed(sockets) });
  const button = page.getByRole('button', { name: 'Reconnect now' });
  await connected(page);
  assert.equal(await button.isVisible(), false);
  await waits30(page);
  await sockets[0].close({ code: 1001, reason: 'going away' });
  await state(page, /^Reconnecting$/);
  await page.evaluate(() => {
    globalThis.RealWebSocket = WebSocket;
    // An attempt that neither succeeds nor fails, as long as the test looks at it.
    globalThis.WebSocket = class extends EventTarget {
      readyState = 0;
    };
  });
  await button.press('Enter');
  await state(page, /^Connecting$/);
  assert.equal(await button.getAttribute('aria-disabled'), 'true');
  assert.equal(await button.evaluate((it) => it === document.activeElement), true);
  await button.press('Enter');
  assert.equal(sockets.length, 1, 'one attempt at a time');
  await page.evaluate(() => (globalThis.WebSocket = RealWebSocket));
  await page.reload();

  await connected(page);
  await waits30(page);
  await sockets[1].close({ code: 1001, reason: 'going away' });
  await button.press('Enter');
  await connected(page);
  assert.equal(sockets.length, 3);
  assert.equal(await button.isVisible(), false);
  assert.equal(await page.getByLabel('Message', { exact: true }).isVisible(), true);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'text');
  expectNoProblems([page]);
});

test('the page stays where a reader has scrolled, and keeps 500 messages', async (t) => {
  const sockets = [];
  const page = await open(t, { path: freshRoom(), prepare: routed(sockets) });
  await connected(page);
  const send = async (from, to) => {
    for (let n = from; n <= to; n += 1) {
      sockets[0].send(`message ${n}${' of more than one line'.repeat(n % 9)}`);
    }
    await page.getByText(`message ${to}`, { exact: to % 9 === 0 }).waitFor();
    await settled();
  };
  /** The page mends its place in the frame after a change. */
  const settled = () =>
    page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(done))));
  const scrollTo = async (part) => {
    await log(page).evaluate((it, to) => (it.scrollTop = it.scrollHeight * to), part);
    await settled();
  };
  const fromEnd = () =>
    log(page).evaluate((it) => it.scrollHeight - it.scrollTop - it.clientHeight);
  const top = (n) =>
    page.evaluate(
      (text) =>
        [...document.querySelectorAll('#messages .body')]
          .find((body) => body.textContent.split(' of')[0] === text)
          .getBoundingClientRect().top,
      `message ${n}`,
    );
  const expectAt = async (n, before) =>
    assert.ok(Math.abs((await top(n)) - before) < 1, `${await top(n)} and not ${before}`);

  await send(1, 100);
  assert.ok((await fromEnd()) < 1, 'whoever reads the end stays at the end');
  await page.setViewportSize({ ...DESKTOP, height: 400 });
  await settled();
  assert.ok((await fromEnd()) < 1, 'in a smaller window, too');
  await page.setViewportSize(DESKTOP);
  await settled();

  await scrollTo(0.5);
  const before = await top(50);
  await send(101, 200);
  await expectAt(50, before);
  await scrollTo(0.9);
  const near = await top(180);
  await send(201, 650);
  assert.equal(await page.locator('#messages li').count(), 500);
  assert.match((await shown(page))[0], /^message 151/, 'the oldest are gone');
  await expectAt(180, near);
  for (let n = 651; n <= 670; n += 1) {
    await send(n, n);
  }
  await expectAt(180, near);
  assert.ok((await fromEnd()) > 1000);
  await scrollTo(1);
  await send(671, 700);
  assert.ok((await fromEnd()) < 1, 'whoever is back at the end stays there again');
  expectNoProblems([page]);
});

test('an empty room that is too small for its hint can be scrolled', async (t) => {
  const sockets = [];
  const viewport = { width: 320, height: 200 };
  const page = await open(t, { path: freshRoom(), viewport, prepare: routed(sockets) });
  await connected(page);
  await log(page).evaluate((it) => {
    it.scrollTop = it.scrollHeight;
    it.scrollTop = 0;
  });
  assert.ok(await log(page).evaluate((it) => it.scrollHeight - it.clientHeight > 40));
  await page.waitForTimeout(200);
  sockets[0].send('hello');
  await expectMessages([page], ['hello']);
  expectNoProblems([page]);
});

test('what somebody says has its own direction, and so has the name of the room', async (t) => {
  const page = await open(t, { path: `/chat/?room=${encodeURIComponent('שלום')}-${randomUUID()}` });
  await connected(page);
  await say(page, 'שלום, abc');
  await say(page, 'hello, שלום');
  await page.locator('#messages li').nth(1).waitFor();
  const direction = (it) => getComputedStyle(it).direction;
  const bodies = page.locator('#messages .body');
  assert.deepEqual(
    await bodies.evaluateAll((all) => all.map((it) => getComputedStyle(it).direction)),
    ['rtl', 'ltr'],
  );
  assert.equal(await page.locator('#room').evaluate(direction), 'rtl');
  const input = page.getByLabel('Message', { exact: true });
  await input.fill('שלום');
  assert.equal(await input.evaluate(direction), 'rtl');
  expectNoProblems([page]);
});

test('the log is a list of items to assistive technology', async (t) => {
  const sockets = [];
  const page = await open(t, { path: freshRoom(), prepare: routed(sockets) });
  await connected(page);
  sockets[0].send('one');
  sockets[0].send('two');
  await expectMessages([page], ['one', 'two']);
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send('Accessibility.getFullAXTree');
  const parent = (node) => nodes.find(({ nodeId }) => nodeId === node.parentId);
  const items = nodes.filter((node) => !node.ignored && node.role.value === 'listitem');
  assert.equal(items.length, 2);
  for (const item of items) {
    assert.equal(parent(item).role.value, 'list');
    assert.equal(parent(parent(item)).role.value, 'log');
  }
  // Without markers a list is none to Safari, unless it is said.
  assert.equal(await page.locator('#messages').getAttribute('role'), 'list');
});

/** Runs where the page is: what sticks out, and which of its words or times have a line alone. */
function lookAtLines() {
  const complaints = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    complaints.push(`the page is ${root.scrollWidth} wide, not ${root.clientWidth}`);
  }
  const linesOf = (node) => {
    const range = document.createRange();
    const lines = new Map();
    for (const word of node.textContent.matchAll(/\S+/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const { bottom } = range.getBoundingClientRect();
      lines.set(bottom, [...(lines.get(bottom) ?? []), word[0]]);
    }
    return [...lines.values()];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    if (node.parentElement.closest('.unseen, .body, noscript, pre') === null) {
      const lines = linesOf(node);
      if (lines.length > 1 && lines.at(-1).length === 1) {
        complaints.push(`${lines.at(-1)} is alone in its line`);
      }
    }
  }
  const besides = [
    ...[...document.querySelectorAll('#messages li')].map(({ children }) => [...children]),
    [document.querySelector('#status'), document.querySelector('#reconnect')],
    [document.querySelector('#line pre'), document.querySelector('#copy')],
    [document.querySelector('#text'), document.querySelector('#send')],
  ];
  for (const [left, right] of besides) {
    const [a, b] = [left, right].map((it) => it.getBoundingClientRect());
    if (!right.hidden && (b.left < a.right || b.top > a.bottom)) {
      complaints.push(`${right.textContent} is not beside ${left.textContent}`);
    }
  }
  return complaints;
}

test('on a phone nothing wraps alone', async (t) => {
  const sockets = [];
  const page = await open(t, { path: freshRoom(), prepare: routed(sockets), locale: 'en-US' });
  const expectGoodLines = async () => {
    for (const width of [320, 360, 375, 393, 430]) {
      await page.setViewportSize({ ...PHONE, width });
      assert.deepEqual(await page.evaluate(lookAtLines), [], `at ${width}`);
    }
  };
  await connected(page);
  await expectGoodLines();
  for (let words = 2; words < 40; words += 1) {
    sockets[0].send('And I am on the phone, on my way. '.repeat(5).slice(0, 4 * words).trim());
  }
  await page.locator('#messages li').nth(37).waitFor();
  await expectGoodLines();
  await waits30(page);
  await sockets[0].close({ code: 1001, reason: 'going away' });
  await page.getByRole('button', { name: 'Reconnect now' }).waitFor();
  await page.getByLabel('Message', { exact: true }).fill('kept');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: /Not connected/ }).waitFor();
  await expectGoodLines();
  expectNoProblems([page]);
});

for (const colorScheme of ['light', 'dark']) {
  for (const [device, viewport] of [['desktop', DESKTOP], ['phone', PHONE]]) {
    test(`axe finds nothing on a ${device}, ${colorScheme}`, async (t) => {
      const sockets = [];
      const page = await open(t, {
        ...{ path: freshRoom(), colorScheme, viewport, reducedMotion: 'reduce' },
        prepare: routed(sockets, (socket) =>
          socket.onMessage((message) => socket.send(message))),
      });
      const look = async (name) => {
        const { violations, incomplete } = await page.evaluate(`${axe}; axe.run()`);
        const unsure = incomplete.filter(({ id }) => id === 'color-contrast');
        const told = [...violations, ...unsure].map(({ id, nodes }) => [
          id,
          ...nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`),
        ]);
        if (WSLOOP_SCREENSHOTS) {
          const path = `${WSLOOP_SCREENSHOTS}/${device}-${colorScheme}-${name}.png`;
          await page.screenshot({ path });
        }
        assert.deepEqual(told, [], name);
      };
      await connected(page);
      await look('empty');
      await say(page, 'Good morning! Anybody here?');
      sockets[0].send('Yes, in the second window, where it is much warmer and the coffee is hot.');
      sockets[0].send(Buffer.from([1, 2, 3]));
      sockets[0].send('שלום, מה שלומך?');
      await page.locator('#messages li').nth(3).waitFor();
      await look('messages');
      await waits30(page);
      await sockets[0].close({ code: 1001, reason: 'going away' });
      await page.getByRole('button', { name: 'Reconnect now' }).waitFor();
      await page.getByLabel('Message', { exact: true }).fill('kept');
      await page.keyboard.press('Enter');
      await look('waiting');
      await page.getByRole('button', { name: 'Reconnect now' }).click();
      await connected(page);
      await sockets[1].close({ code: 4403, reason: 'this origin is not allowed' });
      await state(page, /^Refused$/);
      await look('refused');
    });
  }
}
