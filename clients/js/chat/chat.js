/**
 * The broadcast chat: everybody who has this page open is in one room, `?room=NAME` or `foobar`.
 *
 * A message is shown when it comes back from the server, the own ones too (`echo`), so that what is
 * on the page is what was delivered. Text gets into the page as text, never as markup.
 */

import { WSLoop } from '../wsloop.mjs';

/** The oldest messages leave the page beyond so many. */
const MAX_MESSAGES = 500;
/** After so many milliseconds, a message that has not come back is called lost. */
const ECHO_WAIT = 5000;
/** The stored message comes within so many milliseconds of the opening. */
const STORED_WAIT = 1000;

const element = (id) => document.getElementById(id);
const setting = (name) => document.querySelector(`meta[name="wsloop-${name}"]`).content;

const room = new URLSearchParams(location.search).get('room') || 'foobar';
/** Sent and not yet back, oldest first: `{ text, timer }`. */
const pending = [];
let lastText = null;
let openedAt = 0;
let reopened = false;
let countdown = null;

element('room').textContent = room;
element('command').textContent = `redis-cli PUBLISH ${shellWord(`broadcast:${room}`)} hello`;
document.title = `${room} · wsloop chat`;

const loop = new WSLoop(roomUri(), { heartbeat_msg: setting('heartbeat') });
loop.addEventListener('connecting', () => showState('connecting', 'Connecting'));
loop.addEventListener('open', onOpen);
loop.addEventListener('message', onMessage);
loop.addEventListener('close', onClose);
loop.addEventListener('state', () => {
  element('send').disabled = loop.state !== 'open';
});

element('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
element('text').addEventListener('keydown', (event) => {
  // While an input method composes a word, Enter belongs to it.
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  }
});

function roomUri() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  const facility = room.split('/').map(encodeURIComponent).join('/');
  const options = 'subscribe-broadcast&publish-broadcast&echo';
  return `${scheme}://${location.host}${setting('url-prefix')}${facility}?${options}`;
}

function shellWord(word) {
  return /^[\w.:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function submit() {
  const input = element('text');
  const text = input.value;
  input.focus();
  if (text.trim() === '') {
    return;
  }
  try {
    loop.send(text);
  } catch {
    // After a refusal the note says why, which is worth more.
    if (loop.state !== 'closed') {
      element('note').textContent = 'Not connected. The text stays here; send it again later.';
    }
    return;
  }
  element('note').textContent = '';
  input.value = '';
  pending.push({ text, timer: setTimeout(reportLost, ECHO_WAIT, text) });
}

/** The server may not grant `publish-broadcast`, or cannot reach Redis; it has no way to tell. */
function reportLost(text) {
  takePending(text);
  element('note').textContent = `The server has not passed this message on: ${text}`;
}

/** Whether the text was sent from here and had not come back yet. */
function takePending(text) {
  const index = pending.findIndex((sent) => sent.text === text);
  if (index >= 0) {
    clearTimeout(pending[index].timer);
    pending.splice(index, 1);
  }
  return index >= 0;
}

function onOpen() {
  openedAt = performance.now();
  showState('open', 'Connected');
  element('note').textContent = '';
}

function onMessage({ data }) {
  if (typeof data !== 'string') {
    show(`${data.byteLength} bytes that are not text`, 'binary');
    return;
  }
  const own = takePending(data);
  // The stored message comes again with every connection; it is news only if it was missed.
  const stored = reopened && data === lastText && performance.now() - openedAt < STORED_WAIT;
  reopened = false;
  if (own || !stored) {
    show(data, own ? 'own' : 'other');
  }
  lastText = data;
}

function onClose({ code, reason, willReconnect, reconnectIn }) {
  reopened = true;
  if (willReconnect) {
    countDown(performance.now() + reconnectIn);
  } else {
    showState('closed', 'Refused');
    const why = reason || `code ${code}`;
    element('note').textContent = `The server does not let this page in: ${why}`;
  }
}

function countDown(end) {
  showState('waiting', 'Reconnecting');
  const update = () => {
    const seconds = Math.ceil((end - performance.now()) / 1000);
    element('countdown').textContent = seconds > 0 ? ` in ${seconds} s` : '';
  };
  update();
  countdown = setInterval(update, 250);
}

/** The countdown stands apart from the text, so that a screen reader does not read every second. */
function showState(state, text) {
  clearInterval(countdown);
  element('countdown').textContent = '';
  element('status').dataset.state = state;
  element('status-text').textContent = text;
}

function show(text, kind) {
  const log = element('log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const now = new Date();
  const item = document.createElement('li');
  item.classList.add(kind);
  item.append(make('span', 'body', text), make('time', 'time', clockTime(now)));
  item.lastChild.dateTime = now.toISOString();
  element('empty').hidden = true;
  element('messages').append(item);
  if (element('messages').childElementCount > MAX_MESSAGES) {
    element('messages').firstElementChild.remove();
  }
  if (atEnd || kind === 'own') {
    log.scrollTop = log.scrollHeight;
  }
}

function make(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function clockTime(date) {
  return date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
}
