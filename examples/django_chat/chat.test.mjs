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
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';

const driver = createRequire(new URL('../../tests/browser/', import.meta.url));
const { chromium } = driver('playwright-core');
const { source: axe } = driver('axe-core');
const { CHAT_URL, CHAT_SCREENSHOTS, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;

let browser;
const problems = [];

before(async () => {
  assert.ok(CHAT_URL, 'CHAT_URL has to say where the project is, as http://127.0.0.1:8000');
  const args = ['--no-sandbox', '--disable-background-networking', '--disable-quic'];
  browser = await chromium.launch({ executablePath: WSLOOP_CHROMIUM, args });
});

after(() => browser?.close());

/** A network between a browser and the project, which can be cut: its URL is that of the project. */
async function network(t) {
  const { hostname, port } = new URL(CHAT_URL);
  const sockets = new Set();
  let isCut = false;
  const server = createServer((socket) => {
    if (isCut) return socket.destroy();
    const far = connect(port, hostname);
    for (const [one, other] of [[socket, far], [far, socket]]) {
      sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const cut = (so) => {
    isCut = so;
    if (so) sockets.forEach((socket) => socket.destroy());
  };
  t.after(() => {
    cut(true);
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, cut };
}

/** What the console says of a browser that is offline. */
const isOffline = (problem) => /ERR_INTERNET_DISCONNECTED|ERR_CONNECTION/.test(problem);

/** Takes somebody off the network for as long as that takes. */
async function whileOffline(page, { cut }, task) {
  await page.context().setOffline(true);
  cut(true);
  await page.waitForSelector('#status[data-state=waiting]');
  await task();
  cut(false);
  await page.context().setOffline(false);
  await connected(page);
  problems.splice(0, problems.length, ...problems.filter((it) => !isOffline(it)));
}

/** Somebody's own browser in the first chat. */
async function visit(t, name, { at = CHAT_URL, ...options } = {}) {
  const viewport = { width: 640, height: 480 };
  const context = await browser.newContext({ viewport, ...options });
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
  await page.goto(at);
  await connected(page);
  return page;
}

/** The same, logged in; more of its tabs come from `page.context().newPage()`. */
async function login(t, name, options = {}) {
  const page = await visit(t, name, options);
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
    const { origin } = new URL(page.url());
    await page.goto(new URL(path, origin === 'null' ? CHAT_URL : origin).href);
    await connected(page);
  }
}

async function say(page, text, to) {
  if (to) await page.selectOption('#to', to);
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

/** Publishes these to everybody, as the project itself can: `{ from, text }`, or a text alone. */
async function publish(...messages) {
  const code = [
    'import json, sys',
    'from chat.views import FACILITY',
    'from wsloop import RedisPublisher',
    'publisher = RedisPublisher(facility=FACILITY, broadcast=True)',
    `for message in json.loads(${JSON.stringify(JSON.stringify(messages))}):`,
    '    text = message if isinstance(message, str) else json.dumps(message)',
    '    publisher.publish_message(text)',
  ].join('\n');
  const cwd = new URL('.', import.meta.url);
  await promisify(execFile)('./manage.py', ['shell', '-c', code], { cwd });
}

async function until(asked) {
  for (let waited = 0; !asked(); waited += 50) {
    assert.ok(waited < 10000, 'it has not come in 10 s');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
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
  const johns = await network(t);
  const john = await login(t, 'john', { at: johns.url });
  const mary = await login(t, 'mary');
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
  await whileOffline(john, johns, async () => {
    await say(mary, 'There is no cake without candles.', 'chatusers');
    await say(mary, 'Is he in the tunnel again?', 'chatusers');
    await hears(mary, 'Is he in the tunnel again?');
  });
  await hears(john, 'Is he in the tunnel again?');
  await say(john, 'I was. Two dozen of them.', 'chatusers');
  await hears(john, 'I was.');
  await picture(john, 'offline');
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

test('who was offline has what was said meanwhile, or is told that something may be missing', async (t) => {
  const [mark, text] = marked();
  const johns = await network(t);
  const john = await login(t, 'john', { at: johns.url });
  const mary = await login(t, 'mary');
  await say(mary, text('before'));
  await hears(john, text('before'));
  const lines = Array.from({ length: 20 }, (_, at) => text(`line ${at}`));
  await whileOffline(john, johns, async () => {
    await publish(...lines);
    await say(mary, text('last'));
    await hears(mary, text('last'));
  });
  await hears(john, text('last'));
  const all = [text('before'), ...lines, text('last')];
  assert.deepEqual(await shown(john, mark), all);
  assert.equal(await john.locator('.gap').count(), 0);
  // More than the history has.
  const many = Array.from({ length: 120 }, (_, at) => text(`many ${at}`));
  await whileOffline(john, johns, () => publish(...many));
  await hears(john, 'Something may be missing here');
  await say(mary, text('after'));
  await hears(john, text('after'));
  assert.deepEqual(await shown(john, mark), [...all, text('many 119'), text('after')]);
  for (const page of [john, mary]) assert.deepEqual(problems, [], page.url());
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
  // On localhost the client explains it in the console; the page that logged out may also, if it
  // has heard of it before it was left.
  await until(() => problems.some((problem) => problem.includes('subscribe-user: ')));
  for (const problem of problems.splice(0)) {
    assert.match(problem, /^john: (Failed to load resource: .* 426|wsloop: ws:.*you are nobody)/s);
  }
});

test('nobody is somebody else', async (t) => {
  const [mark, text] = marked();
  const [john, mary] = await logins(t, 'john', 'mary');
  const nobody = await visit(t, 'nobody');
  const forge = async ([said, mark]) => {
    // By the WebSocket, whatever it asks for, on the chat's facility and on another one.
    for (const facility of ['foobar', 'other']) {
      const options = ['broadcast', 'user', 'group', 'session'].map((who) => `publish-${who}`);
      const uri = `/ws/${facility}?subscribe-broadcast&${options.join('&')}&echo`;
      const socket = new WebSocket(Object.assign(new URL(uri, location), { protocol: 'ws:' }));
      await new Promise((resolve) => (socket.onopen = resolve));
      socket.send(JSON.stringify({ from: 'mary', text: said }));
      socket.send(`mary: ${said}`);
    }
    // By a form of one's own.
    const body = new FormData(document.querySelector('form'));
    const forged = { from: 'mary', user: 'mary', username: 'mary', to: 'mary' };
    for (const name in forged) body.append(name, forged[name]);
    body.append('message', JSON.stringify({ from: 'mary', text: mark }));
    const { status } = await fetch('/chat/?from=mary', { method: 'POST', body });
    return status;
  };
  await nobody.evaluate(() => document.body.append(document.createElement('form')));
  const forged = [text('forged'), mark];
  assert.equal(await nobody.evaluate(forge, forged), 403);
  assert.equal(await john.evaluate(forge, forged), 204);
  await say(mary, text('mine'));
  for (const page of [john, mary, nobody]) {
    await hears(page, text('mine'));
    const said = await page.locator('#messages li', { hasText: mark }).evaluateAll((items) =>
      items.map((item) => [item.querySelector('b').textContent, item.querySelector('span').textContent]),
    );
    const wrapped = JSON.stringify({ from: 'mary', text: mark });
    assert.deepEqual(said, [['john', wrapped], ['mary', text('mine')]]);
  }
  // The refusal is in the console.
  assert.match(problems.splice(0).join(), /^nobody: Failed to load resource: .* 403/);
});

test('what somebody reads stays where it is, and the oldest go past 500', async (t) => {
  const [mark, text] = marked();
  const lines = (from, to) =>
    Array.from({ length: to - from }, (_, at) => text(`line ${from + at}`) + ' .'.repeat(at % 90));
  const [john, mary] = await logins(t, 'john', 'mary');
  await publish(...lines(0, 100));
  for (const page of [john, mary]) await hears(page, text('line 99'));
  const place = (page) =>
    page.evaluate((text) => {
      const item = [...document.querySelectorAll('li')].find((li) => li.innerText.includes(text));
      return item.getBoundingClientRect().top - log.getBoundingClientRect().top;
    }, text('line 50'));
  await john.evaluate((text) => {
    [...document.querySelectorAll('li')].find((li) => li.innerText.includes(text)).scrollIntoView();
  }, text('line 50'));
  const before = await place(john);
  assert.ok(Math.abs(before) < 1, `the line is at the top: ${before}`);
  await publish(...lines(100, 540));
  for (const page of [john, mary]) {
    await hears(page, text('line 539'));
    assert.equal(await page.locator('#messages li').count(), 500);
    const [oldest] = await page.locator('#messages li').allTextContents();
    assert.match(oldest, new RegExp(`^line 40 ${mark}`));
  }
  assert.ok(Math.abs((await place(john)) - before) < 1, `it has moved to ${await place(john)}`);
  const fromEnd = (page) =>
    page.evaluate(() => log.scrollHeight - log.scrollTop - log.clientHeight);
  assert.ok((await fromEnd(mary)) < 1, 'who is at the end stays there');
  assert.ok((await fromEnd(john)) > 1000);
  // Who speaks wants to see it.
  await say(john, text('mine'));
  await hears(john, text('mine'));
  assert.ok((await fromEnd(john)) < 1);
  assert.deepEqual(problems, []);
});

test('names and texts have their own direction, and the log is a list', async (t) => {
  const john = await login(t, 'john');
  const [mark, text] = marked();
  await publish({ from: 'יוחנן', text: text('שלום') }, { from: 'mary', text: text('hello') });
  await hears(john, text('hello'));
  const items = john.getByRole('log').getByRole('list').getByRole('listitem');
  const directions = await items.filter({ hasText: mark }).evaluateAll((items) =>
    items.map((item) => [...item.children].map((part) => getComputedStyle(part).direction)),
  );
  assert.deepEqual(directions, [['rtl', 'rtl'], ['ltr', 'ltr']]);
  await john.fill('#text', 'שלום');
  const typed = await john.locator('#text').evaluate((field) => getComputedStyle(field).direction);
  assert.equal(typed, 'rtl');
  assert.deepEqual(problems, []);
});

const PAGES = ['/chat/', '/userchat/', '/groupchat/'];

for (const width of [320, 375]) {
  test(`on a phone of ${width} pixels nothing is on a line alone`, async (t) => {
    const john = await login(t, 'john', { viewport: { width, height: 640 }, hasTouch: true });
    for (const path of PAGES) {
      await go(path, john);
      for (const state of ['Connected', 'Reconnecting']) {
        await john.evaluate((text) => (document.getElementById('status').textContent = text), state);
        const wrong = await john.evaluate(alone);
        assert.deepEqual(wrong, [], `${path} ${state}`);
      }
      if (CHAT_SCREENSHOTS) await picture(john, `phone-${width}${path.replaceAll('/', '-')}`);
    }
    assert.deepEqual(problems, []);
  });
}

/** What is wider than the page, on a line that its neighbour is not on, or broken in two. */
function alone() {
  const wrong = [];
  const { scrollWidth, clientWidth } = document.documentElement;
  if (scrollWidth > clientWidth) wrong.push(`the page is ${scrollWidth} wide, not ${clientWidth}`);
  const middle = (element) => {
    const { top, bottom } = element.getBoundingClientRect();
    return (top + bottom) / 2;
  };
  const rows = ['nav a', '.who > :not([type=hidden])', '.title > *', '#composer > :is(#text, button)'];
  for (const row of rows) {
    const [first, ...others] = document.querySelectorAll(row);
    if (others.length === 0) wrong.push(`${row}: there is no such row`);
    for (const other of others) {
      if (Math.abs(middle(other) - middle(first)) > 2) wrong.push(`${row}: ${other.textContent}`);
    }
  }
  for (const whole of document.querySelectorAll('nav a, button, #status')) {
    const range = document.createRange();
    range.selectNodeContents(whole);
    const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
    if (lines.size !== 1) wrong.push(`${whole.textContent} has ${lines.size} lines`);
  }
  // Words by the line that they are on.
  const lines = new Map();
  const nodes = document.createTreeWalker(document.querySelector('h1'), NodeFilter.SHOW_TEXT);
  while (nodes.nextNode()) {
    for (const { index, 0: word } of nodes.currentNode.data.matchAll(/\S+/g)) {
      const range = document.createRange();
      range.setStart(nodes.currentNode, index);
      range.setEnd(nodes.currentNode, index + word.length);
      const top = Math.round(range.getBoundingClientRect().top);
      lines.set(top, [...(lines.get(top) ?? []), word]);
    }
  }
  const last = [...lines.values()].at(-1);
  if (last.length === 1) wrong.push(`${last} is alone on a line of the heading`);
  return wrong;
}

for (const colorScheme of ['light', 'dark']) {
  test(`axe finds nothing, ${colorScheme}`, async (t) => {
    const look = async (page, where) => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run());
      const found = violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
      assert.deepEqual(found, [], where);
    };
    const nobody = await visit(t, 'nobody', { colorScheme });
    await look(nobody, 'nobody');
    await nobody.getByRole('link', { name: 'Log in' }).first().click();
    await nobody.fill('[name=username]', 'john');
    await nobody.fill('[name=password]', 'wrong');
    await nobody.click('main button');
    await nobody.getByRole('alert').waitFor();
    await look(nobody, 'login');
    const john = await login(t, 'john', { colorScheme });
    const [, text] = marked();
    await publish({ from: 'john', text: text('mine') }, { from: 'mary', text: text('hers') }, text('all'));
    await hears(john, text('all'));
    assert.ok((await john.locator('.own').count()) > 0);
    await look(john, 'messages');
    for (const state of ['waiting', 'closed']) {
      await john.evaluate((state) => {
        document.getElementById('status').dataset.state = state;
        document.getElementById('note').textContent = 'Not sent: why';
      }, state);
      await look(john, state);
    }
    for (const path of PAGES.slice(1)) {
      await go(path, john);
      await look(john, path);
    }
    const admin = await login(t, 'admin', { colorScheme });
    await go('/groupchat/', admin);
    await look(admin, 'in no group');
    assert.deepEqual(problems, []);
  });
}
