/**
 * The three chats as two people use them: real browsers against the running project.
 *
 * CHAT_URL         where the project answers, as http://127.0.0.1:8000
 * CHAT_SCREENSHOTS a folder for pictures of the pages, if given
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 *
 * The driver is that of tests/browser. Any error in a page fails the test.
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

const driver = createRequire(new URL('../../tests/browser/', import.meta.url));
const { chromium } = driver('playwright-core');
const { CHAT_URL, CHAT_SCREENSHOTS, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;

let browser;
const problems = [];

before(async () => {
  assert.ok(CHAT_URL, 'CHAT_URL has to say where the project is, as http://127.0.0.1:8000');
  browser = await chromium.launch({ executablePath: WSLOOP_CHROMIUM, args: ['--no-sandbox'] });
});

after(() => browser?.close());

/** Somebody's own browser, logged in; more of its tabs come from `page.context().newPage()`. */
async function login(t, name) {
  const context = await browser.newContext({ viewport: { width: 900, height: 560 } });
  t.after(() => context.close());
  context.on('page', (page) => {
    page.setDefaultTimeout(10000);
    page.on('pageerror', (error) => problems.push(`${name}: ${error}`));
    page.on('console', (message) => {
      if (!['error', 'warning'].includes(message.type())) return;
      problems.push(`${name}: ${message.text()}`);
    });
  });
  const page = await context.newPage();
  await page.goto(new URL('/accounts/login/', CHAT_URL).href);
  await page.fill('[name=username]', name);
  await page.fill('[name=password]', 'secret');
  await page.click('main button');
  await connected(page);
  return page;
}

const connected = (page) => page.waitForSelector('#status[data-state=open]');
const hears = (page, text) => page.locator('#messages li', { hasText: text }).waitFor();

async function go(path, ...pages) {
  for (const page of pages) {
    await page.goto(new URL(path, CHAT_URL).href);
    await connected(page);
  }
}

async function say(page, text, to) {
  if (to) await page.selectOption('#to', to);
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

async function picture(page, name) {
  if (CHAT_SCREENSHOTS) await page.screenshot({ path: `${CHAT_SCREENSHOTS}/${name}.png` });
}

test('everybody hears everybody, one user what is for them, a group what is for it', async (t) => {
  const john = await login(t, 'john');
  const mary = await login(t, 'mary');
  const admin = await login(t, 'admin');
  const text = (what) => `${what} ${randomUUID().slice(0, 8)}`;

  const toAll = text('to <b>everybody</b>');
  await say(john, toAll);
  for (const page of [john, mary, admin]) await hears(page, toAll);
  await picture(mary, 'everybody');

  await go('/userchat/', john, mary, admin);
  const toMary = text('to mary');
  await say(john, toMary, 'mary');
  await hears(mary, toMary);
  const toAdmin = text('to admin');
  await say(mary, toAdmin, 'admin');
  await hears(admin, toAdmin);
  assert.equal(await admin.getByText(toMary).count(), 0);
  assert.equal(await john.getByText(toAdmin).count(), 0);
  await picture(mary, 'one-user');

  await go('/groupchat/', john, mary, admin);
  const toGroup = text('to the group');
  await say(mary, toGroup, 'chatusers');
  for (const page of [john, mary]) await hears(page, toGroup);
  assert.equal(await admin.getByText(toGroup).count(), 0);
  await picture(john, 'one-group');
  assert.deepEqual(problems, []);
});

test('a logout closes the other tabs of this browser and nothing else', async (t) => {
  const [here, elsewhere] = [await login(t, 'john'), await login(t, 'john')];
  const tab = await here.context().newPage();
  await go('/userchat/', tab, elsewhere);
  await here.getByRole('button', { name: 'Log out' }).click();
  await tab.waitForSelector('#status[data-state=closed]');
  assert.match(await tab.innerText('#note'), /logged out/);
  assert.equal(await elsewhere.getAttribute('#status', 'data-state'), 'open');
  assert.deepEqual(problems, []);
});
