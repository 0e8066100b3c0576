/** Makes `loop` and writes what becomes of it and of the page to `seen`. */

import { WSLoop } from '/wsloop.mjs';

window.seen = [];
window.note = (entry) => window.seen.push({ at: performance.now(), ...entry });

document.addEventListener('securitypolicyviolation', ({ violatedDirective }) =>
  note({ type: 'violation', violatedDirective }));
document.addEventListener('visibilitychange', () =>
  note({ type: document.visibilityState }));
for (const type of ['pageshow', 'online', 'offline']) {
  addEventListener(type, ({ persisted }) => note({ type, persisted }));
}

for (const level of ['info', 'warn']) {
  console[level] = (text) => note({ type: level, text });
}

window.made = (...args) => {
  window.other = new WSLoop(...args);
};

try {
  const args = JSON.parse(new URLSearchParams(location.search).get('loop'));
  window.loop = new WSLoop(...args);
  for (const type of ['connecting', 'open', 'message', 'close']) {
    loop.addEventListener(type, ({ data, code, reason, willReconnect, reconnectIn }) =>
      note({ type, data, code, reason, willReconnect, reconnectIn }));
  }
} catch (error) {
  note({ type: 'thrown', reason: String(error) });
}
