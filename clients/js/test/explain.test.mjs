import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WSLoop } from '../wsloop.mjs';
import { FakeWebSocket, install, settle, tick } from './fake.mjs';

/** What is known of a URI is known as long as the module lives: each test has its own. */
let made = 0;
const freshUri = (options = 'subscribe-user') => `ws://host/ws/room-${(made += 1)}?${options}`;

const DENIED = 'granted: nothing; subscribe-user needs a login';

/**
 * A page on localhost whose plain GETs are answered with what `server.answer` gives. The requests
 * are in `server.requests`, what was written to the console in `server.said`.
 */
function localhost(t, hostname = 'localhost') {
  install(t);
  const server = { requests: [], said: [], answer: () => new Response(DENIED, { status: 426 }) };
  globalThis.location = { hostname };
  const { fetch } = globalThis;
  globalThis.fetch = async (url, options) => {
    server.requests.push({ url, ...options });
    return server.answer();
  };
  t.after(() => {
    delete globalThis.location;
    globalThis.fetch = fetch;
  });
  for (const level of ['info', 'warn']) {
    t.mock.method(console, level, (text) => server.said.push(`${level} ${text}`));
  }
  return server;
}

const granted = (list, status = 426) => () =>
  new Response(`granted [${list}]`, { status, headers: { 'X-Wsloop-Granted': list } });

test('on localhost a refusal is explained, once for each URI', async (t) => {
  const server = localhost(t);
  for (const end of [
    () => FakeWebSocket.last.end(1006),
    ...[1008, 4400, 4401, 4403, 4499].map((code) => () => {
      FakeWebSocket.last.accept();
      FakeWebSocket.last.end(code);
    }),
  ]) {
    Object.assign(server, { requests: [], said: [] });
    const uri = freshUri();
    const loop = new WSLoop(uri, { token: null });
    for (let n = 0; n < 3 && loop.state !== 'closed'; n += 1) {
      end();
      await settle();
      tick(30000);
    }
    loop.close();
    assert.deepEqual(server.said, [`warn wsloop: ${uri}: ${DENIED}`]);
    const [{ url, credentials, headers }, ...others] = server.requests;
    assert.equal(url, uri.replace('ws:', 'http:'));
    assert.equal(credentials, 'include');
    assert.deepEqual(headers, {});
    assert.deepEqual(others, []);
  }
});

test('what is no refusal is not explained, nor what the page ends itself', async (t) => {
  const server = localhost(t);
  for (const code of [1000, 1001, 1006, 1011, 1013, 4399, 4500, 4503]) {
    const loop = new WSLoop(freshUri());
    FakeWebSocket.last.accept();
    FakeWebSocket.last.end(code);
    loop.close();
  }
  const loop = new WSLoop(freshUri());
  loop.close();
  FakeWebSocket.last.end(1006);
  new WSLoop(freshUri(), { token: () => Promise.reject(new Error('none')) });
  await settle();
  tick(100);
  assert.deepEqual(server.requests, []);
});

test('silence after an open is explained, a message or an end of it is not silence', async (t) => {
  const server = localhost(t);
  const silent = freshUri();
  new WSLoop(silent, { heartbeat_msg: 'hb' });
  FakeWebSocket.last.accept();
  FakeWebSocket.last.receive('hb');
  tick(1999);
  assert.equal(server.requests.length, 0);
  tick(1);
  await settle();
  assert.deepEqual(server.said, [`warn wsloop: ${silent}: ${DENIED}`]);

  new WSLoop(freshUri());
  FakeWebSocket.last.accept();
  FakeWebSocket.last.receive('hello');
  const ended = new WSLoop(freshUri());
  FakeWebSocket.last.accept();
  ended.close();
  FakeWebSocket.last.end(1000);
  tick(60000);
  await settle();
  assert.equal(server.requests.length, 1);
});

test('it is a warning if something is missing', async (t) => {
  const server = localhost(t);
  for (const [options, list, level] of [
    ['subscribe-broadcast', 'subscribe-broadcast', 'info'],
    ['echo&subscribe-broadcast', 'subscribe-broadcast,echo', 'info'],
    ['subscribe-broadcast&publish-broadcast', 'subscribe-broadcast', 'warn'],
    ['subscribe-broadcast', '', 'warn'],
    ['', '', 'warn'],
  ]) {
    server.answer = granted(list);
    const uri = freshUri(options);
    new WSLoop(uri);
    FakeWebSocket.last.accept();
    tick(2000);
    await settle();
    assert.equal(server.said.at(-1), `${level} wsloop: ${uri}: granted [${list}]`);
    const refused = freshUri(options);
    new WSLoop(refused);
    FakeWebSocket.last.end(1006);
    await settle();
    assert.equal(server.said.at(-1), `warn wsloop: ${refused}: granted [${list}]`, 'or refused');
  }
});

test('only pages on localhost ask, and only those that may', async (t) => {
  for (const [hostname, options, asks] of [
    ['localhost', {}, true],
    ['shop.localhost', {}, true],
    ['127.0.0.1', {}, true],
    ['127.3.2.1', {}, true],
    ['[::1]', {}, true],
    ['localhost', { explain: 'refused' }, true],
    ['localhost', { explain: false }, false],
    ['example.com', {}, false],
    ['localhost.example.com', {}, false],
    ['127.0.0.1.example.com', {}, false],
    ['', {}, false],
  ]) {
    await t.test(`${hostname} ${JSON.stringify(options)}`, async (each) => {
      const server = localhost(each, hostname);
      new WSLoop(freshUri(), options);
      FakeWebSocket.last.end(1006);
      await settle();
      assert.equal(server.requests.length, asks ? 1 : 0);
      const silent = asks && options.explain === undefined;
      new WSLoop(freshUri(), options);
      FakeWebSocket.last.accept();
      tick(2000);
      await settle();
      assert.equal(server.requests.length, (asks ? 1 : 0) + (silent ? 1 : 0));
    });
  }
});

test('the question has the token, and the console has not', async (t) => {
  const server = localhost(t);
  for (const [tokenIn, query, headers] of [
    ['protocol', '', { Authorization: 'Bearer t0ken' }],
    ['query', '&token=t0ken', {}],
  ]) {
    const uri = freshUri();
    new WSLoop(uri, { token: () => 't0ken', tokenIn });
    await settle();
    FakeWebSocket.last.end(1006);
    await settle();
    const { url, headers: sent } = server.requests.at(-1);
    assert.equal(url, uri.replace('ws:', 'http:') + query);
    assert.deepEqual(sent, headers);
    assert.equal(server.said.at(-1), `warn wsloop: ${uri}: ${DENIED}`);
  }
  const written = freshUri('subscribe-user&token=t0ken&echo');
  new WSLoop(written);
  FakeWebSocket.last.end(1006);
  await settle();
  assert.equal(server.requests.at(-1).url, written.replace('ws:', 'http:'));
  const shown = written.replace('t0ken', '…');
  assert.equal(server.said.at(-1), `warn wsloop: ${shown}: ${DENIED}`);
});

test('what is no short text about a refusal is not shown', async (t) => {
  const server = localhost(t);
  const text = (length, status = 426, type = 'text/plain; charset=utf-8') => () =>
    new Response('é'.repeat(length), { status, headers: { 'Content-Type': type } });
  for (const [answer, shown] of [
    [text(2048), true],
    [text(2048, 400), true],
    [text(2048, 499), true],
    [text(2048, 404, 'text/html'), true],
    [text(2049), false],
    [text(2048, 200), false],
    [text(2048, 500), false],
    [text(2048, 404, 'application/json'), false],
    [() => new Response(null, { status: 404 }), false],
  ]) {
    Object.assign(server, { answer, said: [] });
    new WSLoop(freshUri());
    FakeWebSocket.last.end(1006);
    await settle();
    await settle();
    assert.equal(server.said.length, shown ? 1 : 0, String(answer));
  }
});

test('a server that does not answer is asked three times at most', async (t) => {
  const server = localhost(t);
  server.answer = () => Promise.reject(new TypeError('Failed to fetch'));
  const uri = freshUri();
  new WSLoop(uri);
  for (let n = 0; n < 9; n += 1) {
    FakeWebSocket.last.end(1006);
    await settle();
    tick(30000);
  }
  assert.equal(server.requests.length, 3);
  const page = uri.replace('ws:', 'http:');
  const line = `warn wsloop: ${page} tells this page nothing; open it in a tab of its own`;
  assert.deepEqual(server.said, [line]);
});
