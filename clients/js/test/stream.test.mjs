import assert from 'node:assert/strict';
import { test } from 'node:test';

import { WSLoop } from '../wsloop.mjs';
import {
  FakeRequest,
  FakeStream,
  FakeWebSocket,
  install,
  makeWindow,
  record,
  settle,
  tick,
} from './fake.mjs';
import { Server, follow } from './server.mjs';

const URI = 'ws://host/ws/';

/** Waits for the next attempt. */
async function next(loop) {
  while (loop.state === 'waiting') {
    tick(100);
  }
  await settle();
}

/** Lets two WebSockets fail. */
async function block(loop) {
  for (let n = 0; n < 2; n += 1) {
    assert.equal(FakeWebSocket.last.readyState, 0);
    FakeWebSocket.last.end();
    await next(loop);
  }
}

/** A loop on a stream, the server behind it, and the subscriptions that it began with. */
async function streaming(t, { facilities = ['chat'], ...options } = {}) {
  const { die } = install(t);
  const loop = new WSLoop(URI, options);
  const subscriptions = facilities.map((facility) => loop.subscribe(facility));
  const server = new Server();
  await block(loop);
  server.acceptStream();
  await settle();
  assert.deepEqual([loop.state, loop.transport], ['open', 'stream']);
  return { loop, server, die, subscriptions };
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

const queryOf = ({ url }) => [...new URL(url).searchParams].map((pair) => pair.join('='));
const posts = () => FakeRequest.all.filter(({ method }) => method === 'POST');

test('after two WebSockets that never opened there is a stream, for all topics', async (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const seen = record(loop);
  loop.addEventListener('transport', ({ transport }) => seen.push(transport));
  const chat = loop.subscribe('chat');
  const mine = loop.subscribe('a b%/é?&#', { audience: 'user' });
  const told = [chat, mine].map(follow);
  assert.equal(loop.transport, null);
  const server = new Server();
  server.publish('broadcast', 'stored');
  await block(loop);
  const [request, ...others] = FakeRequest.all;
  assert.deepEqual([others, FakeWebSocket.all.length], [[], 2]);
  assert.equal(request.url.split('?')[0], 'http://host/ws/');
  assert.deepEqual(queryOf(request), ['topic=broadcast chat', 'topic=user a%20b%25/é?&#']);
  assert.deepEqual(request.headers, { Accept: 'text/event-stream' });
  assert.deepEqual([loop.state, loop.get_state()], ['connecting', 0]);
  seen.length = 0;
  server.acceptStream();
  await settle();
  assert.deepEqual(seen, ['open', 'state open', 'stream']);
  assert.deepEqual([loop.transport, loop.get_state()], ['stream', 1]);
  assert.deepEqual(told, [['broadcast stored: stored', 'open'], ['open']]);
  server.publish('user', 'one', 'a b%/é?&#');
  await settle();
  assert.deepEqual(told[1], ['open', 'user: one']);
});

test('one that opened in between counts, and so does every other kind of end', async (t) => {
  install(t);
  const loop = new WSLoop(URI);
  loop.subscribe('chat');
  const fail = () => (FakeWebSocket.last.end(), next(loop));
  for (const between of [
    () => (new Server().accept(), FakeWebSocket.last.end()),
    () => (FakeWebSocket.last.accept(), FakeWebSocket.last.end(4429, 'too many')),
  ]) {
    await fail();
    between();
    await next(loop);
    await fail();
    assert.deepEqual(FakeRequest.all, []);
    new Server().accept();
    FakeWebSocket.last.end();
    await next(loop);
  }
  await fail();
  // It never spoke.
  FakeWebSocket.last.accept();
  tick(15000);
  await next(loop);
  assert.equal(FakeRequest.all.length, 1);
});

test('who does not want streams, and who has one facility or ws4redis, gets none', async (t) => {
  install(t);
  for (const [index, [uri, options]] of [
    [URI, { streams: false }],
    ['ws://host/ws/chat?subscribe-broadcast', {}],
  ].entries()) {
    const loop = new WSLoop(uri, options);
    for (let n = 0; n < 6; n += 1) {
      FakeWebSocket.last.end();
      await next(loop);
    }
    assert.deepEqual([FakeRequest.all, loop.transport], [[], null]);
    assert.equal(FakeWebSocket.all.length, 7 * (index + 1));
    loop.close();
  }
});

test('two streams that never open are followed by WebSockets', async (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const seen = record(loop);
  const reasons = [];
  loop.addEventListener('close', ({ reason }) => reasons.push(reason));
  loop.subscribe('chat');
  for (const [n, [fail, why]] of [
    [() => FakeRequest.last.respond(403, 'no'), 'status 403'],
    [() => FakeRequest.last.respond(502, 'no'), 'status 502'],
    [() => FakeRequest.last.fail(new TypeError('Failed to fetch')), 'Failed to fetch'],
    [
      () => FakeRequest.last.respond(200, '<h1>Welcome to our hotel</h1>\n\n'),
      'the stream has ended',
    ],
    [() => tick(15000), 'no answer'],
  ].entries()) {
    await block(loop);
    for (let time = 1; time <= 2; time += 1) {
      assert.deepEqual([FakeRequest.all.length, FakeWebSocket.all.length], [2 * n + time, 2 * n + 2]);
      seen.length = 0;
      fail();
      await settle();
      assert.deepEqual(seen.slice(0, 2), ['close 1006', 'state waiting']);
      assert.equal(reasons.at(-1), why);
      await next(loop);
    }
    assert.equal(FakeWebSocket.all.length, 2 * n + 3);
    assert.deepEqual(FakeRequest.streams.filter(({ signal }) => !signal.aborted), []);
  }
  new Server().accept();
  assert.equal(loop.transport, 'websocket');
});

test('a message is what was published, whatever is in it and however it is cut', async (t) => {
  const { server, subscriptions: [chat] } = await streaming(t);
  const got = [];
  chat.addEventListener('message', ({ data }) => got.push(data));
  const texts = ['one', 'two\nlines', '\n', '  blanks', 'a\rb', '\u2028\u0085', 'data: x\n\nevent: a', '☃'];
  for (const text of texts) {
    server.publish('broadcast', text);
  }
  const bytes = new TextEncoder().encode('data: message broadcast chat -\ndata: é☃\n\n: x\n\n');
  for (const byte of bytes) {
    server.socket.writeBytes(Uint8Array.of(byte));
  }
  server.say(Uint8Array.of(...new TextEncoder().encode('message broadcast chat -\n'), 10, 0, 255));
  await settle();
  const last = got.pop();
  assert.deepEqual(got, [...texts, 'é☃']);
  assert.deepEqual([last.constructor.name, ...new Uint8Array(last)], ['ArrayBuffer', 10, 0, 255]);
});

test('a refusal of the server is that of its topic, and what may change is asked again', async (t) => {
  install(t);
  const loop = new WSLoop(URI, { explain: false });
  const [first, second, third] = ['a', 'b', 'c'].map((it) => loop.subscribe(it));
  const server = new Server();
  await block(loop);
  server.answer = (header) => {
    const [, place, , facility] = header.split(' ');
    const answers = { b: `refused ${place} 403 not for you: 2 or 3`, c: `refused ${place} 503 later` };
    return answers[facility] ?? null;
  };
  server.acceptStream();
  await settle();
  assert.deepEqual([first.state, second.state, third.state], ['open', 'refused', 'connecting']);
  assert.deepEqual([second.error.status, second.error.message], [403, 'not for you: 2 or 3']);
  assert.equal(FakeRequest.all.length, 1);
  tick(1000);
  await settle();
  assert.equal(FakeRequest.all.length, 2);
  server.acceptStream();
  await settle();
  server.answer = () => null;
  loop.subscribe('d');
  await settle();
  server.acceptStream();
  await settle();
  assert.deepEqual([first.state, second.state, third.state], ['open', 'open', 'open']);
  tick(10000);
  await settle();
  assert.equal(FakeRequest.all.length, 3, 'it need not be asked again');
});

test('all that may change is asked again by one request, ever more seldom', async (t) => {
  install(t);
  const loop = new WSLoop(URI, { explain: false });
  const facilities = Array.from({ length: 60 }, (_, n) => `chat${n}`);
  const subscriptions = facilities.map((facility) => loop.subscribe(facility));
  const server = new Server();
  server.answer = (header) => `refused ${header.split(' ')[1]} 503 Redis is away`;
  await block(loop);
  let rolled = 0.9;
  Math.random = () => (rolled = (rolled + 0.37) % 1);
  let answered = 0;
  const pass = async (seconds) => {
    for (let n = 0; n < seconds * 10; n += 1) {
      if (FakeRequest.all.length > answered) {
        answered = FakeRequest.all.length;
        server.acceptStream();
        await settle();
      }
      FakeWebSocket.live.forEach((it) => it.end());
      tick(100);
      await settle();
    }
  };
  await pass(120);
  assert.ok(answered > 4 && answered < 14, `${answered} requests`);
  server.answer = () => null;
  await pass(31);
  assert.deepEqual(subscriptions.filter(({ state }) => state !== 'open'), []);
  const { length } = FakeRequest.all;
  await pass(60);
  assert.equal(FakeRequest.all.length, length);
});

test('another topic is another stream, one for all that change, behind what was heard', async (t) => {
  const { loop, server, subscriptions: [chat] } = await streaming(t);
  const told = follow(chat);
  server.publish('broadcast', 'one');
  await settle();
  const [old] = FakeRequest.all;
  const others = ['a', 'b', 'b', 'c'].map((facility) => loop.subscribe(facility));
  others.pop().unsubscribe();
  assert.equal(old.signal.aborted, true);
  await settle();
  assert.equal(FakeRequest.all.length, 2);
  assert.deepEqual(queryOf(FakeRequest.last), [
    ...['chat', 'a', 'b'].map((it) => `topic=broadcast ${it}`),
    'since=broadcast chat 1-0',
  ]);
  server.publish('broadcast', 'two');
  server.acceptStream();
  await settle();
  assert.deepEqual(told, ['broadcast: one', 'connecting', 'broadcast: two', 'open']);
  assert.deepEqual(others.map(({ state }) => state), ['open', 'open', 'open']);
  others[0].unsubscribe();
  const again = loop.subscribe('a');
  await settle();
  assert.deepEqual(queryOf(FakeRequest.last).slice(0, 3), [
    ...['chat', 'b', 'a'].map((it) => `topic=broadcast ${it}`),
  ]);
  server.acceptStream();
  await settle();
  assert.deepEqual([loop.state, again.state, FakeRequest.streams.length], ['open', 'open', 1]);
});

test('where not all positions have room in a URL, the others are gaps', async (t) => {
  const facilities = Array.from({ length: 16 }, (_, n) => `chat${n}`);
  for (const status of [414, 431]) {
    const { loop, server, subscriptions } = await streaming(t, { facilities });
    facilities.forEach((facility) => server.publish('broadcast', 'one', facility));
    await settle();
    const told = subscriptions.map(follow);
    const since = () => new URL(FakeRequest.last.url).searchParams.get('since') ?? '';
    loop.subscribe('more');
    await settle();
    const whole = since();
    facilities.forEach((facility) => server.publish('broadcast', 'two', facility));
    const { length } = FakeRequest.all;
    FakeRequest.last.respond(status);
    await settle();
    assert.ok(since().length > whole.length / 3 && since().length <= whole.length / 2);
    assert.equal(queryOf(FakeRequest.last).length, 18, 'all topics');
    FakeRequest.last.respond(status);
    await settle();
    const count = since().split('broadcast').length - 1;
    assert.ok(count > 2 && count < 6, `${count} have room`);
    server.acceptStream();
    await settle();
    assert.deepEqual([FakeRequest.all.length, loop.state], [length + 2, 'open']);
    for (const [n, it] of told.entries()) {
      const expected = n < count
        ? ['connecting', 'broadcast: two', 'open']
        : ['connecting', 'gap broadcast', 'broadcast stored: two', 'open'];
      assert.deepEqual(it, expected);
      it.length = 0;
    }
    loop.subscribe('other');
    await settle();
    const next = since().split('broadcast').length - 1;
    assert.ok(next > 1 && next <= count, 'no more are tried');
    loop.close();
    await settle();
  }
});

test('a URL that is too long without any position is a stream that failed', async (t) => {
  const { loop, server } = await streaming(t);
  server.publish('broadcast', 'one');
  await settle();
  loop.subscribe('more');
  await settle();
  for (let n = 0; n < 2; n += 1) {
    assert.equal(loop.state, 'open');
    FakeRequest.last.respond(431);
    await settle();
  }
  assert.equal(loop.state, 'waiting');
  assert.equal(new URL(FakeRequest.last.url).searchParams.get('since'), null);
});

test('of a stream that is replaced nothing is heard that has come already', async (t) => {
  const { loop, server, subscriptions: [chat] } = await streaming(t);
  const [told, again] = [follow(chat), []];
  chat.addEventListener('message', () => {
    chat.unsubscribe();
    again.push(...[loop.subscribe('chat')].map(follow));
  });
  // They arrive together.
  const { socket } = server;
  const sent = [];
  socket.write = (text) => sent.push(text);
  server.publish('broadcast', 'one');
  server.publish('broadcast', 'two');
  socket.writeBytes(new TextEncoder().encode(sent.join('')));
  await settle();
  server.acceptStream();
  await settle();
  assert.deepEqual([told, again], [
    ['broadcast: one', 'closed'],
    [['broadcast stored: two', 'open']],
  ]);
});

test('what is subscribed while a stream is being opened is heard', async (t) => {
  install(t);
  const loop = new WSLoop(URI);
  const server = new Server();
  loop.subscribe('left').unsubscribe();
  const first = loop.subscribe('first');
  await block(loop);
  const second = loop.subscribe('second');
  first.unsubscribe();
  server.acceptStream();
  await settle();
  assert.deepEqual(queryOf(FakeRequest.last), ['topic=broadcast second']);
  server.acceptStream();
  await settle();
  assert.deepEqual([second.state, FakeRequest.all.length], ['open', 2]);
});

test('what is left before the server answers can be subscribed again', async (t) => {
  const { loop, server } = await streaming(t, { facilities: [] });
  const slow = loop.subscribe('slow');
  await settle();
  server.answer = () => '';
  server.acceptStream();
  await settle();
  slow.unsubscribe();
  server.answer = () => null;
  const { length } = FakeRequest.all;
  const more = loop.subscribe('more');
  await settle();
  server.acceptStream();
  await settle();
  const again = loop.subscribe('slow');
  await settle();
  server.acceptStream();
  await settle();
  assert.deepEqual([more.state, again.state, FakeRequest.all.length], ['open', 'open', length + 2]);
});

test('without a topic there is a stream as well', async (t) => {
  const { loop, server } = await streaming(t, { facilities: [] });
  assert.deepEqual(queryOf(FakeRequest.last), []);
  const chat = loop.subscribe('chat');
  await settle();
  server.acceptStream();
  await settle();
  assert.equal(chat.state, 'open');
});

test('a publish is a POST, one after the other, and the page hears what became of it', async (t) => {
  const { loop } = await streaming(t);
  const said = [];
  for (const [status, text, expected] of [
    [202, '', true],
    [403, 'not for\nyou', ['RefusedError', 403]],
    [429, 'later', ['RefusedError', 429]],
    [503, 'The broker is away; try again later.', ['RefusedError', 503]],
    [503, 'It is not known.', ['DroppedError', undefined]],
    [502, 'Bad gateway', ['DroppedError', undefined]],
  ]) {
    const it = outcome(loop.publish('chat/a b\\?#%é', `text\n${status}`, { audience: 'user' }));
    const more = outcome(loop.publish('chat', Uint8Array.of(1, 2)));
    await settle();
    said.push(posts().at(-1));
    assert.equal(posts().length, said.length, 'the other one waits');
    said.at(-1).respond(status, text);
    await settle();
    assert.deepEqual(it.now, expected);
    said.push(posts().at(-1));
    said.at(-1).fail(new TypeError('Failed to fetch'));
    await settle();
    assert.deepEqual(more.now, ['DroppedError', undefined]);
  }
  const large = outcome(loop.publish('chat', 'x'.repeat(1000)));
  await settle();
  assert.deepEqual([large.now, posts().length], [['RefusedError', 413], said.length]);
  const [text, bytes] = said;
  const { href } = new URL(text.url);
  assert.equal(href, 'http://host/ws/chat/a%20b%5C%3F%23%25%C3%A9?publish-user&');
  assert.deepEqual([text.body, [...bytes.body]], ['text\n202', [1, 2]]);
  assert.equal(bytes.url, 'http://host/ws/chat?publish-broadcast&');
});

test('a publish goes to the URL of its facility, or nowhere', async (t) => {
  const { loop } = await streaming(t);
  for (const facility of ['.', '..', '../metrics', 'a/../b', 'a/./b', 'a/..', '/..', '../../x?y']) {
    const it = outcome(loop.publish(facility, 'x'));
    await settle();
    assert.deepEqual([it.now, posts()], [['RefusedError', 400], []], facility);
  }
  for (const facility of ['...', '.a', 'a.', 'a/..b', '%2e%2e/b', '..\\b', '.\t.', '..?', '/a']) {
    outcome(loop.publish(facility, 'x'));
    await settle();
    const { pathname } = new URL(posts().at(-1).url);
    assert.equal(decodeURIComponent(pathname), `/ws/${facility}`);
    posts().at(-1).respond(202);
    await settle();
  }
});

test('what waits behind another publish when the stream is lost is not sent', async (t) => {
  const { loop, server } = await streaming(t);
  const [first, second] = ['1', '2'].map((text) => outcome(loop.publish('chat', text)));
  await settle();
  server.socket.end();
  await settle();
  assert.deepEqual([first.now, second.now].flat(), ['DroppedError', undefined, 'DroppedError', undefined]);
  posts()[0].respond(202);
  await settle();
  assert.equal(posts().length, 1);
  await assert.rejects(loop.publish('chat', 'x'), { name: 'InvalidStateError' });
});

test('a token is in a header, or where the page wants it', async (t) => {
  for (const [options, headers, query] of [
    [{ token: 'abc' }, { Authorization: 'Bearer abc' }, []],
    [{ token: () => 'abc' }, { Authorization: 'Bearer abc' }, []],
    [{ token: 'a&b', tokenIn: 'query' }, {}, ['token=a&b']],
  ]) {
    install(t);
    const loop = new WSLoop(URI, options);
    loop.subscribe('chat');
    await settle();
    await block(loop);
    assert.deepEqual(FakeRequest.last.headers, { ...headers, Accept: 'text/event-stream' });
    assert.deepEqual(queryOf(FakeRequest.last), ['topic=broadcast chat', ...query]);
    new Server().acceptStream();
    await settle();
    outcome(loop.publish('chat', 'x'));
    await settle();
    assert.deepEqual(FakeRequest.last.headers, headers);
    assert.deepEqual(queryOf(FakeRequest.last), ['publish-broadcast=', ...query]);
    loop.close();
    await settle();
  }
});

test('it comes back to a WebSocket, and nothing is missed or comes twice', async (t) => {
  const { loop, server, subscriptions: [chat] } = await streaming(t);
  const told = follow(chat);
  const seen = record(loop);
  loop.addEventListener('transport', ({ transport }) => seen.push(transport));
  server.publish('broadcast', 'one');
  await settle();
  tick(22499);
  assert.equal(FakeWebSocket.all.length, 2);
  tick(1);
  assert.equal(FakeWebSocket.all.length, 3);
  server.publish('broadcast', 'two');
  await settle();
  const [stream] = FakeRequest.streams;
  const pending = outcome(loop.publish('chat', 'on the way'));
  await settle();
  // It comes, but is not read before the WebSocket is open.
  server.publish('broadcast', 'three');
  server.accept();
  assert.equal(stream.signal.aborted, true);
  await settle();
  assert.deepEqual(server.heard.map((it) => it.replace(/ \d+/, '')), [
    'subscribe broadcast chat broadcast 2-0',
  ]);
  server.publish('broadcast', 'four');
  assert.deepEqual(told.filter((it) => it.includes(':')), [
    ...['one', 'two', 'three', 'four'].map((it) => `broadcast: ${it}`),
  ]);
  assert.deepEqual([seen, loop.state], [['websocket'], 'open']);
  assert.deepEqual([pending.now, loop.transport], [null, 'websocket']);
  posts()[0].respond(202);
  await settle();
  assert.equal(pending.now, true);
  tick(10000);
  assert.equal(FakeWebSocket.all.length, 3);
  server.socket.end();
  await next(loop);
  await block(loop);
  server.acceptStream();
  await settle();
  tick(20000);
  // Another stream does not put it off.
  loop.subscribe('more');
  await settle();
  server.acceptStream();
  await settle();
  tick(2499);
  assert.equal(FakeWebSocket.all.length, 5);
  tick(1);
  assert.equal(FakeWebSocket.all.length, 6, 'as at first');
});

test('the switch leaves no command open that nobody answers', async (t) => {
  const { loop, server } = await streaming(t, { facilities: [] });
  for (let n = 0; n < 10; n += 1) {
    loop.subscribe(`chat${n}`).unsubscribe();
    loop.subscribe(`other${n}`);
  }
  await settle();
  tick(30000);
  server.accept();
  assert.deepEqual(server.heard.length, 10);
});

test('WebSockets are tried ever more seldom, one at a time, and at once when online', async (t) => {
  const window = makeWindow(t);
  const { loop, server, die } = await streaming(t);
  die.value = 1;
  tick(22500);
  let count = 3;
  for (const wait of [60000, 120000, 240000, 300000, 300000]) {
    assert.equal(FakeWebSocket.all.length, count);
    if (count % 2 === 0) {
      FakeWebSocket.last.end();
    }
    for (let passed = 0; passed < wait; passed += 30000) {
      server.socket.write(':\n\n');
      await settle();
      assert.ok(FakeWebSocket.live.length < 2);
      tick(30000);
    }
    count += 1;
  }
  assert.deepEqual([loop.state, FakeWebSocket.all.length], ['open', count]);
  window.fire('online');
  await settle();
  assert.equal(FakeWebSocket.all.length, count + 1);
  assert.equal(FakeRequest.all.length, 2, 'the stream may have died');
  server.acceptStream();
  await settle();
  assert.deepEqual([loop.state, FakeRequest.streams.length], ['open', 1]);
});

test('a stream ends as a WebSocket does', async (t) => {
  for (const [end, expected] of [
    [(it) => it.end(), [1006, 'the stream has ended', false, 'waiting']],
    [(it) => it.write('event: close\ndata: 1012 restarts\n\n'), [1012, 'restarts', true, 'waiting']],
    [(it) => it.write('event: close\ndata: 1001 \n\n'), [1001, '', true, 'waiting']],
    [(it) => it.write('event: close\ndata: 4401 too old\n\n'), [4401, 'too old', true, 'closed']],
    [(it) => it.write('event: close\ndata: 4403 no\n\n'), [4403, 'no', true, 'closed']],
  ]) {
    const { loop, server, subscriptions: [chat] } = await streaming(t, { explain: false });
    const closes = [];
    loop.addEventListener('close', ({ code, reason, wasClean }) =>
      closes.push(code, reason, wasClean, loop.state));
    end(server.socket);
    server.socket.write('data: message broadcast chat 9-0\ndata: late\n\n');
    await settle();
    assert.deepEqual(closes, expected);
    assert.equal(FakeRequest.streams.length, 0);
    if (loop.state === 'waiting') {
      await next(loop);
      assert.equal(FakeWebSocket.all.length, 2, 'the next one is a stream too');
      server.acceptStream();
      await settle();
      assert.deepEqual([loop.state, chat.state], ['open', 'open']);
    }
    loop.close();
  }
});

test('a stream comes back as a stream when a server that restarts fails once', async (t) => {
  const { loop, server } = await streaming(t);
  for (let n = 0; n < 3; n += 1) {
    server.socket.end();
    await settle();
    await next(loop);
    FakeRequest.last.fail(new TypeError('Failed to fetch'));
    await settle();
    await next(loop);
    server.acceptStream();
    await settle();
    assert.deepEqual([loop.state, loop.transport, FakeWebSocket.all.length], ['open', 'stream', 2]);
  }
});

test('a stream that is silent for too long is given up', async (t) => {
  const { loop, server } = await streaming(t);
  for (let n = 0; n < 10; n += 1) {
    tick(30000);
    server.socket.write(':\n\n');
    await settle();
  }
  assert.equal(loop.state, 'open');
  tick(119999);
  assert.equal(loop.state, 'open');
  tick(1);
  assert.equal(loop.state, 'waiting');
  loop.close();
  const patient = new Server();
  patient.limits = 'commands=4 beat=100';
  const second = new WSLoop(URI);
  await block(second);
  patient.acceptStream();
  await settle();
  tick(399999);
  assert.equal(second.state, 'open');
  tick(1);
  assert.equal(second.state, 'waiting');
});

test('close ends it for good, and so does leaving the page', async (t) => {
  const window = makeWindow(t);
  const { loop, server, subscriptions: [chat] } = await streaming(t);
  tick(30000);
  window.fire('pagehide', { persisted: true });
  assert.deepEqual([FakeRequest.streams.length, FakeWebSocket.live.length], [0, 0]);
  window.fire('pageshow', { persisted: true });
  assert.equal(FakeWebSocket.live.length, 1);
  await block(loop);
  server.acceptStream();
  await settle();
  tick(30000);
  const seen = record(loop);
  loop.close();
  assert.deepEqual([seen, chat.state], [['state closing'], 'closed']);
  await settle();
  assert.deepEqual(seen, ['state closing', 'close 1000', 'state closed']);
  assert.deepEqual([FakeRequest.streams.length, FakeWebSocket.live.length], [0, 0]);
  const count = FakeWebSocket.all.length;
  tick(600000);
  assert.equal(FakeWebSocket.all.length, count);
  // While it is being opened, too.
  const second = new WSLoop(URI);
  await block(second);
  second.close();
  await settle();
  assert.deepEqual([second.state, FakeRequest.streams.length], ['closed', 0]);
});

/** A generator of numbers below `most`, the same for the same seed. */
function dice(seed) {
  let state = seed + 1;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

test('whatever gets through when, each message comes once and in order', async (t) => {
  let [streams, sockets] = [0, 0];
  for (let seed = 0; seed < 60; seed += 1) {
    const roll = dice(seed);
    install(t);
    const loop = new WSLoop(URI, { explain: false });
    loop.addEventListener('transport', ({ transport }) =>
      (transport === 'stream' ? (streams += 1) : (sockets += 1)));
    const server = new Server();
    const numbers = [];
    const others = [];
    const chat = loop.subscribe('chat');
    chat.addEventListener('message', ({ data, stored }) => stored || numbers.push(Number(data)));
    const answered = new Set();
    let published = 0;
    for (let step = 0; step < 150; step += 1) {
      const what = roll(12);
      const socket = FakeWebSocket.live.at(-1);
      const request = FakeRequest.streams.at(-1);
      if (what < 5) {
        published += 1;
        server.publish('broadcast', String(published));
      } else if (what < 7 && request && !answered.has(request)) {
        answered.add(request);
        server.acceptStream(request);
      } else if (what === 7 && socket?.readyState === 0 && seed % 3 > 0) {
        roll(2) === 0 ? server.accept(socket) : socket.end();
      } else if (what === 8 && roll(3) === 0) {
        server.listening.clear();
        server.socket?.end();
      } else if (what === 9) {
        tick(roll(20000));
      } else if (what === 10 && roll(3) === 0) {
        others.push(loop.subscribe(`other${roll(3)}`));
      } else if (what === 11 && roll(3) === 0) {
        others.pop()?.unsubscribe();
      }
      if (roll(3) === 0) {
        await settle();
      }
      const expected = numbers.map((_, index) => numbers[0] + index);
      assert.deepEqual(numbers, expected, `seed ${seed}, step ${step}`);
    }
    const isDue = () =>
      chat.state !== 'open' || FakeRequest.streams.some((it) => !answered.has(it));
    await settle();
    for (let n = 0; n < 100 && isDue(); n += 1) {
      tick(1000);
      await settle();
      const request = FakeRequest.streams.at(-1);
      if (request && !answered.has(request)) {
        answered.add(request);
        server.acceptStream(request);
      }
      await settle();
    }
    server.publish('broadcast', String(published + 1));
    await settle();
    assert.equal(numbers.at(-1), published + 1, `seed ${seed}: the last has come`);
    assert.deepEqual(numbers, numbers.map((_, index) => numbers[0] + index), `seed ${seed}`);
    loop.close();
    await settle();
  }
  assert.ok(streams > 50 && sockets > 25, `${streams} streams, ${sockets} WebSockets`);
});
