/**
 * The command that the chat's page shows, run as it stands; see support.mjs.
 *
 * WSLOOP_REDIS_CLI       what it has to begin with; empty where there can be no command
 * WSLOOP_REDIS_PASSWORD  what redis-cli asks for, if it does
 */

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import { connected, expectMessages, expectNoProblems, freshRoom, open } from './support.mjs';

const { WSLOOP_REDIS_CLI, WSLOOP_REDIS_PASSWORD = '' } = process.env;

const cases = WSLOOP_REDIS_CLI === '' ? [] : ['lobby', `a/b ?&#%ü"<i>'$HOME\`id\`;\\-`];
for (const name of cases) {
  test(`the command publishes to the room ${name}`, async (t) => {
    const room = `${name}-${randomUUID()}`;
    const page = await open(t, { path: `/chat/?room=${encodeURIComponent(room)}` });
    await connected(page);
    const command = await page.locator('#command').textContent();
    assert.ok(command.startsWith(`${WSLOOP_REDIS_CLI} PUBLISH `), command);
    const done = spawnSync('sh', ['-c', command], { input: `${WSLOOP_REDIS_PASSWORD}\n` });
    assert.equal(done.status, 0, done.stderr.toString());
    assert.match(done.stdout.toString(), /\b1\n$/, 'the receivers');
    await expectMessages([page], ['hello']);
    expectNoProblems([page]);
  });
}

test('where there can be no command, the page says so', async (t) => {
  const page = await open(t, { path: freshRoom() });
  await connected(page);
  const isShown = WSLOOP_REDIS_CLI !== '';
  assert.equal(await page.getByRole('button', { name: 'Copy' }).isVisible(), isShown);
  assert.equal(await page.locator('#command').isVisible(), isShown);
  const hint = await page.locator('#hint').textContent();
  assert.match(hint, isShown ? /^Your backend is in this room too/ : /--resp and --redis/);
});
