import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WSLoop } from '../wsloop.mjs';
import { FakeWebSocket, install, record, settle, tick } from './fake.mjs';

const URI = 'ws://host/ws/foobar?subscribe-user';

/** A function for tokens that the test answers when it likes: `asked[n].resolve('…')`. */
function teller() {
  const asked = [];
  const token = () =>
    new Promise((resolve, reject) => {
      asked.push({ resolve, reject });
    });
  return { asked, token };
}

/** A function for tokens that gives another one each time, and counts. */
function counter() {
  const given = () => `t${(given.count += 1)}`;
  given.count = 0;
  return given;
}

test('a token is a sub-protocol along with one to choose, or in the query', async (t) => {
  install(t);
  const own = ['wsloop', 'bearer.a.b-_c'];
  for (const [uri, options, url, protocols] of [
    [URI, {}, URI, own],
    [URI, { tokenIn: 'protocol' }, URI, own],
    [URI, { tokenIn: undefined }, URI, own],
    [URI, { protocols: [] }, URI, own],
    [URI, { protocols: null }, URI, own],
    [URI, { protocols: 'chat' }, URI, ['chat', 'bearer.a.b-_c']],
    [URI, { protocols: ['b', 'a'] }, URI, ['b', 'a', 'bearer.a.b-_c']],
    [URI, { tokenIn: 'query' }, `${URI}&token=a.b-_c`, []],
    [URI, { tokenIn: 'query', protocols: 'chat' }, `${URI}&token=a.b-_c`, ['chat']],
    ['ws://host/ws/x', { tokenIn: 'query' }, 'ws://host/ws/x?token=a.b-_c', []],
  ]) {
    for (const token of ['a.b-_c', () => 'a.b-_c', async () => 'a.b-_c']) {
      const loop = new WSLoop(uri, { ...options, token });
      await settle();
      assert.equal(FakeWebSocket.last.url, url);
      assert.deepEqual(FakeWebSocket.last.protocols, protocols);
      FakeWebSocket.last.accept();
      assert.equal(loop.state, 'open');
      loop.close();
    }
  }
});

test('what a query cannot hold as it is is written otherwise', (t) => {
  install(t);
  new WSLoop(URI, { token: 'a+b/c=&d é', tokenIn: 'query' });
  assert.equal(new URL(FakeWebSocket.last.url).searchParams.get('token'), 'a+b/c=&d é');
});

test('without a token only the own sub-protocols are offered', async (t) => {
  install(t);
  for (const token of [undefined, null, () => null, async () => null]) {
    for (const [options, protocols] of [
      [{}, []],
      [{ tokenIn: 'query' }, []],
      [{ protocols: 'chat' }, ['chat']],
    ]) {
      const loop = new WSLoop(URI, { ...options, token });
      await settle();
      assert.equal(FakeWebSocket.last.url, URI);
      assert.deepEqual(FakeWebSocket.last.protocols, protocols);
      FakeWebSocket.last.accept();
      assert.equal(loop.state, 'open');
    }
  }
});

test('options that can never work throw at once', (t) => {
  install(t);
  for (const token of ['', 5, true, {}, Promise.resolve('t')]) {
    assert.throws(() => new WSLoop(URI, { token }), /a token is a string/);
  }
  for (const tokenIn of ['header', '', null, true]) {
    assert.throws(() => new WSLoop(URI, { token: 't', tokenIn }), /tokenIn is/);
  }
  assert.throws(() => new WSLoop('not a uri', { token: 't' }), SyntaxError);
  assert.throws(() => new WSLoop(URI, { token: 'a b' }), SyntaxError);
  tick(60000);
  assert.equal(FakeWebSocket.all.length, 0);
});

test('the state is connecting while the page is asked, and nothing is sent', async (t) => {
  install(t);
  const { asked, token } = teller();
  const started = [];
  const loop = new WSLoop(URI, { token, connecting: () => started.push('connecting') });
  const seen = record(loop);
  await settle();
  tick(600000);
  assert.equal(asked.length, 1);
  assert.equal(FakeWebSocket.all.length, 0);
  assert.equal(loop.state, 'connecting');
  assert.equal(loop.get_state(), 0);
  assert.equal(loop.is_connecting(), true);
  assert.equal(loop.is_closed(), false);
  assert.throws(() => loop.send('x'), { name: 'InvalidStateError' });
  asked[0].resolve('t');
  await settle();
  assert.equal(FakeWebSocket.all.length, 1);
  assert.equal(loop.get_state(), 0);
  FakeWebSocket.last.accept();
  assert.deepEqual(started, ['connecting'], 'one attempt, one event');
  assert.deepEqual(seen, ['open', 'state open']);
});

test('every attempt asks anew, and only when it begins', async (t) => {
  install(t);
  const token = counter();
  new WSLoop(URI, { token });
  for (let n = 1; n <= 5; n += 1) {
    await settle();
    assert.equal(token.count, n);
    assert.deepEqual(FakeWebSocket.last.protocols, ['wsloop', `bearer.t${n}`]);
    FakeWebSocket.last.end();
    await settle();
    assert.equal(token.count, n);
    tick(30000);
  }
});

test('the function may use the loop from the first time on', async (t) => {
  install(t);
  const seen = [];
  const loop = new WSLoop(URI, {
    token() {
      seen.push(loop.state, typeof this.connected);
      return 't';
    },
    connected() {},
  });
  assert.deepEqual(seen, []);
  await settle();
  assert.deepEqual(seen, ['connecting', 'function']);
});

test('close wins over an answer, a refusal of one, and a question not yet asked', async (t) => {
  install(t);
  for (const answer of ['resolve', 'reject', 'never']) {
    const { asked, token } = teller();
    const loop = new WSLoop(URI, { token });
    const seen = record(loop);
    await settle();
    let event;
    loop.addEventListener('close', (closed) => (event = closed));
    loop.close(4000, 'bye');
    loop.close();
    assert.equal(loop.state, 'closed');
    assert.equal(loop.get_state(), 3);
    asked[0][answer]?.(answer === 'resolve' ? 't' : new Error('late'));
    await settle();
    tick(60000);
    await settle();
    assert.deepEqual(seen, ['close 1006', 'state closed']);
    assert.equal(event.reason, 'bye');
    assert.equal(event.willReconnect, false);
    assert.equal(event.reconnectIn, null);
    assert.equal(asked.length, 1);
  }
  const token = counter();
  const loop = new WSLoop(URI, { token });
  loop.close();
  await settle();
  assert.equal(token.count, 0);
  assert.equal(FakeWebSocket.all.length, 0);
});

test('close in the function and in a listener of connecting wins, too', async (t) => {
  install(t);
  const inside = new WSLoop(URI, {
    token: () => {
      inside.close();
      return 't';
    },
  });
  await settle();
  assert.equal(inside.state, 'closed');
  const token = counter();
  const loop = new WSLoop(URI, { token });
  await settle();
  FakeWebSocket.last.end();
  loop.addEventListener('connecting', () => loop.close());
  const seen = record(loop);
  tick(60000);
  await settle();
  // The listener of `connecting` that records comes after the one that closes.
  assert.deepEqual(seen, ['close 1006', 'state closed', 'connecting']);
  assert.equal(token.count, 1);
  assert.equal(FakeWebSocket.all.length, 1);
});

test('a function without an answer is a failed attempt that says why', async (t) => {
  const { die } = install(t);
  die.value = 1;
  const mistaken = 'no token: TypeError: a token is a string that is not empty, or null for none';
  const failures = [
    [() => { throw new Error('logged out'); }, 'no token: Error: logged out'],
    [async () => { throw new Error('offline'); }, 'no token: Error: offline'],
    [() => Promise.reject(Symbol('odd')), 'no token: Symbol(odd)'],
    [() => Promise.reject(), 'no token: undefined'],
    [() => undefined, mistaken],
    [async () => '', mistaken],
    [() => 5, mistaken],
  ];
  const waits = [];
  const events = [];
  const token = () => (failures[events.length] ?? [() => 't'])[0]();
  const loop = new WSLoop(URI, { token });
  loop.addEventListener('close', (event) => {
    assert.equal(loop.state, 'waiting');
    assert.equal(loop.is_closed(), true);
    events.push(event);
    waits.push(event.reconnectIn);
  });
  for (let n = 0; n < failures.length; n += 1) {
    await settle();
    assert.equal(events.length, n + 1);
    tick(waits[n] - 1);
    await settle();
    assert.equal(events.length, n + 1, 'not before the wait is over');
    tick(1);
  }
  await settle();
  assert.deepEqual(events.map((event) => event.reason), failures.map(([, reason]) => reason));
  for (const event of events) {
    assert.equal(event.code, 1006);
    assert.equal(event.wasClean, false);
    assert.equal(event.willReconnect, true);
  }
  assert.deepEqual(waits, [1000, 3000, 7000, 15000, 30000, 30000, 30000]);
  assert.equal(FakeWebSocket.all.length, 1);
  FakeWebSocket.last.accept();
  assert.equal(loop.state, 'open');
});

test('what the browser does not take as a sub-protocol or URI is a failed attempt', async (t) => {
  install(t);
  for (const [uri, reason] of [
    [URI, 'SyntaxError: invalid sub-protocol: bearer.a b'],
    ['not a uri', 'SyntaxError: invalid URL: not a uri'],
  ]) {
    const loop = new WSLoop(uri, { token: () => 'a b' });
    const reasons = [];
    loop.addEventListener('close', (event) => reasons.push(event.reason));
    await settle();
    tick(500);
    await settle();
    assert.deepEqual(reasons, [reason, reason]);
    assert.equal(loop.state, 'waiting');
    loop.close();
  }
});

test('4401 asks a function for another token, and ends it without one', async (t) => {
  install(t);
  for (const [token, stops] of [
    [undefined, true],
    [null, true],
    ['t', true],
    [() => 't', false],
    [async () => 't', false],
    [() => null, false],
  ]) {
    const loop = new WSLoop(URI, { token });
    await settle();
    FakeWebSocket.last.accept();
    tick(1500);
    const seen = record(loop);
    const count = FakeWebSocket.all.length;
    FakeWebSocket.last.end(4401, 'the token has expired');
    tick(60000);
    await settle();
    assert.equal(FakeWebSocket.all.length, stops ? count : count + 1);
    assert.equal(loop.state, stops ? 'closed' : 'connecting');
    const after = stops ? ['state closed'] : ['state waiting', 'connecting', 'state connecting'];
    assert.deepEqual(seen, ['close 4401', ...after]);
    loop.close();
  }
});

test('4403 ends it, whatever else could be asked', async (t) => {
  install(t);
  const token = counter();
  const loop = new WSLoop(URI, { token });
  await settle();
  FakeWebSocket.last.accept();
  FakeWebSocket.last.end(4403);
  tick(60000);
  await settle();
  assert.equal(loop.state, 'closed');
  assert.equal(token.count, 1);
});

test('tokens that are refused at once are tried ever more slowly', async (t) => {
  const { die } = install(t);
  die.value = 1;
  const token = counter();
  const loop = new WSLoop(URI, { token });
  const waits = [];
  loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
  for (let n = 0; n < 7; n += 1) {
    await settle();
    FakeWebSocket.last.accept();
    tick(9999);
    FakeWebSocket.last.end(4401);
    tick(waits.at(-1));
  }
  assert.deepEqual(waits, [1000, 3000, 7000, 15000, 30000, 30000, 30000]);
  assert.equal(FakeWebSocket.all.length, 7);
});

test('tokens that expire again and again after 10 s come back fast', async (t) => {
  const { die } = install(t);
  die.value = 1;
  const token = counter();
  const loop = new WSLoop(URI, { token });
  const waits = [];
  loop.addEventListener('close', (event) => waits.push(event.reconnectIn));
  await settle();
  FakeWebSocket.last.end();
  tick(1000);
  await settle();
  FakeWebSocket.last.end();
  tick(3000);
  for (let n = 0; n < 5; n += 1) {
    await settle();
    FakeWebSocket.last.accept();
    tick(10000);
    FakeWebSocket.last.end(4401);
    tick(1000);
  }
  assert.deepEqual(waits, [1000, 3000, 1000, 1000, 1000, 1000, 1000]);
  assert.equal(token.count, 7);
});

test('there are never two sockets or questions, whatever happens in whatever order', async (t) => {
  const { die } = install(t);
  let seed = 1;
  const next = (bound) => {
    seed = (seed * 48271) % 2147483647;
    return seed % bound;
  };
  const { asked, token } = teller();
  const open = () => asked.filter((question) => !question.answered);
  const loop = new WSLoop(URI, { token });
  for (let step = 0; step < 3000; step += 1) {
    die.value = next(1000) / 1000;
    const socket = FakeWebSocket.last;
    const [question] = open();
    const action = next(5);
    if (action < 2 && question !== undefined) {
      question.answered = true;
      question[['resolve', 'resolve', 'reject'][next(3)]]('t');
    } else if (action === 2 && socket?.readyState === 0) {
      socket.accept();
    } else if (action === 3 && socket?.readyState < 3) {
      socket.end([1000, 1006, 4401][next(3)]);
    } else {
      tick(next(4000));
    }
    await settle();
    const live = FakeWebSocket.live.length;
    assert.ok(live + open().length <= 1, `${live} and ${open().length} at step ${step}`);
    const busy = live + open().length === 1;
    assert.equal(loop.state === 'waiting', !busy, `${loop.state} at step ${step}`);
  }
  assert.ok(FakeWebSocket.all.length > 100);
});
