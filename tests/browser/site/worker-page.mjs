/** Has workers of each kind make a loop, and writes what they hear to `heard`. */

window.heard = {};
window.hear = (kind) => ({ data }) => {
  (window.heard[kind] ??= []).push(data);
};

const dedicated = new Worker('worker.mjs', { type: 'module' });
dedicated.onmessage = hear('dedicated');

const shared = new SharedWorker('shared-worker.js');
shared.port.onmessage = hear('shared');

// The page is under its control from the first load on.
navigator.serviceWorker.onmessage = hear('service');
await navigator.serviceWorker.register('service-worker.js');
await navigator.serviceWorker.ready;
window.controlled = true;
