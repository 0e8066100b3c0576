/** What pages in TypeScript write, and, after `@ts-expect-error`, what is wrong. */

import { WS4Redis, WSLoop } from 'wsloop';
import type { WSLoopCloseEvent, WSLoopMessage, WSLoopOptions, WSLoopState } from 'wsloop';
import type { WSLoopAudience, WSLoopError, WSLoopSubscription } from 'wsloop';

const options: WSLoopOptions = {
  connecting() {},
  connected: () => {},
  disconnected: ({ code, willReconnect }) => console.log(code.toFixed(), willReconnect),
  receive_message: (data) => console.log(data),
  heartbeat_msg: null,
  token: async () => (await fetch('/token')).text(),
  tokenIn: 'query',
  protocols: ['chat'],
  binaryType: 'blob',
  connectTimeout: 5000,
  explain: 'refused',
};

const loops: WSLoop[] = [
  new WSLoop('/ws/foobar?subscribe-broadcast'),
  new WSLoop(new URL('wss://example.com/ws/foobar'), options),
  new WSLoop({ uri: '/ws/foobar', ...options }),
  new WSLoop({ uri: new URL('https://example.com/ws/foobar'), tokenIn: 'query' }),
  new WS4Redis({ uri: 'ws://example.com/ws/foobar' }),
  WS4Redis({ uri: new URL('ws://example.com/ws/foobar') }, null),
];

for (const loop of loops) {
  loop.addEventListener('message', (event) => {
    const data: WSLoopMessage = event.data;
    if (typeof data === 'string') {
      data.trim();
    }
  });
  loop.addEventListener('close', (event) => {
    const close: WSLoopCloseEvent = event;
    const wait: number | null = close.reconnectIn;
    console.log(wait, close.reason, close.wasClean);
  });
  loop.addEventListener('state', ({ state }) => {
    const all: Record<WSLoopState, string> = {
      connecting: '', open: '', closing: '', waiting: '', closed: '',
    };
    console.log(all[state]);
  });
  const state: WSLoopState = loop.state;
  console.log(state, loop.get_state() + 1, loop.is_connected() && !loop.is_closed());
  loop.send('text');
  loop.send(new Uint8Array([1]));
  loop.send_message(new Blob(['x']));
  loop.reconnect();
  loop.close();
  loop.close(4000, 'bye');
}

const topics = new WSLoop('/ws/', { token: 'abc', streams: false });
topics.addEventListener('transport', ({ transport }) => {
  const now: 'websocket' | 'stream' = transport;
  console.log(now, topics.transport === null);
});
const chat: WSLoopSubscription = topics.subscribe('chat/42');
const mine = topics.subscribe('news', { audience: 'user' });
for (const subscription of [chat, mine]) {
  subscription.addEventListener('message', ({ data, audience, group, position, stored }) => {
    const from: [WSLoopAudience, string | null] = [audience, group];
    const place: string | null = position;
    console.log(data, from, stored ? 'stored' : place);
  });
  subscription.addEventListener('gap', ({ audience }) => console.log(audience.length));
  subscription.addEventListener('state', ({ state, error }) => {
    console.log(state === 'refused' && error?.status?.toFixed());
  });
  subscription.unsubscribe();
}
topics
  .publish('chat/42', new Uint8Array([1]), { audience: 'group' })
  .then(() => topics.publish('chat/42', 'text'))
  .catch((error: WSLoopError) => console.log(error.name, error.status));

// @ts-expect-error: there is no such audience.
topics.subscribe('news', { audience: 'everybody' });
// @ts-expect-error: there is a choice of two.
new WSLoop('/ws/', { streams: 'always' });
// @ts-expect-error: a state is not assigned.
chat.state = 'open';
// @ts-expect-error: there has to be an address.
new WSLoop({});
// @ts-expect-error: this is no address.
new WSLoop(5);
// @ts-expect-error: this is no place for a token.
new WSLoop('/ws/x', { tokenIn: 'header' });
// @ts-expect-error: this is no time.
new WSLoop('/ws/x', { connectTimeout: '15s' });
// @ts-expect-error: a token is a text.
new WSLoop('/ws/x', { token: () => 5 });
// @ts-expect-error: there is no such choice.
new WSLoop('/ws/x', { explain: 'always' });
// @ts-expect-error: a state is not assigned.
loops[0].state = 'open';
// @ts-expect-error: an object has to be made text by the page.
loops[0].send({ text: 'hello' });
