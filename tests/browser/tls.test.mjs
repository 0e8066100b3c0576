/**
 * A page and its WebSocket over TLS, in real browsers.
 *
 * WSLOOP_URL  base URL of the site, as https://127.0.0.1:8443
 * WSLOOP_SPKI  the SHA-256 of its public key, in base64: the one that Chromium is to believe
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { chromium, firefox } from './browsers.mjs';

const { WSLOOP_URL, WSLOOP_SPKI } = process.env;
const believing = {
  chromium: () => chromium([`--ignore-certificate-errors-spki-list=${WSLOOP_SPKI}`]),
  // It knows no such list, and would need an authority in a store of its own.
  firefox: () => firefox({ acceptInsecureCerts: true }),
};

/** In the page: what comes back over a socket, and how that ends. */
function talk(length) {
  const url = new URL('/ws/tls?subscribe-broadcast&publish-broadcast&echo', location.href);
  const socket = new WebSocket(url.href.replace(/^http/, 'ws'));
  const sent = 'x'.repeat(length);
  return new Promise((done, fail) => {
    let returned;
    socket.onopen = () => socket.send(sent);
    socket.onerror = () => fail(new Error('no socket'));
    socket.onmessage = ({ data }) => {
      returned = data === sent;
      socket.close(4001, 'enough');
    };
    socket.onclose = ({ code, wasClean }) => done({ returned, code, wasClean, url: socket.url });
  });
}

for (const [name, launch] of Object.entries(believing)) {
  describe(name, () => {
    let browser;
    before(async () => {
      assert.match(WSLOOP_URL, /^https:/);
      browser = await launch();
    });
    after(() => browser?.end());

    test('a page is fetched, and its socket carries messages', async () => {
      const tab = await browser.open(new URL('/chat/', WSLOOP_URL).href);
      assert.ok(await tab.evaluate(() => isSecureContext && document.title !== ''));
      for (const length of [5, 1 << 20, 5]) {
        const { url, ...end } = await tab.evaluate(talk, length);
        assert.match(url, /^wss:/);
        assert.deepEqual(end, { returned: true, code: 4001, wasClean: true }, `${length}`);
      }
      await tab.close();
    });
  });
}
