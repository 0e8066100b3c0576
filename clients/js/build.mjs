/**
 * Makes the classic script `wsloop.js` from the module `wsloop.mjs`: `node build.mjs`.
 *
 * The module imports nothing and exports declarations only, so that taking away the word `export`
 * is all that it needs.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const SOURCE = new URL('wsloop.mjs', import.meta.url);
const TARGET = new URL('wsloop.js', import.meta.url);

/** The text that `wsloop.js` should have. */
export function build() {
  const names = [];
  const body = readFileSync(SOURCE, 'utf8').replace(
    /^export (class|function) (\w+)/gm,
    (_, kind, name) => {
      names.push(name);
      return `${kind} ${name}`;
    },
  );
  if (/^(import|export)\b/m.test(body)) {
    throw new Error('wsloop.mjs may only export classes and functions, and import nothing');
  }
  return [
    '// Generated from wsloop.mjs by build.mjs: edit that file, not this one.',
    '(function () {',
    "'use strict';",
    '',
    body,
    `Object.assign(globalThis, { ${names.join(', ')} });`,
    '})();',
    '',
  ].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(TARGET, build());
}
