/**
 * Makes what pages load from `src/`: the module `wsloop.mjs`, and the classic script `wsloop.js` with
 * the same names as globals. `node build.mjs`
 *
 * Each is one file without comments and with short names, so that a page has one small request.
 * esbuild does that, of the version that tests/browser/package-lock.json says:
 * `npm ci --prefix tests/browser`.
 */

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ABOUT = '// wsloop, a WebSocket that comes back. MIT OR Apache-2.0. Made from src/ by build.mjs.';

/** The texts that the files should have, by their names. */
export function build() {
  const { buildSync } = createRequire(new URL('../../tests/browser/', import.meta.url))('esbuild');
  const made = (format, entry) => {
    const { outputFiles } = buildSync({
      ...{ stdin: { contents: entry, resolveDir: HERE }, bundle: true, write: false },
      ...{ format, minify: true, target: 'es2022', banner: { js: ABOUT } },
    });
    return outputFiles[0].text;
  };
  return {
    'wsloop.mjs': made('esm', "export * from './src/index.mjs'"),
    'wsloop.js': made('iife', "import * as all from './src/index.mjs'; Object.assign(globalThis, all)"),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(build())) {
    writeFileSync(new URL(name, import.meta.url), text);
  }
}
