/**
 * Streams of server-sent events and POST from pages in real browsers: of the server's own origin,
 * of one that is allowed, and of a hostile one.
 *
 * WSLOOP_URL          base URL of the server, at 127.0.0.1, whose sessions are JSON at session:KEY, and
 *                     which keeps the last messages of kept/*
 * WSLOOP_RESP_PORT    where Redis is, or where it takes Redis commands itself
 * WSLOOP_FRIEND_PORT  the port of 127.0.0.1 whose pages --allowed-origins names
 */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { createServer } from 'node:http';
import { connect } from 'node:net';

import { chromium, eventually, firefox } from './browsers.mjs';

const { WSLOOP_URL, WSLOOP_RESP_PORT, WSLOOP_FRIEND_PORT } = process.env;
const script = readFileSync(new URL('../../src/broker/history/publish.lua', import.meta.url), 'utf8');

/** Pages without anything, of an origin of their own; a page of the server's own is its chat. */
async function startPages(host, port) {
  const server = createServer((request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><title>.</title>');
  });
  await new Promise((done) => server.listen(port, '127.0.0.1', done));
  return {
    url: `http://${host}:${server.address().port}/`,
    end: () => new Promise((done) => (server.closeAllConnections(), server.close(done))),
  };
}

/** Runs a Redis command. */
async function redis(...words) {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  const socket = connect(Number(WSLOOP_RESP_PORT), '127.0.0.1');
  socket.write(`*${words.length}\r\n${parts.join('')}`);
  const answer = await new Promise((done) => socket.once('data', done));
  socket.destroy();
  return answer.toString();
}

/** Publishes a message that is kept, with either broker. */
const keep = (channel, text) =>
  redis('EVAL', script, '1', `wsloop:history:{${channel}}`, channel, text, '100', '300000');

/** Opens a stream, and notes what comes. */
const listen = (tab, url, withCredentials = false) =>
  tab.evaluate((address, credentials) => {
    window.heard = [];
    window.stream = new EventSource(address, { withCredentials: credentials });
    for (const type of ['open', 'error', 'message', 'text', 'binary', 'gap', 'close']) {
      stream.addEventListener(type, ({ data }) => heard.push([type, data ?? null]));
    }
  }, url, withCredentials);

/** Waits until a page has heard that many events of a type, and gives the data of all. */
const hear = (tab, type, count = 1) =>
  eventually(`${count} of ${type}`, async () => {
    const all = (await tab.evaluate(() => heard)).filter(([of]) => of === type);
    return all.length >= count && all.map(([, data]) => data);
  });

/** Publishes from a page, and gives the status, or the name of the error. */
const post = (tab, url, body, more = {}) =>
  tab.evaluate(
    (address, text, options) =>
      fetch(address, { method: 'POST', body: text, ...options })
        .then(({ status, type }) => (type === 'opaque' ? type : status))
        .catch(({ name }) => name),
    url, body, more,
  );

for (const launch of [chromium, firefox]) {
  describe(launch === firefox ? 'firefox' : 'chromium', () => {
    let browser;
    let friend;
    let stranger;
    let tabs;
    let room;
    const open = async (url) => {
      tabs.push(await browser.open(url));
      return tabs.at(-1);
    };
    const at = (...options) => `${WSLOOP_URL}/ws/${room}?${options.join('&')}`;

    before(async () => {
      browser = await launch();
      friend = await startPages('127.0.0.1', Number(WSLOOP_FRIEND_PORT));
      stranger = await startPages('localhost', 0);
      await redis('SET', 'session:johns-key', JSON.stringify({ 'wsloop:username': 'john' }));
    });
    after(async () => {
      await browser?.end();
      await friend?.end();
      await stranger?.end();
    });
    beforeEach(() => {
      tabs = [];
      room = randomUUID();
    });
    afterEach(() => Promise.all(tabs.map((tab) => tab.close())));

    test('a page of the server hears what is published, as it was', async () => {
      const tab = await open(`${WSLOOP_URL}/chat/`);
      const texts = ['hello', 'two\nlines', '', '  blanks  ', '\n\n', 'data: x\n\nevent: gap', 'äö☃'];
      await redis('SET', `broadcast:${room}`, 'stored');
      await listen(tab, at('subscribe-broadcast'));
      assert.deepEqual(await hear(tab, 'message'), ['stored']);
      for (const text of texts) {
        assert.equal(await post(tab, at('publish-broadcast'), text), text === '' ? 400 : 202);
      }
      const wanted = texts.filter((text) => text !== '');
      assert.deepEqual(await hear(tab, 'message', 7), ['stored', ...wanted]);
      assert.equal(await post(tab, at('publish-broadcast'), 'a\rb'), 202);
      assert.deepEqual(await hear(tab, 'text'), [btoa('a\rb')]);
    });

    test('a page of an allowed origin does so with its cookies', async () => {
      const tab = await open(friend.url);
      await tab.evaluate(() => { document.cookie = 'sessionid=johns-key; path=/'; });
      await listen(tab, at('subscribe-user', 'subscribe-broadcast'), true);
      await hear(tab, 'open');
      const more = { credentials: 'include', headers: { 'X-Anything': 'asks before' } };
      assert.equal(await post(tab, at('publish-user'), 'to myself', more), 202);
      assert.deepEqual(await hear(tab, 'message'), ['to myself']);
      // Without them it is nobody.
      assert.equal(await post(tab, at('publish-user'), 'to nobody', { credentials: 'omit' }), 403);
      assert.equal(await post(tab, at('publish-broadcast'), 'to all'), 202);
      assert.deepEqual(await hear(tab, 'message', 2), ['to myself', 'to all']);
    });

    for (const [what, query, payloads] of [
      ['facility', (facility) => `${facility}?subscribe-broadcast`, (all) => all],
      [
        'topic',
        (facility) => `?topic=broadcast+${facility}`,
        (all) => all.filter((text) => text.startsWith('message ')).map((text) => text.split('\n')[1]),
      ],
    ]) {
      test(`a stream of a ${what} that is cut off goes on behind what was heard last`, async () => {
        const tab = await open(`${WSLOOP_URL}/chat/`);
        await tab.evaluate(() => { document.cookie = 'sessionid=johns-key; path=/'; });
        const facility = `kept/${room}`;
        const say = (text) => keep(`broadcast:${facility}`, text);
        const hears = (...texts) => eventually(`${texts}`, async () => {
          const all = (await tab.evaluate(() => heard)).filter(([type]) => type === 'message');
          const said = payloads(all.map(([, data]) => data));
          assert.deepEqual(said, texts.slice(0, said.length));
          return said.length === texts.length;
        });
        const cut = async () => {
          await redis('PUBLISH', 'wsloop:control', JSON.stringify({ disconnect: { user: 'john' } }));
          await hear(tab, 'error', ++cuts);
        };
        let cuts = 0;
        await listen(tab, `${WSLOOP_URL}/ws/${query(facility)}`);
        await hear(tab, 'open');
        const has = async (data) => (await hear(tab, 'message')).includes(data);
        if (what === 'topic') {
          await eventually('it hears', () => has('ok 1'));
        }
        // It has heard nothing, and knows where it stands all the same.
        await cut();
        await say('one');
        await hears('one');
        await cut();
        await say('two');
        await hear(tab, 'open', 3);
        await say('three');
        await hears('one', 'two', 'three');
        assert.ok(!(await tab.evaluate(() => heard)).some(([type]) => type === 'gap'));
      });
    }

    test('a hostile page hears nothing and publishes nothing', async () => {
      const own = await open(`${WSLOOP_URL}/chat/`);
      await listen(own, at('subscribe-broadcast'));
      await hear(own, 'open');
      const tab = await open(stranger.url);
      for (const credentials of [false, true]) {
        await listen(tab, at('subscribe-broadcast'), credentials);
        await hear(tab, 'error');
      }
      const evil = at('publish-broadcast');
      assert.equal(await post(tab, evil, 'evil'), 'TypeError');
      // What a browser sends without asking before, and does not let the page read.
      const headers = { 'Content-Type': 'text/plain' };
      for (const credentials of ['include', 'omit']) {
        const blind = { mode: 'no-cors', credentials, headers };
        assert.equal(await post(tab, evil, 'evil', blind), 'opaque');
      }
      await tab.evaluate((action) => {
        const form = document.createElement('form');
        Object.assign(form, { method: 'post', action, enctype: 'text/plain', target: 'elsewhere' });
        form.append(Object.assign(document.createElement('input'), { name: 'a', value: 'evil' }));
        document.body.append(form);
        const frame = Object.assign(document.createElement('iframe'), { name: 'elsewhere' });
        frame.onload = () => { window.posted = true; };
        document.body.append(frame);
        form.submit();
      }, evil);
      await eventually('the form is sent', () => tab.evaluate(() => window.posted === true));
      assert.equal(await post(own, evil, 'good'), 202);
      assert.deepEqual(await hear(own, 'message'), ['good']);
    });
  });
}
