/**
 * Browsers that a test commands from outside.
 *
 *     node browser.mjs
 *
 * Standard input has a line of JSON for each command, `[WHO, WHAT, ...]`; standard output has the
 * answer to each, `{"ok": VALUE}` or `{"error": TEXT}`. Everybody has a browser of their own, with
 * cookies of their own, which is opened when they are first named. It ends with standard input.
 *
 * What goes wrong on a page by itself (errors in the console, requests without an answer) is told by
 * `[WHO, "problems"]`.
 *
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 */

import { createInterface } from 'node:readline';
import { chromium } from '../browser/node_modules/playwright-core/index.mjs';

const { WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
const PATIENCE = 60000;
const DESKTOP = { width: 1000, height: 700 };
const PHONE = { width: 390, height: 700 };

const browser = await chromium.launch({
  executablePath: WSLOOP_CHROMIUM,
  args: ['--no-sandbox', '--disable-background-networking', '--disable-quic'],
});
const people = new Map();

async function enter(who) {
  const context = await browser.newContext({ viewport: DESKTOP });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const problems = [];
  page.on('console', (message) => {
    const { url } = message.location();
    // Browsers ask for an icon that no page has named.
    if (url.endsWith('/favicon.ico') || !['error', 'warning'].includes(message.type())) return;
    // While one develops, wsloop's client asks with a plain request why it hears nothing.
    if (url.includes('/ws/') && !message.text().startsWith('WebSocket')) return;
    if (/Access to fetch at .*\/ws\/|wsloop: .* tells this page nothing/.test(message.text())) return;
    // The answer is none of a problem where all is granted.
    const isAnswer = /^wsloop: ws:.*is granted/s.test(message.text());
    if (isAnswer && !/denied|no channel/.test(message.text())) return;
    problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('requestfailed', (request) => {
    const isQuestion = request.url().includes('/ws/');
    const isOver = request.failure()?.errorText === 'net::ERR_ABORTED';
    if (!isQuestion && !isOver) problems.push(`no ${request.url()}`);
  });
  const person = { page, problems, sockets: 0 };
  const protocol = await context.newCDPSession(page);
  protocol.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
    if (response.status === 101) person.sockets += 1;
  });
  await protocol.send('Network.enable');
  people.set(who, person);
  return person;
}

const actions = {
  /** As people do, tries again while nothing answers yet. */
  async open({ page }, url) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      try {
        return await page.goto(url);
      } catch (error) {
        if (!/ERR_CONNECTION_REFUSED/.test(error.message) || Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  },
  /** Waits until so many WebSockets have been opened. */
  async listens(person, count) {
    const deadline = Date.now() + PATIENCE;
    while (person.sockets < Number(count)) {
      if (Date.now() > deadline) throw new Error(`there are ${person.sockets} WebSockets`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  },
  fill: ({ page }, label, text) => page.getByLabel(label, { exact: true }).fill(text),
  press: ({ page }, button) => page.getByRole('button', { name: button, exact: true }).click(),
  /** Waits until a text is on the page. */
  sees: ({ page }, text) => page.getByText(text, { exact: true }).first().waitFor(),
  /** What the elements of a selector show, from the first to the last. */
  texts: ({ page }, selector) => page.locator(selector).allInnerTexts(),
  /** Waits until a script's value is true. */
  until: ({ page }, script) => page.waitForFunction(script).then(() => true),
  evaluate: ({ page }, script) => page.evaluate(script),
  problems: ({ problems }) => problems.splice(0),
  /** Takes NAME-desktop.png and NAME-phone.png, and sees that a phone needs no sideways scrolling. */
  async pictures({ page }, name) {
    await page.setViewportSize(PHONE);
    await page.screenshot({ path: `${name}-phone.png` });
    const width = await page.evaluate('document.documentElement.scrollWidth');
    if (width > PHONE.width) throw new Error(`the page is ${width} wide on a phone`);
    await page.setViewportSize(DESKTOP);
    await page.screenshot({ path: `${name}-desktop.png` });
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [who, what, ...rest] = JSON.parse(line);
  let answer;
  try {
    const ok = await actions[what](people.get(who) ?? (await enter(who)), ...rest);
    answer = { ok: ['string', 'boolean'].includes(typeof ok) || Array.isArray(ok) ? ok : null };
  } catch (error) {
    const problems = people.get(who)?.problems.join('\n');
    answer = { error: `${who} ${what} ${rest.join(' ')}: ${error.message}\n${problems}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
