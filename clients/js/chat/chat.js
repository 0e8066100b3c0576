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
/** A reader who is so many pixels from the end of the log is at its end. */
const NEAR_END = 40;
/** The button says so many milliseconds that the command was copied. */
const COPIED_WAIT = 2000;

const element = (id) => document.getElementById(id);
const setting = (name) => document.querySelector(`meta[name="wsloop-${name}"]`).content;

const room = new URLSearchParams(location.search).get('room') || 'foobar';
/** Sent and not yet back, oldest first: `{ text, timer }`. */
const pending = [];
let lastText = null;
let openedAt = 0;
let reopened = false;
let lost = false;
let countdown = null;
/** The reader is at the end of the log, and stays there. */
let following = true;
/** A message that a reader looks at who is not, and how far from the top of the log it is. */
let place = null;
/** Where the page has scrolled to itself, for the event that follows. */
let scrolledTo = null;
let frame = null;

element('room').textContent = room;
document.title = `${room} · wsloop chat`;
showCommand();

// An idle room is no reason to ask the server what it grants.
const loop = new WSLoop(roomUri(), { heartbeat_msg: setting('heartbeat'), explain: 'refused' });
loop.addEventListener('connecting', () => showState('connecting', 'Connecting'));
loop.addEventListener('open', onOpen);
loop.addEventListener('message', onMessage);
loop.addEventListener('close', onClose);
loop.addEventListener('state', () => {
  element('send').disabled = loop.state !== 'open';
  showReconnect();
});

element('reconnect').addEventListener('click', () => loop.reconnect());
element('copy').addEventListener('click', copyCommand);
element('log').addEventListener('scroll', onScroll);
// A phone's keyboard takes its room from the log.
new ResizeObserver(keepPlace).observe(element('log'));

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

/** The server says how redis-cli reaches its broker, or nothing where it cannot. */
function showCommand() {
  const redisCli = setting('redis-cli');
  const prefix = setting('prefix');
  const channel = `${prefix && `${prefix}:`}broadcast:${room}`;
  element('command').textContent = `${redisCli} PUBLISH ${shellWord(channel)} hello`;
  if (redisCli === '') {
    element('hint').textContent = 'Redis clients are not answered here, see --resp and --redis.';
    element('line').hidden = true;
  }
}

function shellWord(word) {
  return /^[\w.:/@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

async function copyCommand() {
  try {
    await navigator.clipboard.writeText(element('command').textContent);
  } catch {
    // Pages that came over plain HTTP from another machine have no clipboard.
    getSelection().selectAllChildren(element('command'));
    document.execCommand('copy');
  }
  const say = (label, news) => {
    element('copy').textContent = label;
    element('copied').textContent = news;
  };
  say('Copied', 'Copied');
  setTimeout(say, COPIED_WAIT, 'Copy', '');
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
      note('Not connected. The text stays here; send it again later.');
    }
    return;
  }
  note('');
  input.value = '';
  pending.push({ text, timer: setTimeout(reportLost, ECHO_WAIT, text) });
}

/** The server may not grant `publish-broadcast`, or cannot reach Redis; it has no way to tell. */
function reportLost(text) {
  takePending(text);
  note('The server has not passed this message on: ', text);
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
  lost = false;
  showState('open', 'Connected');
  note('');
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
  lost = true;
  if (willReconnect) {
    countDown(performance.now() + reconnectIn);
  } else {
    showState('closed', 'Refused');
    const why = reason || `code ${code}`;
    note('The server does not let this page in: ', why);
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

/**
 * The button stays from the first loss until the page is connected again or refused: it neither
 * flickers nor takes the focus away while attempts fail.
 */
function showReconnect() {
  const button = element('reconnect');
  const hadFocus = document.activeElement === button;
  button.hidden = !lost || !['connecting', 'waiting'].includes(loop.state);
  button.setAttribute('aria-disabled', loop.state !== 'waiting');
  if (hadFocus && button.hidden) {
    element('text').focus();
  }
}

/** What a message says has a direction of its own. */
function note(text, quoted) {
  element('note').replaceChildren(text);
  if (quoted !== undefined) {
    element('note').append(Object.assign(document.createElement('bdi'), { textContent: quoted }));
  }
}

function show(text, kind) {
  const now = new Date();
  const item = document.createElement('li');
  item.classList.add(kind);
  item.append(make('span', 'body', text), make('time', 'time', clockTime(now)));
  item.firstChild.dir = 'auto';
  item.lastChild.dateTime = now.toISOString();
  element('empty').hidden = true;
  element('messages').append(item);
  if (element('messages').childElementCount > MAX_MESSAGES) {
    element('messages').firstElementChild.remove();
  }
  following ||= kind === 'own';
  frame ??= requestAnimationFrame(keepPlace);
}

function onScroll() {
  const log = element('log');
  if (log.scrollTop === scrolledTo) {
    return;
  }
  scrolledTo = null;
  const isAboveEdge = (item) => distance(item) < log.clientHeight;
  const item = [...element('messages').children].findLast(isAboveEdge);
  const rest = log.scrollHeight - log.scrollTop - log.clientHeight;
  following = item === undefined || rest < NEAR_END;
  place = following ? null : { item, distance: distance(item) };
}

/** Puts the end, or what the reader looks at, where it was before messages came and went. */
function keepPlace() {
  const log = element('log');
  frame = null;
  if (following) {
    log.scrollTop = log.scrollHeight;
  } else if (place.item.isConnected) {
    log.scrollTop += distance(place.item) - place.distance;
  }
  scrolledTo = log.scrollTop;
}

/** Of a message from the top of the log, in pixels. */
function distance(item) {
  return item.getBoundingClientRect().top - element('log').getBoundingClientRect().top;
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
