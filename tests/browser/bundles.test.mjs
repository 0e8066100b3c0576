/**
 * The package as it is published, in what vite and webpack make of a page, and its types as tsc
 * reads them.
 *
 * WSLOOP_URL  base URL of the server
 */

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { build } from 'vite';
import webpack from 'webpack';

import { WSLoop } from '../../clients/js/wsloop.mjs';
import { chromium } from './browsers.mjs';
import { expectToHear } from './pages.mjs';
import { startSite } from './site.mjs';

const { WSLOOP_URL } = process.env;
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** An application that has the package among its own, as `npm install wsloop` puts it there. */
let project;

before(() => {
  project = mkdtempSync(join(tmpdir(), 'wsloop-bundles-'));
  const installed = join(project, 'node_modules/wsloop');
  mkdirSync(installed, { recursive: true });
  const pack = ['pack', '--ignore-scripts', '--silent', '--pack-destination', project];
  const packed = execFileSync('npm', pack, { cwd: here('../../clients/js'), encoding: 'utf8' });
  const [archive] = packed.split('\n');
  execFileSync('tar', ['-xzf', join(project, archive), '--strip-components=1', '-C', installed]);
  const page = readFileSync(here('site/page.mjs'), 'utf8');
  const main = page.replace("'/wsloop.mjs'", "'wsloop'");
  assert.notEqual(main, page);
  writeFileSync(join(project, 'main.js'), main);
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
});

after(() => rmSync(project, { recursive: true, force: true }));

const html = (script) => `<!doctype html>\n<title>A bundle</title>\n<script ${script}></script>\n`;

const builders = {
  async vite(folder) {
    writeFileSync(join(project, 'page.html'), html('type="module" src="main.js"'));
    await build({
      root: project,
      configFile: false,
      logLevel: 'silent',
      build: { outDir: folder, rollupOptions: { input: join(project, 'page.html') } },
    });
  },
  async webpack(folder) {
    const stats = await new Promise((done, fail) =>
      webpack(
        {
          mode: 'production',
          context: project,
          entry: './main.js',
          output: { path: folder, filename: 'bundle.js' },
        },
        (error, result) => (error ? fail(error) : done(result)),
      ));
    assert.deepEqual(stats.toJson().errors, []);
    assert.deepEqual(stats.toJson().warnings, []);
    writeFileSync(join(folder, 'page.html'), html('src="bundle.js"'));
  },
};

describe('a page that imports the package', () => {
  for (const [name, make] of Object.entries(builders)) {
    test(`is built by ${name}, and hears its room`, async () => {
      const folder = join(project, `dist-${name}`);
      await make(folder);
      const site = await startSite(WSLOOP_URL, { folders: [pathToFileURL(`${folder}/`)] });
      try {
        const browser = await chromium();
        try {
          const room = `/ws/${randomUUID()}?subscribe-broadcast&publish-broadcast&echo`;
          await expectToHear(await browser.open(site.page([room])));
        } finally {
          await browser.end();
        }
      } finally {
        await site.end();
      }
    });
  }
});

describe('the types', () => {
  const tsc = (source, ...options) => {
    writeFileSync(join(project, 'sample.ts'), source);
    const fixed = ['--noEmit', '--strict', '--lib', 'es2022,dom', '--types', ''];
    return spawnSync(here('node_modules/.bin/tsc'), [...fixed, ...options, 'sample.ts'], {
      cwd: project,
      encoding: 'utf8',
    });
  };
  const sample = readFileSync(here('types.ts'), 'utf8');

  for (const resolution of ['bundler', 'nodenext']) {
    test(`are right for ${resolution}`, () => {
      const options = ['--moduleResolution', resolution];
      const module = resolution === 'bundler' ? 'esnext' : resolution;
      const { status, stdout } = tsc(sample, ...options, '--module', module);
      assert.equal(`${stdout}${status}`, '0');
    });
  }

  test('have every method', () => {
    const declared = readFileSync(here('../../clients/js/wsloop.d.ts'), 'utf8');
    const made = Object.getOwnPropertyNames(WSLoop.prototype);
    const missing = made.filter((name) => !new RegExp(`^  .*\\b${name}[(:]`, 'm').test(declared));
    assert.deepEqual(missing, []);
  });
});
