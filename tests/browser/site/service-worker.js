/** Answers what the pages ask for, as one for use without a network does, and has a loop itself. */
importScripts('/wsloop.js');

addEventListener('install', () => skipWaiting());
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', (event) => {
  event.respondWith(
    fetch(event.request).then(async (response) => {
      const headers = new Headers(response.headers);
      headers.set('X-Worker', 'yes');
      return new Response(await response.blob(), { status: response.status, headers });
    }),
  );
});
addEventListener('message', (event) => {
  const loop = new WSLoop('/ws/workers?subscribe-broadcast&publish-broadcast&echo');
  const ended = new Promise((done) => {
    loop.addEventListener('open', () => loop.send('from the service worker'));
    loop.addEventListener('message', ({ data }) => {
      event.source.postMessage(data);
      if (data === 'from the service worker') {
        loop.close();
        done();
      }
    });
  });
  event.waitUntil(ended);
});
