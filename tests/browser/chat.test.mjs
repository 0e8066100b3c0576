/**
 * The chat as people use it: a real browser against a running server, see support.mjs.
 *
 * WSLOOP_SCREENSHOT  where to save a picture of the chat, if given
 *
 * Any error on a page's console, any exception and any failed request fails the test.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import {
  connected,
  expectMessages,
  expectNoProblems,
  freshRoom,
  open,
  PHONE,
  say,
  shown,
  state,
} from './support.mjs';

const { WSLOOP_SCREENSHOT } = process.env;

test('the front page leads to the chat', async (t) => {
  const page = await open(t, { path: '/' });
  await connected(page);
  assert.equal(new URL(page.url()).pathname, '/chat/');
  assert.equal(await page.locator('#room').textContent(), 'foobar');
  expectNoProblems([page]);
});

test('two windows and a phone talk, and everybody sees everything once', async (t) => {
  const path = `/chat/?room=lobby-${randomUUID().slice(0, 6)}`;
  const first = await open(t, { path });
  const second = await open(t, { path, colorScheme: 'dark' });
  await Promise.all([connected(first), connected(second)]);

  const said = ['Good morning! Anybody here?'];
  await say(first, said[0]);
  await expectMessages([first, second], said);

  said.push('Yes, in the second window.');
  await say(second, said[1]);
  await expectMessages([first, second], said);

  const phone = await open(t, { path, viewport: PHONE });
  await connected(phone);
  await phone.locator('#messages li').first().waitFor();
  assert.deepEqual(await shown(phone), said.slice(1), 'the stored message comes first');
  said.push('And I am on the phone, on my way. See you both at ten.');
  await phone.getByLabel('Message', { exact: true }).fill(said[2]);
  await phone.keyboard.press('Enter');
  await expectMessages([first, second], said);
  await expectMessages([phone], said.slice(1));
  assert.deepEqual(
    await first.locator('#messages li').evaluateAll((items) => items.map((item) => item.className)),
    ['own', 'other', 'other'],
  );

  const overflow = await phone.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  assert.equal(overflow, 0, 'nothing sticks out of the phone');
  if (WSLOOP_SCREENSHOT) {
    await first.screenshot({ path: WSLOOP_SCREENSHOT });
  }
  expectNoProblems([first, second, phone]);
});

test('rooms are apart, also those with odd names, and text stays text', async (t) => {
  const odd = `a/b ?&#%ü"<i>'-${randomUUID()}`;
  const path = `/chat/?room=${encodeURIComponent(odd)}`;
  const first = await open(t, { path });
  const second = await open(t, { path });
  const other = await open(t, { path: freshRoom() });
  await Promise.all([first, second, other].map(connected));
  await say(other, 'elsewhere');
  await say(first, '<b>here</b> &amp; 👋');
  await expectMessages([first, second], ['<b>here</b> &amp; 👋']);
  assert.equal(await first.locator('#messages b').count(), 0);
  await expectMessages([other], ['elsewhere']);
  assert.equal(await first.locator('#room').textContent(), odd);
  expectNoProblems([first, second, other]);
});

test('Shift+Enter makes a new line, Enter alone sends, blanks are not sent', async (t) => {
  const page = await open(t, { path: freshRoom() });
  await connected(page);
  await page.getByLabel('Message', { exact: true }).fill('  ');
  await page.keyboard.press('Enter');
  await page.getByLabel('Message', { exact: true }).fill('one');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('two');
  await page.keyboard.press('Enter');
  await expectMessages([page], ['one\ntwo']);
  assert.equal(await page.getByLabel('Message', { exact: true }).inputValue(), '');
  expectNoProblems([page]);
});

test('a lost connection is announced, keeps the text, and comes back', async (t) => {
  const sockets = [];
  const page = await open(t, {
    path: freshRoom(),
    prepare: (made) =>
      made.routeWebSocket(/./, (socket) => {
        sockets.push(socket);
        if (sockets.length === 1) {
          socket.connectToServer();
        } else if (sockets.length < 5) {
          socket.close({ code: 4503, reason: 'Redis is away' });
        } else {
          socket.connectToServer();
        }
      }),
  });
  await connected(page);
  await say(page, 'before');
  await expectMessages([page], ['before']);
  // The first wait is 1 s at most, too short to be looked at; this makes it 30 s.
  await page.evaluate(() => (Math.random = () => 30));
  await sockets[0].close({ code: 1001, reason: 'going away' });
  await state(page, /^Reconnecting$/);
  assert.match(await page.locator('#countdown').innerText(), /^ in (30|2\d) s$/);
  assert.equal(await page.getByRole('button', { name: 'Send' }).isDisabled(), true);
  await page.getByLabel('Message', { exact: true }).fill('kept');
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: /Not connected/ }).waitFor();
  assert.equal(await page.getByLabel('Message', { exact: true }).inputValue(), 'kept');

  for (let attempt = 2; attempt <= 5; attempt += 1) {
    await state(page, /^Reconnecting$/);
    await page.evaluate(() => dispatchEvent(new Event('online')));
  }
  await connected(page);
  assert.equal(sockets.length, 5);
  await page.keyboard.press('Enter');
  await expectMessages([page], ['before', 'kept']);
  expectNoProblems([page]);
});

test('a refusal is shown with its reason and ends it', async (t) => {
  let attempts = 0;
  const explanations = [];
  const page = await open(t, {
    path: freshRoom(),
    prepare: (made) => {
      made.on('console', (line) => {
        if (line.text().startsWith('wsloop')) {
          explanations.push(line.text());
        }
      });
      return made.routeWebSocket(/./, (socket) => {
        attempts += 1;
        socket.close({ code: 4403, reason: 'this origin is not allowed' });
      });
    },
  });
  await state(page, /^Refused$/);
  await page.getByRole('alert').filter({ hasText: 'this origin is not allowed' }).waitFor();
  await page.getByLabel('Message', { exact: true }).fill('let me in');
  await page.keyboard.press('Enter');
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await page.waitForTimeout(1500);
  assert.match(await page.getByRole('alert').textContent(), /this origin is not allowed/);
  assert.equal(attempts, 1);
  // Whoever develops the page has the server's own words, which cost a request that is refused.
  const [explanation, ...others] = explanations;
  assert.match(explanation, /^wsloop: ws:.*publish-broadcast&echo: \S/);
  assert.deepEqual(others, []);
  const refusals = page.problems.filter((problem) => !/^wsloop/.test(problem));
  assert.equal(refusals.length, 2, 'one line for the console, one for the response');
  for (const refusal of refusals) {
    assert.match(refusal, /\b4\d\d\b/);
  }
});

test('a page of ws4redis runs on the classic script without jQuery', async (t) => {
  const room = `test-${randomUUID()}`;
  const page = await open(t, { path: `/chat/?room=${room}` });
  await connected(page);
  await page.addScriptTag({ url: '/wsloop.js' });
  const seen = await page.evaluate(
    (facility) =>
      new Promise((resolve) => {
        const seen = [];
        var ws4redis = WS4Redis({
          uri: `ws://${location.host}/ws/${facility}?subscribe-broadcast&publish-broadcast&echo`,
          connecting: () => seen.push('connecting'),
          connected: () => {
            seen.push('connected');
            ws4redis.send_message('Hello from ws4redis');
          },
          receive_message: (message) => {
            seen.push(message, ws4redis.is_connected());
            ws4redis.close();
          },
          disconnected: (event) => {
            seen.push(event.code, ws4redis.is_closed());
            resolve(seen);
          },
          heartbeat_msg: null,
        }, null);
      }),
    room,
  );
  assert.deepEqual(seen, [
    ...['connecting', 'connected', 'Hello from ws4redis', true],
    ...[1000, true],
  ]);
  await expectMessages([page], ['Hello from ws4redis']);
  assert.equal(await page.evaluate(() => typeof globalThis.jQuery), 'undefined');
  expectNoProblems([page]);
});
