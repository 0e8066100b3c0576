import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const read = (name) => readFileSync(new URL(`../chat/${name}`, import.meta.url), 'utf8');

test('the server finds each setting that it fills in exactly once', () => {
  const page = read('index.html');
  for (const setting of [
    '<meta name="wsloop-url-prefix" content="/ws/">',
    '<meta name="wsloop-heartbeat" content="">',
    '<meta name="wsloop-prefix" content="">',
    '<meta name="wsloop-redis-cli" content="redis-cli">',
  ]) {
    assert.equal(page.split(setting).length - 1, 1, setting);
  }
});

test('the page has no inline script or style, and needs nothing from elsewhere', () => {
  const page = read('index.html');
  assert.doesNotMatch(page, /<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)/i);
  const loaded = [...page.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address);
  assert.deepEqual(
    loaded.filter((address) => !address.startsWith('data:')),
    ['chat.css', 'chat.js'],
  );
  assert.doesNotMatch(read('chat.css'), /@import|url\(/);
  assert.deepEqual(read('chat.js').match(/from '.*'/g), ["from '../wsloop.mjs'"]);
  assert.doesNotMatch(read('chat.js'), /innerHTML|outerHTML|insertAdjacentHTML|document\.write/);
});
