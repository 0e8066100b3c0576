/**
 * The three chats: shows what arrives, and posts what is written. What was said while the page was
 * without a connection arrives when it has one again, and where something is missing it says so.
 *
 * Who said something is what the server says; nothing that is sent from here has a name in it. Text
 * gets into the page as text, never as markup.
 */

import { WSLoop } from '../wsloop/wsloop.mjs';

/** The oldest messages leave the page beyond so many. */
const MAX_MESSAGES = 500;
/** Who is so close to the end, in pixels, wants to see what comes. */
const AT_END = 40;

const element = (id) => document.getElementById(id);

/** Begins to listen: to this audience of this facility, at the address of the WebSocket. */
export function chat(uri, facility, audience) {
  const composer = element('composer');
  const loop = new WSLoop(uri);
  const room = loop.subscribe(facility, { audience });
  room.addEventListener('message', ({ data }) => show(parse(data)));
  room.addEventListener('gap', () => append('gap', ['i', 'Something may be missing here']));
  room.addEventListener('state', () => {
    if (room.state === 'open') {
      say('open', 'Connected');
    } else if (room.state === 'connecting') {
      say('waiting', 'Reconnecting');
    } else {
      say('closed', 'Closed');
    }
    element('note').textContent = room.error ? `Refused by the server: ${room.error.message}` : '';
  });
  loop.addEventListener('close', ({ code, reason, willReconnect }) => {
    if (!willReconnect) {
      element('note').textContent = `Closed by the server: ${reason || code}`;
    }
  });
  composer?.addEventListener('submit', async (event) => {
    event.preventDefault();
    const field = element('text');
    const text = field.value;
    element('note').textContent = '';
    field.focus();
    // Who has written something wants to see it come.
    scrollToEnd();
    try {
      const sent = send(composer, text);
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
async function send(composer, text) {
  const body = new FormData(composer);
  const answer = await fetch(composer.action, { method: 'POST', body, redirect: 'error' });
  if (!answer.ok) {
    throw new Error(answer.status === 400 ? await answer.text() : answer.statusText);
  }
  // What everybody or a group hears comes back to its sender, a message to somebody else does not.
  if ('shownHere' in composer.dataset) {
    show({ from: element('who').textContent, text });
  }
}

/** The views publish JSON; whatever else is published, by redis-cli for instance, is a text. */
function parse(data) {
  try {
    const { from, text } = JSON.parse(data);
    if (typeof from === 'string' && typeof text === 'string') {
      return { from, text };
    }
  } catch {
    // A text, then.
  }
  return { from: '', text: data };
}

function say(state, text) {
  element('status').dataset.state = state;
  element('status').textContent = text;
}

function show({ from, text }) {
  const isOwn = from && from === element('who')?.textContent;
  append(isOwn ? 'own' : '', ['b', from], ['span', text]);
}

/** An item of the log with these parts, each a tag and its text. */
function append(className, ...parts) {
  const log = element('log');
  const messages = element('messages');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < AT_END;
  const item = document.createElement('li');
  item.className = className;
  for (const [tag, content] of parts) {
    item.append(Object.assign(document.createElement(tag), { textContent: content, dir: 'auto' }));
  }
  messages.append(item);
  if (messages.childElementCount > MAX_MESSAGES) {
    dropOldest(log, messages);
  }
  if (atEnd) {
    scrollToEnd();
  }
}

/** What is being read stays where it is on the screen. */
function dropOldest(log, messages) {
  const [oldest, next] = messages.children;
  const before = next.getBoundingClientRect().top;
  oldest.remove();
  log.scrollTop += next.getBoundingClientRect().top - before;
}

function scrollToEnd() {
  element('log').scrollTop = element('log').scrollHeight;
}
