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

/** Somebody's own browser in the first chat. */
async function visit(t, name) {
  const context = await browser.newContext({ viewport: { width: 640, height: 480 } });
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
  await go('/', page);
  return page;
}

/** The same, logged in; more of its tabs come from `page.context().newPage()`. */
async function login(t, name) {
  const page = await visit(t, name);
  await page.getByRole('link', { name: 'Log in' }).first().click();
  await page.fill('[name=username]', name);
  await page.fill('[name=password]', 'secret');
  await page.click('main button');
  await connected(page);
  return page;
}

async function logins(t, ...names) {
  const pages = [];
  for (const name of names) pages.push(await login(t, name));
  return pages;
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

/** A mark, so that nothing said in another test is taken for this one's, and texts with it. */
function marked() {
  const mark = randomUUID().slice(0, 8);
  return [mark, (what) => `${what} ${mark}`];
}

/** What the page shows of the texts with that mark. */
const shown = (page, mark) => page.locator('#messages span', { hasText: mark }).allTextContents();

async function picture(page, name) {
  // Away from the field, whose outline says that it has the focus.
  await page.mouse.click(5, 300);
  await page.screenshot({ path: `${CHAT_SCREENSHOTS}/${name}.png` });
}

// The first, while nobody has said anything else.
test('pictures of the three chats', { skip: !CHAT_SCREENSHOTS }, async (t) => {
  const [john, mary] = await logins(t, 'john', 'mary');
  const talk = async (...lines) => {
    for (const [from, text, to] of lines) {
      await say(from, text, to);
      for (const page of [john, mary]) await hears(page, text);
    }
  };
  await talk(
    [john, 'Good morning! Is anybody here already?'],
    [mary, 'I am, since seven.'],
    [john, 'Then the coffee must be ready.'],
  );
  await picture(mary, 'everybody');
  await go('/userchat/', john, mary);
  await talk(
    [john, 'Have you seen the new numbers?', 'mary'],
    [mary, 'Yes. Let us talk before the others come.', 'john'],
    [john, 'In five minutes, in the kitchen?', 'mary'],
  );
  await picture(mary, 'one-user');
  await go('/groupchat/', john, mary);
  await talk(
    [mary, 'The meeting is at ten, in the large room.', 'chatusers'],
    [john, 'I shall bring the cake.', 'chatusers'],
  );
  await picture(john, 'one-group');
  assert.deepEqual(problems, []);
});

test('everybody hears everybody, and text stays text', async (t) => {
  const [mark, text] = marked();
  const [john, mary] = await logins(t, 'john', 'mary');
  const nobody = await visit(t, 'nobody');
  await say(john, text('<b>one</b>'));
  for (const page of [john, mary, nobody]) await hears(page, text('<b>one</b>'));
  await say(mary, text('two'));
  for (const page of [john, mary, nobody]) {
    await hears(page, text('two'));
    assert.deepEqual(await shown(page, mark), [text('<b>one</b>'), text('two')]);
  }
  assert.equal(await nobody.locator('#composer').count(), 0);
  assert.deepEqual(problems, []);
});

test('one user hears what is for them and nothing else', async (t) => {
  const [mark, text] = marked();
  const [john, mary, admin] = await logins(t, 'john', 'mary', 'admin');
  await go('/userchat/', john, mary, admin);
  await say(admin, text('for mary'), 'mary');
  for (const page of [admin, mary]) await hears(page, text('for mary'));
  await say(admin, text('for john'), 'john');
  for (const page of [admin, john]) await hears(page, text('for john'));
  await say(john, text('from john'), 'mary');
  // Who writes to somebody sees it as well, in this tab.
  for (const page of [mary, john]) await hears(page, text('from john'));
  await say(mary, text('from mary'), 'john');
  for (const page of [mary, john]) await hears(page, text('from mary'));
  const [forJohn, forMary] = [text('for john'), text('for mary')];
  assert.deepEqual(await shown(john, mark), [forJohn, text('from john'), text('from mary')]);
  assert.deepEqual(await shown(mary, mark), [forMary, text('from john'), text('from mary')]);
  assert.deepEqual(await shown(admin, mark), [forMary, forJohn]);
  assert.deepEqual(problems, []);
});

test('a group hears what is for it, and nobody else does', async (t) => {
  const [mark, text] = marked();
  const [john, mary, admin] = await logins(t, 'john', 'mary', 'admin');
  await go('/groupchat/', john, mary, admin);
  await say(mary, text('one'), 'chatusers');
  for (const page of [john, mary]) await hears(page, text('one'));
  await say(john, text('two'), 'chatusers');
  for (const page of [john, mary]) {
    await hears(page, text('two'));
    assert.deepEqual(await shown(page, mark), [text('one'), text('two')]);
  }
  assert.deepEqual(await shown(admin, mark), []);
  assert.equal(await admin.locator('#composer').count(), 0);
  assert.deepEqual(problems, []);
});

test('what is typed meanwhile stays, and what is not sent comes back', async (t) => {
  const [, text] = marked();
  const john = await login(t, 'john');
  await go('/groupchat/', john);
  let release;
  const held = new Promise((resolve) => (release = resolve));
  await john.route('**/groupchat/', (route) => held.then(() => route.continue()));
  await say(john, text('one'));
  await john.fill('#text', 'next');
  release();
  await hears(john, text('one'));
  assert.equal(await john.inputValue('#text'), 'next');
  assert.deepEqual(problems, []);
  await john.unroute('**/groupchat/');
  await john.route('**/groupchat/', (route) => route.fulfill({ status: 400, body: 'No.' }));
  await john.press('#text', 'Enter');
  await john.getByRole('alert').filter({ hasText: 'Not sent: No.' }).waitFor();
  assert.equal(await john.inputValue('#text'), 'next');
  // The refusal is in the console, which is where it belongs.
  assert.match(problems.splice(0).join(), /^john: Failed to load resource: .* 400/);
});

test('a logout closes the other tabs of this browser and nothing else', async (t) => {
  const [, text] = marked();
  const [here, elsewhere] = await logins(t, 'john', 'john');
  const tab = await here.context().newPage();
  await go('/userchat/', tab, elsewhere);
  await here.getByRole('button', { name: 'Log out' }).click();
  await tab.waitForSelector('#status[data-state=closed]');
  assert.match(await tab.innerText('#note'), /logged out/);
  const mary = await login(t, 'mary');
  await go('/userchat/', mary);
  await say(mary, text('still there?'), 'john');
  await hears(elsewhere, text('still there?'));
  assert.equal(await elsewhere.getAttribute('#status', 'data-state'), 'open');
  assert.equal(await tab.getAttribute('#status', 'data-state'), 'closed');
  assert.deepEqual(problems, []);
});
