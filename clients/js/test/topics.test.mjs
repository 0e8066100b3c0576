import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WSLoop } from '../wsloop.mjs';
import { FakeWebSocket, install, makeWindow, record, settle, tick } from './fake.mjs';
import { Server, follow } from './server.mjs';

const URI = 'ws://host/ws/';

/** A loop that is connected, and the server that it is connected to. */
function connected(t, options) {
  const { die } = install(t);
  const loop = new WSLoop(URI, options);
  const server = new Server();
  server.accept();
  return { loop, server, die };
}

/** The connection is lost and there is another. */
function reconnect(server, meanwhile = () => {}) {
  server.socket.end();
  meanwhile();
  while (FakeWebSocket.last === server.socket) {
    tick(100);
  }
  server.accept();
}

/** What became of a promise: nothing yet, true, or the name of the error and its status. */
function outcome(promise) {
  const it = { now: null };
  promise.then(
    () => (it.now = true),
    ({ name, status }) => (it.now = [name, status]),
  );
  return it;
}

test('a URL that ends in a slash is for topics, or what the option says', (t) => {
  install(t);
  for (const [uri, options, offered] of [
    ['ws://host/ws/', {}, ['wsloop.1']],
    ['ws://host/ws/', { token: 'abc' }, ['wsloop.1', 'bearer.abc']],
    ['ws://host/ws/', { gaps: true, protocols: 'chat' }, ['wsloop.1']],
    ['ws://host/ws/?a=b', { topics: true }, ['wsloop.1']],
    ['ws://host/ws/', { topics: false }, []],
    ['ws://host/ws/chat', {}, []],
    ['ws://host/ws/chat/?subscribe-broadcast', {}, []],
    ['ws://host/ws/chat?x=/', {}, []],
  ]) {
    const loop = new WSLoop(uri, options);
    assert.deepEqual([FakeWebSocket.last.url, FakeWebSocket.last.protocols], [uri, offered]);
    if (offered.length === 0) {
      assert.throws(() => loop.subscribe('chat'), TypeError);
    } else {
      assert.throws(() => loop.send('x'), TypeError);
    }
  }
});

test('it is open with the welcome, which has to come in time', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const seen = record(loop);
  FakeWebSocket.last.accept();
  assert.deepEqual([loop.state, seen], ['connecting', []]);
  tick(15000);
  assert.deepEqual(seen.slice(0, 2), ['close 1006', 'state waiting']);
  tick(1000);
  const server = new Server();
  server.accept();
  assert.deepEqual(seen.slice(-2), ['open', 'state open']);
});

test('a subscription is told what is stored and what comes, and ends when it should', (t) => {
  const { loop, server } = connected(t);
  server.publish('broadcast', 'before');
  const subscription = loop.subscribe('chat');
  assert.deepEqual(server.heard, ['subscribe 1 broadcast chat']);
  assert.deepEqual([subscription.facility, subscription.audience], ['chat', 'broadcast']);
  const seen = follow(subscription);
  server.publish('broadcast', 'one\ntwo');
  server.publish('user', 'not heard');
  assert.deepEqual([seen, subscription.state], [['broadcast: one\ntwo'], 'open']);
  subscription.unsubscribe();
  subscription.unsubscribe();
  server.publish('broadcast', 'after');
  assert.deepEqual(seen.slice(1), ['closed']);
  assert.deepEqual(server.heard.slice(1), ['unsubscribe 2 broadcast chat']);
});

test('what is subscribed before there is a connection is subscribed with it', (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const subscription = loop.subscribe('chat', { audience: 'user' });
  const left = loop.subscribe('left');
  left.unsubscribe();
  const seen = follow(subscription);
  const server = new Server();
  server.publish('user', 'stored');
  server.accept();
  assert.deepEqual(server.heard, ['subscribe 1 user chat']);
  assert.deepEqual(seen, ['user stored: stored', 'open']);
});

test('a message has its audience, group and position', (t) => {
  const { loop, server } = connected(t);
  server.groups = ['a b', 'c:d'];
  // As words have it.
  server.groups = server.groups.map((it) => it.replace(' ', '%20'));
  const subscription = loop.subscribe('chat', { audience: 'group' });
  const seen = [];
  for (const type of ['message', 'gap']) {
    subscription.addEventListener(type, ({ data, audience, group, position, stored }) =>
      seen.push([data, audience, group, position, stored]));
  }
  server.publish('group:a%20b', 'one');
  server.publish('group:c:d', 'two');
  server.say('message group:c:d chat -\nthree');
  server.say('stored group:c:d chat -\nfour');
  server.say('gap group:c:d chat -');
  assert.deepEqual(seen, [
    ['one', 'group', 'a b', '1-0', false],
    ['two', 'group', 'c:d', '2-0', false],
    ['three', 'group', 'c:d', null, false],
    ['four', 'group', 'c:d', null, true],
    [undefined, 'group', 'c:d', undefined, undefined],
  ]);
  server.groups.push('new');
  reconnect(server, () => server.publish('group:c:d', 'five'));
  const since = 'group:a%20b 1-0 group:c:d 2-0';
  assert.deepEqual(server.heard, [`subscribe 2 group chat ${since}`]);
  assert.deepEqual(seen.slice(5), [['five', 'group', 'c:d', '3-0', false]]);
});

test('after a loss each topic goes on where it was', (t) => {
  const { loop, server } = connected(t);
  const [chat, news] = [loop.subscribe('chat'), loop.subscribe('news')].map(follow);
  server.publish('broadcast', 'one');
  for (const text of ['two', 'three']) {
    reconnect(server, () => {
      server.publish('broadcast', text);
      server.publish('broadcast', `${text} again`);
    });
  }
  const all = ['one', 'two', 'two again', 'three', 'three again'].map((it) => `broadcast: ${it}`);
  assert.deepEqual(chat.filter((it) => it.includes(':')), all);
  assert.deepEqual(chat.filter((it) => !it.includes(':')), [
    ...['connecting', 'open', 'connecting', 'open'],
  ]);
  assert.deepEqual(news, ['connecting', 'open', 'connecting', 'open']);
  assert.deepEqual(server.heard, [
    'subscribe 5 broadcast chat broadcast 3-0',
    'subscribe 6 broadcast news broadcast @0.0',
  ]);
});

test('what is trimmed is a gap, and the next time it goes on from there', (t) => {
  const { loop, server } = connected(t);
  const seen = follow(loop.subscribe('chat'));
  server.publish('broadcast', 'one');
  server.kept = 2;
  reconnect(server, () => ['two', 'three', 'four'].forEach((it) => server.publish('broadcast', it)));
  reconnect(server, () => server.publish('broadcast', 'five'));
  assert.deepEqual(seen.filter((it) => it !== 'open' && it !== 'connecting'), [
    'broadcast: one',
    'gap broadcast',
    'broadcast: five',
  ]);
});

test('who is cut off while the missed messages come asks for the rest', (t) => {
  const { loop, server } = connected(t);
  const seen = follow(loop.subscribe('chat'));
  server.publish('broadcast', 'one');
  server.socket.end();
  tick(30000);
  server.answer = () => '';
  server.accept();
  server.say('subscribed broadcast chat 1-0');
  server.say('message broadcast chat 2-0\ntwo');
  server.socket.end();
  tick(30000);
  server.accept();
  assert.deepEqual(server.heard, ['subscribe 3 broadcast chat broadcast 2-0']);
  assert.deepEqual(seen.filter((it) => it.includes(':')), ['broadcast: one', 'broadcast: two']);
});

test('a channel without a history is asked for as one that has missed something', (t) => {
  const { loop, server } = connected(t);
  server.answer = () => '';
  const seen = follow(loop.subscribe('chat'));
  server.say('subscribed broadcast chat -');
  server.say('message broadcast chat -\none');
  reconnect(server);
  assert.deepEqual(server.heard, ['subscribe 2 broadcast chat broadcast -']);
  server.say('subscribed broadcast chat 5-0');
  server.say('message broadcast chat -\nplain');
  assert.deepEqual(seen, ['broadcast: one', 'broadcast: plain']);
  reconnect(server);
  assert.deepEqual(server.heard, ['subscribe 3 broadcast chat broadcast 5-0']);
});

test('subscriptions to the same are one to the server', (t) => {
  const { loop, server } = connected(t);
  const [first, second] = [loop.subscribe('chat'), loop.subscribe('chat')];
  const seen = [first, second].map(follow);
  assert.equal(second.state, 'open');
  loop.subscribe('chat', { audience: 'user' });
  assert.equal(server.heard.length, 2);
  first.addEventListener('message', () => second.unsubscribe());
  server.publish('broadcast', 'one');
  server.publish('broadcast', 'two');
  assert.deepEqual(seen, [['broadcast: one', 'broadcast: two'], ['closed']]);
  assert.equal(server.heard.length, 2);
  first.unsubscribe();
  assert.deepEqual(server.heard.slice(2), ['unsubscribe 3 broadcast chat']);
});

test('what was left is asked for again when it is left, and hears nothing from before', (t) => {
  const { loop, server } = connected(t);
  server.answer = () => '';
  loop.subscribe('chat').unsubscribe();
  const again = loop.subscribe('chat');
  const seen = follow(again);
  for (const late of ['subscribed broadcast chat 1-0', 'stored broadcast chat -\nlate', 'ok 1']) {
    server.say(late);
  }
  assert.deepEqual(server.heard.slice(1), ['unsubscribe 2 broadcast chat']);
  server.say('message broadcast chat 2-0\nlate');
  server.answer = () => null;
  server.say('ok 2');
  assert.deepEqual(server.heard.slice(2), ['subscribe 3 broadcast chat']);
  server.publish('broadcast', 'new');
  assert.deepEqual(seen, ['open', 'broadcast: new']);
  server.answer = () => '';
  again.unsubscribe();
  const third = loop.subscribe('chat');
  third.unsubscribe();
  loop.subscribe('chat');
  assert.deepEqual(server.heard.slice(3), ['unsubscribe 4 broadcast chat']);
  server.say('ok 4');
  assert.deepEqual(server.heard.slice(4), ['subscribe 5 broadcast chat'], 'as one that is new');
});

test('a refusal is final for its connection, and says why', (t) => {
  globalThis.location = { hostname: 'localhost' };
  t.after(() => delete globalThis.location);
  const { loop, server } = connected(t);
  const said = [];
  t.mock.method(console, 'warn', (text) => said.push(text));
  server.answer = (header) => `refused ${header.split(' ')[1]} 403 not for you: a=b`;
  const subscription = loop.subscribe('chat');
  assert.deepEqual([subscription.state, subscription.error.status], ['refused', 403]);
  assert.equal(subscription.error.message, 'not for you: a=b');
  assert.deepEqual(said, ['wsloop: broadcast chat: 403 not for you: a=b']);
  tick(100000);
  assert.equal(server.heard.filter((it) => it.startsWith('subscribe')).length, 1);
  const seen = follow(subscription);
  server.answer = () => null;
  reconnect(server);
  assert.deepEqual([seen, subscription.error], [['connecting', 'open'], null]);
});

test('on localhost the console has the words of a close that is a refusal', (t) => {
  globalThis.location = { hostname: 'localhost' };
  t.after(() => delete globalThis.location);
  const { loop, server } = connected(t);
  const said = [];
  t.mock.method(console, 'warn', (text) => said.push(text));
  server.socket.end(4401, 'logged out');
  assert.deepEqual([loop.state, said], ['closed', ['wsloop: ws://host/ws/: 4401 logged out']]);
});

test('another subscription to what was refused asks again', (t) => {
  const { loop, server } = connected(t);
  server.answer = ({}) => 'refused 1 403 no';
  const first = loop.subscribe('chat');
  server.answer = () => null;
  assert.equal(loop.subscribe('chat').state, 'open');
  assert.equal(first.state, 'open');
});

test('what cannot be answered now is asked for again, ever more slowly', (t) => {
  for (const status of [429, 500, 503]) {
    const { loop, server, die } = connected(t);
    die.value = 1;
    server.answer = (header) =>
      (header.startsWith('sub') ? `refused ${header.split(' ')[1]} ${status} later` : null);
    const asked = () => server.heard.filter((it) => it.startsWith('sub')).length;
    const subscription = loop.subscribe('chat');
    for (const [count, wait] of [[1, 1000], [2, 3000], [3, 7000], [4, 15000], [5, 30000]]) {
      assert.equal(asked(), count);
      tick(wait - 1);
      assert.equal(asked(), count);
      tick(1);
    }
    assert.equal(subscription.state, 'connecting');
    server.answer = () => null;
    tick(30000);
    assert.equal(subscription.state, 'open');
    server.answer = (header) => `refused ${header.split(' ')[1]} ${status} later`;
    const [left, lost] = [loop.subscribe('left'), loop.subscribe('lost')];
    // What has been open waits as at first; then there is another connection before the wait is over.
    reconnect(server);
    assert.equal(asked(), 3);
    tick(1000);
    assert.equal(asked(), 6, 'all at the same time');
    tick(3000);
    left.unsubscribe();
    server.answer = () => null;
    reconnect(server);
    tick(60000);
    assert.deepEqual([lost.state, asked()], ['open', 2]);
    loop.close();
  }
});

test('there are never more commands under way than the server says', (t) => {
  const { loop, server } = connected(t);
  server.answer = () => '';
  for (let n = 1; n <= 6; n += 1) {
    loop.subscribe(`chat${n}`);
  }
  const published = outcome(loop.publish('chat1', 'x'));
  assert.equal(server.heard.length, 4);
  server.say('ok 2');
  assert.equal(server.heard[4], 'subscribe 5 broadcast chat5');
  ['ok 1', 'ok 3', 'ok 99'].forEach((it) => server.say(it));
  assert.deepEqual(server.heard.slice(5), [
    'subscribe 6 broadcast chat6',
    'publish 7 broadcast chat1',
  ]);
  reconnect(server);
  assert.equal(server.heard.length, 4, 'the same after a loss');
  return settle().then(() => assert.deepEqual(published.now, ['DroppedError', undefined]));
});

test('of a publish the page hears what became of it', async (t) => {
  const { loop, server } = connected(t);
  const accepted = outcome(loop.publish('chat', 'hello\nyou'));
  const said = outcome(loop.publish('a b%', 'x', { audience: 'user' }));
  server.answer = (header) => `refused ${header.split(' ')[1]} 403 not for you`;
  const refused = outcome(loop.publish('chat', 'x'));
  server.answer = (header) => `dropped ${header.split(' ')[1]}`;
  const dropped = outcome(loop.publish('chat', 'x'));
  const large = outcome(loop.publish('chat', 'é'.repeat(490)));
  const fits = outcome(loop.publish('chat', 'é'.repeat(480)));
  server.answer = () => '';
  const pending = ['1', '2', '3', '4', '5'].map((it) => outcome(loop.publish('chat', it)));
  await settle();
  assert.equal(pending[0].now, null);
  server.socket.end();
  const away = outcome(loop.publish('chat', 'x'));
  await settle();
  assert.deepEqual([accepted.now, said.now], [true, true]);
  assert.deepEqual(refused.now, ['RefusedError', 403]);
  assert.deepEqual(dropped.now, ['DroppedError', undefined]);
  assert.deepEqual([large.now, fits.now], [['RefusedError', 413], ['DroppedError', undefined]]);
  const unknown = pending.slice(0, 4).map(({ now }) => now);
  assert.deepEqual(unknown, Array(4).fill(['DroppedError', undefined]));
  for (const { now } of [pending[4], away]) {
    assert.deepEqual(now, ['InvalidStateError', undefined], 'it was not sent');
  }
  assert.deepEqual(server.published, [
    ['chat', 'broadcast', 'hello\nyou'],
    ['a b%', 'user', 'x'],
  ]);
});

test('what no server could understand is refused at once', async (t) => {
  const { loop } = connected(t);
  for (const [facility, options] of [[''], [5], ['chat', { audience: 'all' }]]) {
    assert.throws(() => loop.subscribe(facility, options), TypeError);
    await assert.rejects(loop.publish(facility, 'x', options), TypeError);
  }
});

test('bytes are bytes, in both directions', async (t) => {
  for (const binaryType of ['arraybuffer', 'blob']) {
    const { loop, server } = connected(t, { binaryType });
    assert.equal(server.socket.binaryType, 'arraybuffer');
    const sent = [];
    server.socket.send = (data) => sent.push(data);
    for (const data of [new Uint8Array([10, 255]), new Uint8Array([10, 255]).buffer]) {
      loop.publish('chat', data);
      const bytes = new Uint8Array(await sent.pop().arrayBuffer());
      assert.deepEqual([...bytes.subarray(-3)], [10, 10, 255]);
      assert.match(String.fromCharCode(...bytes.subarray(0, -3)), /^publish \d broadcast chat$/);
    }
    const got = [];
    const text = new TextEncoder();
    loop.subscribe('café').addEventListener('message', ({ data }) => got.push(data));
    server.say('subscribed broadcast café -');
    const message = Uint8Array.of(...text.encode('message broadcast caf%c3%a9 -\n'), 10, 0, 255);
    server.say(message.buffer);
    const [data] = got;
    assert.equal(data.constructor.name, binaryType === 'blob' ? 'Blob' : 'ArrayBuffer');
    const bytes = new Uint8Array(binaryType === 'blob' ? await data.arrayBuffer() : data);
    assert.deepEqual([...bytes], [10, 0, 255]);
  }
});

test('a facility may have any characters', (t) => {
  const { loop, server } = connected(t);
  const facility = 'a b%20\n\x7f/é:🙂';
  const seen = follow(loop.subscribe(facility));
  assert.deepEqual(server.heard, ['subscribe 1 broadcast a%20b%2520%0A%7F/é:🙂']);
  server.publish('broadcast', 'one', facility);
  server.say('message broadcast a%20b%2520%0a%7f/é:🙂 2-0\ntwo');
  assert.deepEqual(seen, ['broadcast: one', 'broadcast: two']);
});

test('what a later server says besides is passed over', (t) => {
  const { loop, server } = connected(t);
  const seen = follow(loop.subscribe('chat'));
  ['beat', 'news', 'news a b c', 'ok 99', 'message broadcast other 1-0\nx', 'dropped 5',
    'stored user chat -\nx'].forEach((it) => server.say(it));
  assert.deepEqual([seen, loop.state], [[], 'open']);
});

test('a silent server is asked, and given up when it does not answer', (t) => {
  const { loop, server } = connected(t);
  const pings = () => server.heard.filter((it) => it.startsWith('ping')).length;
  for (let n = 0; n < 10; n += 1) {
    tick(3900);
    server.say('beat');
  }
  assert.equal(pings(), 0);
  tick(60000);
  assert.deepEqual([loop.state, pings() > 3], ['open', true], 'it has answered');
  const closes = [];
  loop.addEventListener('close', ({ code, reason }) => closes.push([code, reason]));
  server.answer = () => '';
  server.say('beat');
  tick(11999);
  assert.deepEqual([loop.state, closes], ['open', []]);
  tick(4001);
  assert.deepEqual(closes, [[1006, 'the server is silent']]);
  assert.equal(FakeWebSocket.all[0].readyState, 2);
  server.answer = () => null;
  tick(500);
  server.accept();
  assert.equal(loop.state, 'open');
});

test('a browser that is online again asks whether the connection has died', (t) => {
  const window = makeWindow(t);
  const { loop, server } = connected(t);
  window.fire('online');
  assert.equal(server.heard.length, 1);
  tick(60000);
  assert.equal(loop.state, 'open');
  server.answer = () => '';
  window.fire('online');
  tick(4000);
  assert.equal(loop.state, 'waiting');
});

test('close ends the subscriptions, and nothing can be asked for afterwards', async (t) => {
  const { loop, server } = connected(t);
  server.answer = (header) => (header.startsWith('sub') ? null : '');
  const subscription = loop.subscribe('chat');
  const seen = follow(subscription);
  const pending = outcome(loop.publish('chat', 'x'));
  loop.close();
  server.say('message broadcast chat 1-0\nlate');
  assert.deepEqual(seen, ['closed']);
  assert.throws(() => loop.subscribe('chat'), { name: 'InvalidStateError' });
  server.socket.end(1000);
  subscription.unsubscribe();
  await settle();
  assert.deepEqual([pending.now, seen], [['DroppedError', undefined], ['closed']]);
  assert.throws(() => loop.subscribe('chat'), { name: 'InvalidStateError' });
});

test('a listener may do anything', (t) => {
  const { loop, server } = connected(t);
  const subscription = loop.subscribe('chat');
  let last;
  subscription.addEventListener('state', ({ state }) => {
    if (state === 'connecting') {
      last = outcome(loop.publish('chat', 'x'));
      loop.subscribe('other');
      loop.reconnect();
    }
  });
  server.socket.end();
  tick(30000);
  server.accept();
  assert.deepEqual(server.heard.length, 2);
  subscription.addEventListener('message', () => loop.close());
  server.publish('broadcast', 'one');
  assert.deepEqual([loop.state, subscription.state], ['closing', 'closed']);
  return settle().then(() => assert.equal(last.now[0], 'InvalidStateError'));
});

/** A generator of numbers below `most`, the same for the same seed. */
function dice(seed) {
  let state = seed + 1;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

test('whatever is lost when, each message comes once and in order, or there is a gap', (t) => {
  for (let seed = 0; seed < 300; seed += 1) {
    const roll = dice(seed);
    const { loop, server } = connected(t, { explain: false });
    server.kept = 3 + roll(20);
    const told = [];
    const subscribe = () => {
      const subscription = loop.subscribe('chat');
      const seen = { subscription, numbers: [], gaps: 0, isFirst: true };
      subscription.addEventListener('gap', () => {
        seen.numbers.push('gap');
      });
      subscription.addEventListener('message', ({ data, stored }) => {
        if (!stored) {
          seen.numbers.push(Number(data));
        }
      });
      told.push(seen);
    };
    subscribe();
    let published = 0;
    for (let step = 0; step < 200; step += 1) {
      const what = roll(10);
      if (what < 6) {
        published += 1;
        server.publish('broadcast', String(published));
      } else if (what === 6 && FakeWebSocket.last.readyState === 1) {
        server.socket.end();
        server.listening.clear();
      } else if (what === 7 && FakeWebSocket.last.readyState === 0) {
        server.accept();
      } else if (what === 8) {
        tick(roll(3000));
      } else if (roll(4) === 0) {
        told.splice(roll(told.length), 1)[0]?.subscription.unsubscribe();
        subscribe();
      }
      for (const { numbers } of told) {
        for (let at = 1; at < numbers.length; at += 1) {
          const [a, b] = [numbers[at - 1], numbers[at]];
          const isRight = a === 'gap' || b === 'gap' || b === a + 1;
          assert.ok(isRight, `seed ${seed}: ${numbers.slice(0, at + 1)}`);
        }
        if (loop.state === 'open' && numbers.length > 0 && numbers.at(-1) !== 'gap') {
          assert.equal(numbers.at(-1), published, `seed ${seed}: the last has come`);
        }
      }
    }
    loop.close();
  }
});
