import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WSLoop } from '../wsloop.mjs';
import { FakeWebSocket, install, makeWindow, record, tick } from './fake.mjs';

const URI = 'ws://host/ws/foobar?subscribe-broadcast';

test('the URI is given first, as a URL, or as an option; without one it throws', (t) => {
  install(t);
  for (const args of [[URI], [new URL(URI)], [{ uri: URI }]]) {
    new WSLoop(...args);
    assert.equal(FakeWebSocket.last.url, URI);
  }
  for (const args of [[], [null], [{}], [''], [{ uri: null }]]) {
    assert.throws(() => new WSLoop(...args), /needs the URI/);
  }
  assert.equal(FakeWebSocket.all.length, 3);
});

test('a URI that the browser refuses throws at once and is not tried again', (t) => {
  install(t);
  assert.throws(() => new WSLoop('not a uri'), SyntaxError);
  tick(60000);
  assert.equal(FakeWebSocket.all.length, 0);
});

test('events come in order, the state having changed before', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  assert.equal(loop.state, 'connecting');
  const seen = record(loop);
  loop.addEventListener('open', () => assert.equal(loop.state, 'open'));
  FakeWebSocket.last.accept();
  FakeWebSocket.last.receive('hello');
  FakeWebSocket.last.end(1001);
  tick(500);
  assert.deepEqual(seen, [
    'open',
    'state open',
    'message hello',
    'close 1001',
    'state waiting',
    'connecting',
    'state connecting',
  ]);
});

test('binary messages are ArrayBuffers unless the option says otherwise', (t) => {
  install(t);
  new WSLoop(URI);
  assert.equal(FakeWebSocket.last.binaryType, 'arraybuffer');
  new WSLoop(URI, { binaryType: 'blob' });
  assert.equal(FakeWebSocket.last.binaryType, 'blob');
});

/** The events of a loop that has that option, gaps included. */
function recordGaps(options) {
  const loop = new WSLoop(URI, options);
  const seen = record(loop);
  loop.addEventListener('gap', () => seen.push('gap'));
  return { loop, seen };
}

test('an empty message is a gap and no message, for a page that asks for gaps', (t) => {
  install(t);
  for (const empty of ['', new ArrayBuffer(0), new Blob([])]) {
    const { seen } = recordGaps({ gaps: true });
    assert.equal(FakeWebSocket.last.url, `${URI}&gaps`);
    FakeWebSocket.last.accept();
    for (const data of ['before', empty, 'after', new ArrayBuffer(1)]) {
      FakeWebSocket.last.receive(data);
    }
    assert.deepEqual(seen, [
      'open',
      'state open',
      'message before',
      'gap',
      'message after',
      'message [object ArrayBuffer]',
    ]);
  }
});

test('nothing is a gap for a page that does not ask for it', (t) => {
  install(t);
  const { seen } = recordGaps({});
  assert.equal(FakeWebSocket.last.url, URI);
  FakeWebSocket.last.accept();
  FakeWebSocket.last.receive('');
  FakeWebSocket.last.end();
  tick(500);
  FakeWebSocket.last.accept();
  assert.ok(seen.includes('message ') && !seen.includes('gap'), seen);
});

test('a connection that follows another one begins with a gap', (t) => {
  install(t);
  const { loop, seen } = recordGaps({ gaps: true });
  FakeWebSocket.last.end();
  tick(5000);
  FakeWebSocket.last.accept();
  assert.ok(!seen.includes('gap'), 'there was no connection before');
  FakeWebSocket.last.end();
  tick(5000);
  seen.length = 0;
  FakeWebSocket.last.accept();
  assert.deepEqual(seen, ['open', 'state open', 'gap']);
  FakeWebSocket.last.end();
  tick(5000);
  seen.length = 0;
  loop.addEventListener('open', () => loop.close());
  FakeWebSocket.last.accept();
  assert.ok(!seen.includes('gap'), 'the page does not want it any more');
});

test('gaps are asked for beside a token, and of a URI without options', (t) => {
  install(t);
  new WSLoop('ws://host/ws/foobar', { gaps: true, token: 'abc', tokenIn: 'query' });
  assert.equal(FakeWebSocket.last.url, 'ws://host/ws/foobar?gaps&token=abc');
});

test('the wait grows to 1, 3, 7, 15, 30, 30 s at most and is 0 at least', (t) => {
  const { die } = install(t);
  for (const value of [0, 0.25, 1 - Number.EPSILON]) {
    die.value = value;
    const waits = [];
    const loop = new WSLoop(URI);
    loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
    for (let n = 0; n < 7; n += 1) {
      FakeWebSocket.last.end();
      tick(waits.at(-1));
    }
    loop.close();
    const bounds = [1000, 3000, 7000, 15000, 30000, 30000, 30000];
    assert.deepEqual(waits, bounds.map((bound) => bound * value));
  }
});

test('the next attempt begins when the announced wait is over, not before', (t) => {
  const { die } = install(t);
  die.value = 0.8;
  const loop = new WSLoop(URI);
  let announced;
  loop.addEventListener('close', (event) => {
    assert.equal(event.willReconnect, true);
    announced = event.reconnectIn;
  });
  FakeWebSocket.last.end();
  assert.equal(announced, 800);
  assert.equal(loop.state, 'waiting');
  tick(799);
  assert.equal(FakeWebSocket.all.length, 1);
  tick(1);
  assert.equal(FakeWebSocket.all.length, 2);
  assert.equal(FakeWebSocket.last.url, URI);
  assert.equal(loop.state, 'connecting');
});

test('a connection that stayed open for 10 s resets the wait, however it ends', (t) => {
  const { die } = install(t);
  die.value = 1;
  for (const code of [1000, 1001, 1006, 1008, 1011, 1013, 4000, 4400, 4503, 4599]) {
    for (const [up, expected] of [
      [0, 7000],
      [9999, 7000],
      [10000, 1000],
      [3600000, 1000],
    ]) {
      const loop = new WSLoop(URI);
      let wait;
      loop.addEventListener('close', (event) => (wait = event.reconnectIn));
      FakeWebSocket.last.end();
      tick(1000);
      FakeWebSocket.last.end();
      tick(3000);
      FakeWebSocket.last.accept();
      tick(up);
      FakeWebSocket.last.end(code);
      assert.equal(wait, expected, `after code ${code} and ${up} ms`);
      tick(wait);
      FakeWebSocket.last.end();
      assert.equal(wait, expected * 2 + 1000, `and then it grows again, after code ${code}`);
      loop.close();
    }
  }
});

test('a server that accepts and then closes is tried ever more slowly', (t) => {
  const { die } = install(t);
  die.value = 1;
  for (const code of [1006, 1008, 1011, 4503]) {
    const before = FakeWebSocket.all.length;
    const loop = new WSLoop(URI);
    const waits = [];
    loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
    for (let n = 0; n < 8; n += 1) {
      FakeWebSocket.last.accept();
      FakeWebSocket.last.end(code);
      tick(waits.at(-1));
    }
    loop.close();
    assert.deepEqual(waits, [1000, 3000, 7000, 15000, 30000, 30000, 30000, 30000]);
    assert.equal(FakeWebSocket.all.length - before, 9);
  }
});

test('after a restart it comes back within 2 s, and waits longer only when that fails', (t) => {
  const { die } = install(t);
  for (const value of [0, 0.25, 1]) {
    die.value = value;
    const waits = [];
    const loop = new WSLoop(URI);
    loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
    for (let n = 0; n < 3; n += 1) {
      FakeWebSocket.last.end();
      tick(waits.at(-1));
    }
    for (let n = 0; n < 2; n += 1) {
      FakeWebSocket.last.accept();
      FakeWebSocket.last.end(1012);
      tick(waits.at(-1));
    }
    FakeWebSocket.last.end();
    tick(waits.at(-1));
    FakeWebSocket.last.end();
    loop.close();
    const bounds = [1000, 3000, 7000, 2000, 2000, 3000, 7000];
    assert.deepEqual(waits, bounds.map((bound) => bound * value));
  }
});

test('an attempt that is never answered is given up, its socket closed and not heard', (t) => {
  install(t);
  for (const [options, patience] of [
    [{}, 15000],
    [{ connectTimeout: undefined }, 15000],
    [{ connectTimeout: 1 }, 1],
    [{ connectTimeout: 60000 }, 60000],
  ]) {
    const loop = new WSLoop(URI, options);
    const socket = FakeWebSocket.last;
    let event;
    loop.addEventListener('close', (closed) => (event = closed));
    const seen = record(loop);
    tick(patience - 1);
    assert.deepEqual(seen, []);
    tick(1);
    assert.deepEqual(seen, ['close 1006', 'state waiting']);
    assert.equal(event.reason, 'no answer');
    assert.equal(event.wasClean, false);
    assert.equal(socket.readyState, 2, 'the browser is told');
    socket.readyState = 0;
    socket.accept();
    socket.receive('late');
    socket.end(1006);
    assert.deepEqual(seen, ['close 1006', 'state waiting']);
    assert.equal(event.reconnectIn, 500);
    tick(500);
    assert.deepEqual(seen.slice(2), ['connecting', 'state connecting']);
    FakeWebSocket.last.accept();
    tick(600000);
    assert.equal(loop.state, 'open', 'an answered one is not given up');
    loop.close();
  }
  for (const connectTimeout of [0, -1, NaN, Infinity, 2 ** 31, '15s', null]) {
    assert.throws(() => new WSLoop(URI, { connectTimeout }), /connectTimeout is/);
  }
});

test('URLs of any kind are those of a WebSocket, relative ones the page\'s own', (t) => {
  install(t);
  t.after(() => {
    delete globalThis.location;
    delete globalThis.document;
  });
  const cases = [
    ['ws://host/ws/x?a&b', 'ws://host/ws/x?a&b'],
    ['WSS://Host/ws/x', 'wss://host/ws/x'],
    ['http://host/ws/x?a', 'ws://host/ws/x?a'],
    ['https://host:8443/ws/x', 'wss://host:8443/ws/x'],
    ['https://host/ws/x#part', 'wss://host/ws/x'],
  ];
  const relative = [
    ['/ws/x?a', 'wss://shop.example:8443/ws/x?a'],
    ['ws/x', 'wss://shop.example:8443/cart/ws/x'],
    ['?subscribe-broadcast', 'wss://shop.example:8443/cart/?subscribe-broadcast'],
    ['//other.example/ws/x', 'wss://other.example/ws/x'],
    ['ws://shop.example/ws/x', 'ws://shop.example/ws/x'],
  ];
  const expectAll = (all) => {
    for (const [uri, expected] of all) {
      for (const args of [[uri], [{ uri }]]) {
        new WSLoop(...args);
        assert.equal(FakeWebSocket.last.url, expected, uri);
      }
      new WSLoop({ uri, token: 't', tokenIn: 'query' });
      const query = `${expected.includes('?') ? '&' : '?'}token=t`;
      assert.equal(FakeWebSocket.last.url, expected + query, uri);
    }
  };
  expectAll(cases);
  assert.throws(() => new WSLoop('not a uri'), SyntaxError, 'relative to nothing');
  globalThis.location = { hostname: 'shop.example', href: 'https://shop.example:8443/cart/#top' };
  expectAll([...cases, ...relative]);
  globalThis.document = { baseURI: 'http://base.example/b/' };
  expectAll([...cases, ['x', 'ws://base.example/b/x']]);
});

test('a URL may be an object, of another window as well', (t) => {
  install(t);
  const foreign = { href: URI, toString: () => URI };
  for (const uri of [new URL(URI), foreign]) {
    for (const args of [[uri], [uri, { tokenIn: 'protocol' }], [{ uri }]]) {
      new WSLoop(...args);
      assert.equal(FakeWebSocket.last.url, URI);
    }
    new WSLoop({ uri, token: 't', tokenIn: 'query' });
    assert.equal(FakeWebSocket.last.url, `${URI}&token=t`);
  }
});

test('a loop stays with the address that it was made for', (t) => {
  install(t);
  t.after(() => delete globalThis.location);
  globalThis.location = { hostname: 'shop.example', href: 'http://shop.example/a/' };
  const url = new URL('http://shop.example/ws/x');
  const loops = [new WSLoop('ws'), new WSLoop(url)];
  globalThis.location = { hostname: 'shop.example', href: 'http://shop.example/b/' };
  url.pathname = '/ws/y';
  const made = [...FakeWebSocket.all];
  for (const socket of made) {
    socket.end();
  }
  tick(500);
  const urls = FakeWebSocket.all.slice(2).map((socket) => socket.url);
  assert.deepEqual(urls, ['ws://shop.example/a/ws', 'ws://shop.example/ws/x']);
  loops.forEach((loop) => loop.close());
});

test('4401 and 4403 end it; the codes beside them do not', (t) => {
  install(t);
  for (const code of [4400, 4401, 4402, 4403, 4404]) {
    const stops = code === 4401 || code === 4403;
    const loop = new WSLoop(URI);
    let event;
    loop.addEventListener('close', (closed) => (event = closed));
    FakeWebSocket.last.accept();
    FakeWebSocket.last.end(code, 'why');
    const count = FakeWebSocket.all.length;
    assert.equal(event.code, code);
    assert.equal(event.reason, 'why');
    assert.equal(event.wasClean, true);
    assert.equal(event.willReconnect, !stops);
    assert.equal(event.reconnectIn === null, stops);
    assert.equal(loop.state, stops ? 'closed' : 'waiting');
    tick(15000);
    assert.equal(FakeWebSocket.all.length, stops ? count : count + 1, `after code ${code}`);
    loop.close();
  }
});

test('close ends an open connection for good', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  FakeWebSocket.last.accept();
  const seen = record(loop);
  loop.close();
  loop.close();
  assert.deepEqual(FakeWebSocket.last.closedWith, { code: 1000, reason: '' });
  assert.equal(loop.state, 'closing');
  assert.equal(loop.is_closing(), true);
  FakeWebSocket.last.end(1000);
  tick(60000);
  assert.deepEqual(seen, ['state closing', 'close 1000', 'state closed']);
  assert.equal(FakeWebSocket.all.length, 1);
});

test('close takes a code and a reason; a bad code throws and changes nothing', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  FakeWebSocket.last.accept();
  assert.throws(() => loop.close(1006), RangeError);
  assert.equal(loop.state, 'open');
  loop.close(4000, 'bye');
  assert.deepEqual(FakeWebSocket.last.closedWith, { code: 4000, reason: 'bye' });
});

test('close while connecting ends the attempt', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  loop.close();
  FakeWebSocket.last.end(1006);
  tick(60000);
  assert.equal(loop.state, 'closed');
  assert.equal(FakeWebSocket.all.length, 1);
});

test('close cancels the pending attempt', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  FakeWebSocket.last.end();
  const seen = record(loop);
  loop.close();
  tick(60000);
  assert.deepEqual(seen, ['state closed']);
  assert.equal(FakeWebSocket.all.length, 1);
});

test('close in a close listener cancels the attempt that was just planned', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  loop.addEventListener('close', () => loop.close());
  const states = [];
  loop.addEventListener('state', (event) => states.push(event.state));
  FakeWebSocket.last.end();
  tick(60000);
  assert.deepEqual(states, ['closed']);
  assert.equal(FakeWebSocket.all.length, 1);
});

test('a close handshake without an end is given up after 5 s, its socket not heard', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const [socket] = FakeWebSocket.all;
  socket.accept();
  const seen = record(loop);
  loop.close();
  tick(4999);
  assert.equal(loop.state, 'closing');
  tick(1);
  socket.receive('late');
  socket.end(1000);
  assert.deepEqual(seen, ['state closing', 'close 1006', 'state closed']);
});

test('an error without a close counts as a loss, one with a close only once', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const seen = record(loop);
  FakeWebSocket.last.onerror({ type: 'error' });
  tick(5000);
  assert.deepEqual(seen, ['close 1006', 'state waiting']);
  tick(500);
  const socket = FakeWebSocket.last;
  socket.onerror({ type: 'error' });
  socket.end(1006);
  tick(1500);
  FakeWebSocket.last.accept();
  tick(60000);
  assert.equal(FakeWebSocket.all.length, 3);
  assert.equal(loop.state, 'open');
});

test('an error in the close handshake does not reach into the next connection', (t) => {
  install(t);
  const loop = new WSLoop(URI, { heartbeat_msg: 'hb' });
  const socket = FakeWebSocket.last;
  socket.accept();
  tick(20000);
  assert.equal(loop.state, 'closing');
  socket.onerror({ type: 'error' });
  socket.end(1006);
  tick(500);
  FakeWebSocket.last.accept();
  tick(5000);
  assert.equal(loop.state, 'open');
});

test('send goes out while open and throws otherwise, sending nothing', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const refused = (state) => {
    assert.throws(
      () => loop.send('x'),
      (error) => error.name === 'InvalidStateError' && error.message.includes(state),
    );
  };
  refused('connecting');
  const socket = FakeWebSocket.last;
  socket.accept();
  loop.send('one');
  loop.send_message(new Uint8Array([2]));
  socket.end();
  refused('waiting');
  tick(500);
  FakeWebSocket.last.accept();
  loop.close();
  refused('closing');
  FakeWebSocket.last.end(1000);
  refused('closed');
  assert.deepEqual(socket.sent, ['one', new Uint8Array([2])]);
  assert.deepEqual(FakeWebSocket.last.sent, []);
});

test('get_state and is_… follow the readyState', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const state = () => [
    loop.get_state(),
    loop.is_connecting(),
    loop.is_connected(),
    loop.is_closing(),
    loop.is_closed(),
  ];
  assert.deepEqual(state(), [0, true, false, false, false]);
  FakeWebSocket.last.accept();
  assert.deepEqual(state(), [1, false, true, false, false]);
  FakeWebSocket.last.end();
  assert.deepEqual(state(), [3, false, false, false, true]);
  tick(500);
  FakeWebSocket.last.accept();
  loop.close();
  assert.deepEqual(state(), [2, false, false, true, false]);
});

test('heartbeats go out every 5 s and an answer is neither delivered nor missed', (t) => {
  install(t);
  const loop = new WSLoop(URI, { heartbeat_msg: '--heartbeat--' });
  const seen = record(loop);
  const socket = FakeWebSocket.last;
  tick(14000);
  assert.deepEqual(socket.sent, [], 'none before the connection is open');
  socket.accept();
  assert.deepEqual(socket.sent, []);
  for (let n = 1; n <= 20; n += 1) {
    tick(5000);
    assert.equal(socket.sent.length, n);
    socket.receive('--heartbeat--');
  }
  assert.deepEqual(new Set(socket.sent), new Set(['--heartbeat--']));
  assert.deepEqual(seen, ['open', 'state open']);
});

test('more than three missed heartbeats close the connection, and it comes back', (t) => {
  install(t);
  const loop = new WSLoop(URI, { heartbeat_msg: 'hb' });
  const socket = FakeWebSocket.last;
  socket.accept();
  tick(19999);
  socket.receive('a message is not a heartbeat');
  assert.equal(socket.closedWith, null);
  assert.deepEqual(socket.sent, ['hb', 'hb', 'hb']);
  tick(1);
  assert.deepEqual(socket.closedWith, { code: 3008, reason: 'heartbeat missed' });
  assert.equal(loop.state, 'closing');
  tick(4999);
  assert.equal(FakeWebSocket.all.length, 1, 'no second socket while the first one closes');
  tick(1);
  assert.equal(loop.state, 'waiting');
  tick(500);
  assert.equal(FakeWebSocket.all.length, 2);
  assert.equal(loop.state, 'connecting');
});

test('a heartbeat resets the misses; so does a new connection, which has one timer only', (t) => {
  install(t);
  const loop = new WSLoop(URI, { heartbeat_msg: 'hb' });
  const first = FakeWebSocket.last;
  first.accept();
  tick(15000);
  first.receive('hb');
  tick(15000);
  assert.equal(first.closedWith, null);
  first.end(1006);
  tick(500);
  const second = FakeWebSocket.last;
  tick(14000);
  assert.equal(second.closedWith, null, 'no heartbeat while connecting');
  second.accept();
  tick(15000);
  assert.deepEqual(second.sent, ['hb', 'hb', 'hb']);
  assert.equal(second.closedWith, null);
  assert.equal(first.sent.length, 6);
  assert.equal(loop.state, 'open');
});

test('without heartbeat_msg nothing is sent and everything is delivered', (t) => {
  install(t);
  for (const heartbeat_msg of [undefined, null, '']) {
    const loop = new WSLoop(URI, { heartbeat_msg });
    const seen = record(loop);
    FakeWebSocket.last.accept();
    tick(60000);
    FakeWebSocket.last.receive('');
    assert.deepEqual(FakeWebSocket.last.sent, []);
    assert.deepEqual(seen, ['open', 'state open', 'message ']);
    loop.close();
  }
});

test('an online browser tries at once, once, and from the shortest wait on', (t) => {
  const { die } = install(t);
  die.value = 1;
  const window = makeWindow(t);
  const goOnline = () => window.fire('online');
  const loop = new WSLoop(URI);
  const waits = [];
  loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
  for (const wait of [1000, 3000, 7000]) {
    FakeWebSocket.last.end();
    tick(wait);
  }
  FakeWebSocket.last.end();
  goOnline();
  goOnline();
  assert.equal(FakeWebSocket.all.length, 5);
  tick(14999);
  assert.equal(FakeWebSocket.all.length, 5, 'the timer is gone');
  FakeWebSocket.last.end();
  assert.deepEqual(waits, [1000, 3000, 7000, 15000, 1000]);
  loop.close();
  goOnline();
  assert.equal(FakeWebSocket.all.length, 5, 'a closed one stays closed');
  assert.equal(window.count, 0, 'and leaves nothing behind');
});

test('an online browser does not trust the connection from before', (t) => {
  const { die } = install(t);
  die.value = 1;
  const window = makeWindow(t);
  const loop = new WSLoop(URI);
  const [socket] = FakeWebSocket.all;
  socket.accept();
  tick(60000);
  const seen = record(loop);
  let event;
  loop.addEventListener('close', (closed) => (event = closed));
  window.fire('online');
  assert.deepEqual(socket.closedWith, { code: 1000, reason: undefined });
  assert.deepEqual(seen, ['close 1006', 'state waiting']);
  assert.deepEqual([event.reason, event.reconnectIn], ['the network has changed', 0]);
  socket.receive('late');
  tick(0);
  FakeWebSocket.last.accept();
  assert.equal(loop.state, 'open');
  assert.equal(FakeWebSocket.all.length, 2);

  const asked = new WSLoop(URI, { heartbeat_msg: 'hb' });
  const beating = FakeWebSocket.last;
  beating.accept();
  for (const answers of [true, false]) {
    tick(4000);
    const before = beating.sent.length;
    window.fire('online');
    assert.equal(beating.sent.length, before + 1, 'a heartbeat at once');
    tick(4999);
    assert.equal(asked.state, 'open');
    if (answers) {
      beating.receive('hb');
      tick(1);
      beating.receive('hb');
      assert.equal(asked.state, 'open');
    }
  }
  tick(1);
  assert.deepEqual(beating.closedWith, { code: 3008, reason: 'heartbeat missed' });
});

test('a page in the back-forward cache has no connection, and one at once when it is back', (t) => {
  const { die } = install(t);
  die.value = 1;
  const window = makeWindow(t);
  const loop = new WSLoop(URI);
  const waits = [];
  loop.addEventListener('close', (event) => waits.push([event.reason, event.reconnectIn]));
  window.fire('pageshow', { persisted: false });
  FakeWebSocket.last.end();
  window.fire('pageshow', { persisted: false });
  window.fire('pagehide', { persisted: true });
  assert.equal(FakeWebSocket.all.length, 1, 'a page that was loaded is not back');
  window.fire('pageshow', { persisted: true });
  assert.equal(FakeWebSocket.all.length, 2, 'the timer is not waited for');
  for (const open of [true, false]) {
    if (open) {
      FakeWebSocket.last.accept();
    }
    window.fire('pagehide', { persisted: false });
    assert.equal(FakeWebSocket.live.length, 1, 'a page that is unloaded needs no help');
    window.fire('pagehide', { persisted: true });
    assert.equal(FakeWebSocket.live.length, 0);
    assert.equal(loop.state, 'waiting');
    window.fire('pageshow', { persisted: true });
    assert.equal(loop.state, 'connecting');
  }
  FakeWebSocket.last.end();
  const left = 'the page was left';
  assert.deepEqual(waits, [['', 1000], [left, 1000], [left, 1000], ['', 1000]]);
  loop.close();
  assert.equal(window.count, 0);
});

test('reconnect ends the wait, and does nothing else', (t) => {
  const { die } = install(t);
  die.value = 1;
  const loop = new WSLoop(URI);
  const count = () => FakeWebSocket.all.length;
  loop.reconnect();
  assert.equal(count(), 1, 'while connecting');
  FakeWebSocket.last.end();
  const seen = record(loop);
  loop.reconnect();
  assert.equal(count(), 2);
  assert.deepEqual(seen, ['connecting', 'state connecting']);
  tick(14999);
  assert.equal(count(), 2, 'the timer is gone');
  let wait;
  loop.addEventListener('close', (event) => (wait = event.reconnectIn));
  FakeWebSocket.last.end();
  assert.equal(wait, 3000, 'the waits go on growing');
  loop.reconnect();
  FakeWebSocket.last.accept();
  loop.reconnect();
  assert.equal(count(), 3, 'while open');
  loop.close();
  loop.reconnect();
  FakeWebSocket.last.end(1000);
  loop.reconnect();
  assert.equal(count(), 3, 'a closed one stays closed');
});

test('a constructor that fails later on is a failed attempt', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  globalThis.WebSocket = class {
    constructor() {
      throw new Error('insufficient resources');
    }
  };
  FakeWebSocket.last.end();
  const codes = [];
  loop.addEventListener('close', (event) => codes.push(event.code));
  tick(500);
  assert.deepEqual(codes, [1006]);
  assert.equal(loop.state, 'waiting');
  globalThis.WebSocket = FakeWebSocket;
  tick(1500);
  assert.equal(FakeWebSocket.all.length, 2);
});

test('there are never two sockets, whatever happens in whatever order', (t) => {
  const { die } = install(t);
  let seed = 1;
  const next = (bound) => {
    seed = (seed * 48271) % 2147483647;
    return seed % bound;
  };
  const loop = new WSLoop(URI, { heartbeat_msg: 'hb' });
  for (let step = 0; step < 5000; step += 1) {
    die.value = next(1000) / 1000;
    const socket = FakeWebSocket.last;
    const action = next(5);
    if (action === 0 && socket.readyState === 0) {
      socket.accept();
    } else if (action === 1 && socket.readyState < 3) {
      socket.end([1000, 1006, 4503][next(3)]);
    } else if (action === 2 && socket.readyState === 1) {
      socket.receive('hb');
    } else {
      tick(next(4000));
    }
    assert.ok(FakeWebSocket.live.length <= 1, `two sockets at step ${step}`);
    assert.notEqual(loop.state, 'closed');
  }
  assert.ok(FakeWebSocket.all.length > 100);
});
