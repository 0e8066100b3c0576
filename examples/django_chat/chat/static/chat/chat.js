/**
 * The three chats: shows what arrives, and sends by the socket or by posting the form.
 *
 * Text gets into the page as text, never as markup.
 */

import { WSLoop } from '../wsloop/wsloop.mjs';

const element = (id) => document.getElementById(id);

/** Begins to listen; the options are WSLoop's. */
export function chat(options) {
  const composer = element('composer');
  const loop = new WSLoop(options);
  loop.addEventListener('message', ({ data }) => show(data));
  loop.addEventListener('open', () => say('open', 'Connected'));
  loop.addEventListener('close', ({ code, reason, willReconnect }) => {
    say(willReconnect ? 'waiting' : 'closed', willReconnect ? 'Reconnecting' : 'Closed');
    element('note').textContent = willReconnect ? '' : `Closed by the server: ${reason || code}`;
  });
  composer?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = element('text');
    const text = field.value;
    element('note').textContent = '';
    field.focus();
    try {
      const sent = send(loop, composer, text);
      // Now and not when it is done, for by then the next text may be in the field.
      field.value = '';
      await sent;
    } catch (error) {
      element('note').textContent = `Not sent: ${error.message}`;
      field.value ||= text;
    }
  });
}

/** What the form holds is read before this first waits. */
async function send(loop, composer, text) {
  if (composer.dataset.by === 'socket') {
    // It comes back by `echo`, and is shown then.
    loop.send(`${element('who').textContent}: ${text}`);
    return;
  }
  const body = new FormData(composer);
  const answer = await fetch(composer.action, { method: 'POST', body, redirect: 'error' });
  if (!answer.ok) {
    throw new Error(answer.status === 400 ? await answer.text() : answer.statusText);
  }
  // A group's message comes back to its sender, a message to somebody else does not.
  if (composer.dataset.by === 'post-away') {
    show(`${element('who').textContent}: ${text}`);
  }
}

function say(state, text) {
  element('status').dataset.state = state;
  element('status').textContent = text;
}

function show(text) {
  const own = element('who')?.textContent;
  const [, from, body] = /^([\w.@+-]+): (.*)$/s.exec(text) ?? [null, '', text];
  const item = document.createElement('li');
  item.className = own && from === own ? 'own' : '';
  for (const [tag, content] of [['b', from], ['span', body]]) {
    item.append(Object.assign(document.createElement(tag), { textContent: content }));
  }
  element('messages').append(item);
  item.scrollIntoView({ block: 'nearest' });
}
