import { WSLoop } from '/wsloop.mjs';

const loop = new WSLoop('/ws/workers?subscribe-broadcast&publish-broadcast&echo');
loop.addEventListener('open', () => loop.send('from the dedicated worker'));
loop.addEventListener('message', ({ data }) => postMessage(data));
