import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createContext, runInContext } from 'node:vm';
import { gzipSync } from 'node:zlib';

import { build } from '../build.mjs';
import * as module from '../wsloop.mjs';
import { FakeWebSocket, fakes, install, tick } from './fake.mjs';

const script = readFileSync(new URL('../wsloop.js', import.meta.url), 'utf8');

/** A page of its own: the classic script is all it has loaded, and jQuery is not there. */
function page() {
  const context = createContext({ ...fakes, EventTarget, Event, MessageEvent, URL, Math });
  runInContext(script, context);
  return (code) => runInContext(code, context);
}

/** How many bytes it has by each zlib that is here: a Node with its own makes less of it. */
function compressed(text) {
  const sizes = { node: gzipSync(text, { level: 6 }).length };
  const python = 'import sys,zlib;sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read(),6))';
  for (const [by, ...words] of [['gzip', '-n6'], ['python3', '-c', python]]) {
    const { status, stdout } = spawnSync(by, words, { input: text });
    if (status === 0) {
      sizes[by] = stdout.length;
    }
  }
  return sizes;
}

test('what pages load is what build.mjs makes of src/, and at most 6 KB of it, gzipped', () => {
  for (const [name, text] of Object.entries(build())) {
    const made = readFileSync(new URL(`../${name}`, import.meta.url), 'utf8');
    assert.equal(made, text, `${name} is stale: run \`node build.mjs\``);
    for (const [by, size] of Object.entries(compressed(made))) {
      assert.ok(size <= 6000, `${name} has ${size} bytes by ${by}`);
    }
  }
});

test('the classic script defines what the module exports, and nothing else', (t) => {
  install(t);
  const run = page();
  const defined = run('Object.keys(globalThis)').filter((name) => !(name in globalThis));
  assert.deepEqual([...defined].sort(), Object.keys(module).sort());
  assert.equal(run('typeof CLOSE_WAIT'), 'undefined');
});

test('a page written for ws4redis runs unchanged', (t) => {
  install(t);
  const run = page();
  run(`
    var seen = [];
    function on_connecting() { seen.push('connecting'); }
    function on_connected() { seen.push('connected'); ws4redis.send_message('Hello'); }
    function on_disconnected(evt) { seen.push('disconnected ' + evt.code); }
    function receiveMessage(msg) { seen.push('message ' + msg); }
    var ws4redis = WS4Redis({
      uri: 'ws://host/ws/foobar?subscribe-broadcast&publish-broadcast&echo',
      connecting: on_connecting,
      connected: on_connected,
      receive_message: receiveMessage,
      disconnected: on_disconnected,
      heartbeat_msg: '--heartbeat--'
    }, null);
  `);
  const socket = FakeWebSocket.last;
  assert.equal(run('ws4redis.is_connecting()'), true);
  socket.accept();
  assert.equal(run('ws4redis.is_connected()'), true);
  assert.equal(run('ws4redis.get_state()'), 1);
  socket.receive('Hello');
  socket.receive('--heartbeat--');
  tick(5000);
  socket.end(1001);
  assert.equal(run('ws4redis.is_closed()'), true);
  tick(500);
  FakeWebSocket.last.accept();
  run('ws4redis.close()');
  assert.equal(run('ws4redis.is_closing()'), true);
  FakeWebSocket.last.end(1000);
  tick(60000);
  assert.deepEqual([...run('seen')], [
    'connecting',
    'connected',
    'message Hello',
    'disconnected 1001',
    'connecting',
    'connected',
    'disconnected 1000',
  ]);
  assert.deepEqual(socket.sent, ['Hello', '--heartbeat--']);
  assert.equal(FakeWebSocket.all.length, 2);
});

test('with new, without it, as a method of an object, and without a uri', (t) => {
  install(t);
  const { WS4Redis, WSLoop } = module;
  const options = { uri: 'ws://host/' };
  for (const made of [new WS4Redis(options), WS4Redis(options, {}), module.WS4Redis(options)]) {
    assert.ok(made instanceof WS4Redis);
    assert.ok(made instanceof WSLoop);
  }
  for (const wrong of [{}, undefined, null, { uri: undefined }]) {
    assert.throws(() => WS4Redis(wrong, null), /needs the URI/);
    assert.throws(() => new WS4Redis(wrong), /needs the URI/);
  }
});

test('methods work without their object, and close ignores the click event it is given', (t) => {
  install(t);
  const { send_message, close, is_connected, get_state } = module.WS4Redis({ uri: 'ws://host/' });
  FakeWebSocket.last.accept();
  assert.equal(is_connected(), true);
  assert.equal(get_state(), 1);
  send_message('x');
  close({ type: 'click' });
  assert.deepEqual(FakeWebSocket.last.sent, ['x']);
  assert.deepEqual(FakeWebSocket.last.closedWith, { code: 1000, reason: '' });
});
