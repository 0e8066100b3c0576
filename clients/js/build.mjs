/**
 * Makes what pages load from `src/`: the module `wsloop.mjs`, and the classic script `wsloop.js` with
 * the same names as globals. `node build.mjs`
 *
 * Each is one file without comments and with short names, so that a page has one small request.
 * esbuild does that, and terser finds what it leaves, of the versions that
 * tests/browser/package-lock.json says: `npm ci --prefix tests/browser`.
 */

import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ABOUT = '// wsloop. MIT OR Apache-2.0';

/** Properties of what no page gets hold of, which have short names too. */
const INTERNAL = ['address', 'asBlob', 'asked', 'attempt', 'awaits', 'bearer', 'header', 'lost',
  'number', 'omitted', 'opened', 'ping', 'positions', 'receive', 'restart', 'room', 'silence',
  'subscriptions', 'wanted'];

/** Names by which a classic script has less to say than by all that there are. */
const CLASSIC = "import { WSLoop, WS4Redis } from './src/index.mjs'";

/** The texts that the files should have, by their names. */
export function build() {
  const need = createRequire(new URL('../../tests/browser/', import.meta.url));
  const { buildSync } = need('esbuild');
  const { minify_sync: shorten } = need('terser');
  const made = (format, entry) => {
    const { outputFiles } = buildSync({
      ...{ stdin: { contents: entry, resolveDir: HERE }, bundle: true, write: false },
      ...{ format, minify: true, target: 'es2022' },
      mangleProps: new RegExp(`^(${INTERNAL.join('|')})$`),
    });
    const compress = {
      ...{ ecma: 2020, passes: 3, pure_getters: true, unsafe_methods: true },
      // These make it shorter, but not when it is gzipped.
      ...{ reduce_funcs: false, lhs_constants: false },
    };
    const { code } = shorten(outputFiles[0].text, { toplevel: true, compress });
    return `${ABOUT}\n${code}\n`;
  };
  return {
    'wsloop.mjs': made('esm', "export * from './src/index.mjs'"),
    'wsloop.js': made('iife', `${CLASSIC}; Object.assign(globalThis, { WSLoop, WS4Redis })`),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(build())) {
    writeFileSync(new URL(name, import.meta.url), text);
  }
}
