/**
 * A page with a script of the README in it, in a real browser.
 *
 *     node page.mjs URL SCRIPT
 *
 * The URL is anything that the server serves, for the script to come from there: browsers keep a
 * page that came from nowhere from talking to loopback. Standard output has a line for everything
 * that happens: `handshake STATUS`, `log TEXT`, `error TEXT`. The browser stays until standard input
 * ends.
 *
 * WSLOOP_CHROMIUM  the browser, /usr/bin/chromium unless given
 */

import { chromium } from '../browser/node_modules/playwright-core/index.mjs';

const [url, script] = process.argv.slice(2);
const { WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
const say = (what, text) => process.stdout.write(`${what} ${text}\n`);

const browser = await chromium.launch({
  executablePath: WSLOOP_CHROMIUM,
  args: ['--no-sandbox', '--disable-background-networking', '--disable-quic'],
});
// The application's page has a policy of its own, not that of the server's pages.
const page = await browser.newPage({ bypassCSP: true });
page.on('console', (message) => {
  // Browsers ask for an icon that no page has named.
  if (!message.location().url.endsWith('/favicon.ico')) {
    say(message.type() === 'log' ? 'log' : 'error', message.text());
  }
});
page.on('pageerror', (error) => say('error', String(error)));
page.on('requestfailed', (request) => say('error', `no answer from ${request.url()}`));

const protocol = await page.context().newCDPSession(page);
protocol.on('Network.webSocketHandshakeResponseReceived', ({ response }) => {
  say('handshake', response.status);
});
await protocol.send('Network.enable');

process.stdin.resume().on('end', () => browser.close());
await page.goto(url);
await page.addScriptTag({ type: 'module', content: script });
