/**
 * What the tests of the chat share: a browser, windows on the chat, and what people do there.
 *
 * WSLOOP_URL         base URL of the server, as http://127.0.0.1:8080
 * WSLOOP_CHROMIUM    the browser, /usr/bin/chromium unless given
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';

const { WSLOOP_URL, WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
export const DESKTOP = { width: 960, height: 640 };
export const PHONE = { width: 375, height: 667 };
/** A name of the server's machine that is not localhost: its pages are not as trusted. */
export const ELSEWHERE = 'elsewhere.test';

let browser;

before(async () => {
  assert.ok(WSLOOP_URL, 'WSLOOP_URL has to say where the server is, as http://127.0.0.1:8080');
  browser = await chromium.launch({
    executablePath: WSLOOP_CHROMIUM,
    args: [
      ...['--no-sandbox', '--disable-background-networking', '--disable-quic'],
      `--host-resolver-rules=MAP ${ELSEWHERE} 127.0.0.1`,
    ],
  });
});

after(() => browser?.close());

/** The address of a page of the server. */
export const at = (path) => new URL(path, WSLOOP_URL).href;

/** A window of its own on the chat; what goes wrong in it is collected in `page.problems`. */
export async function open(t, options = {}) {
  const { path = '/chat/', viewport = DESKTOP, prepare, ...more } = options;
  const context = await browser.newContext({ viewport, deviceScaleFactor: 2, ...more });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(10000);
  page.problems = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') {
      page.problems.push(message.text());
    }
  });
  page.on('pageerror', (error) => page.problems.push(String(error)));
  page.on('requestfailed', (request) => page.problems.push(`failed: ${request.url()}`));
  page.on('response', (response) => {
    if (response.status() >= 400) {
      page.problems.push(`${response.status()}: ${response.url()}`);
    }
  });
  await prepare?.(page);
  await page.goto(at(path));
  return page;
}

/** A room that no earlier run has left a stored message in. */
export const freshRoom = () => `/chat/?room=test-${randomUUID()}`;

export const state = (page, text) => page.getByRole('status').filter({ hasText: text }).waitFor();
export const connected = (page) => state(page, /^Connected$/);
export const shown = (page) => page.locator('#messages .body').allTextContents();

export async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Waits until every page shows exactly these messages, and then for stragglers. */
export async function expectMessages(pages, expected) {
  for (const page of pages) {
    await page.locator('#messages li').nth(expected.length - 1).waitFor();
  }
  await pages[0].waitForTimeout(300);
  for (const page of pages) {
    assert.deepEqual(await shown(page), expected);
  }
}

export function expectNoProblems(pages) {
  assert.deepEqual(pages.flatMap((page) => page.problems), []);
}
