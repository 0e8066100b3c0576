/**
 * wsloop: a WebSocket that comes back.
 *
 * One `WSLoop` is one connection for as long as the page wants it. It opens a WebSocket, opens the
 * next one when that is lost, and never has two at work. It does not know what the messages mean:
 * the URI says what is subscribed, and messages go through as they are; or, when the URI is for all
 * topics, they go to `topics.mjs`.
 *
 * Rules:
 * - A lost connection is followed by a wait that is random in [0, min(30 s, 2^k - 1 s)], where k is
 *   1 after a connection that worked and grows by one with each attempt that does not. A connection
 *   has worked when it stayed open for 10 s, however it ended.
 * - Close code 1012 means that the server restarts and wants everybody back soon: the wait is random
 *   in [0, 2 s], however long the connection was open, and what failed before counts no more.
 * - An attempt that the server leaves without an answer has failed, too.
 * - Close code 4403 means that asking again is useless: it stops, as after `close()`. So does 4401,
 *   unless the page can be asked for another token.
 * - The page is asked for a token once in each attempt, and for as long as it likes. No answer is a
 *   failed attempt; one that comes after `close()` is not used.
 * - Where a page is developed, on localhost, the server is asked why it refuses or is silent. What
 *   it says goes to the console, once for each URI and page.
 * - What cannot be sent throws. Nothing is queued, so nothing is sent late or lost unseen.
 * - State changes first, then listeners hear of it: a listener may call any method.
 * - A page that goes into the back-forward cache leaves no connection behind, which some browsers
 *   would keep for minutes, and gets the next one at once when it is back. Nothing is done when a
 *   page is hidden, or unloaded: then the browser closes the socket itself.
 * - With `gaps`, the page hears when messages may have been missed: the server's word for an outage
 *   is an empty message, and whatever comes over one connection is missing on the next.
 * - When the browser is online again, the next attempt begins at once. A connection that is open
 *   has to answer a heartbeat within 5 s; without heartbeats it is given up for the next one.
 * - Where there are topics, every message of the server is a heartbeat, and a server that is silent
 *   for 4 to 8 s is asked for one. After 12 to 16 s of silence the connection is given up at once:
 *   nobody would answer a close handshake.
 * - Scripts cannot see why a WebSocket never opened. When that happens twice in a row, and there are
 *   topics, the next attempt is a stream. When two of those in a row never open either, that
 *   says nothing against WebSockets, which have the next two attempts. One alone may be a restart of
 *   the server.
 * - While there is a stream a WebSocket is tried now and then, and when the browser is online again.
 *   When it is open the stream is closed first, and then the WebSocket goes on where that was: so
 *   nothing comes twice. The state is `open` all the time.
 */

import { explainOnce } from './explain.mjs';
import {
  backOff, checkOptions, checkToken, eventOf, expect, isOver, notSent, withOption,
} from './options.mjs';
import { streamOf } from './stream.mjs';
import { topicsOf } from './topics.mjs';

/** Time between two heartbeats, in milliseconds. */
const HEARTBEAT_INTERVAL = 5000;
/** The same where there are topics. */
const TOPICS_HEARTBEAT_INTERVAL = 4000;
/** The same on a stream, whose server makes itself heard every 30 s. */
const STREAM_HEARTBEAT_INTERVAL = 30000;
/** So many heartbeats may go unanswered. */
const MAX_MISSED = 3;
/** After so many milliseconds, an open connection has worked. */
const STEADY = 10000;
/** How long a close handshake may take, in milliseconds; on a dead network browsers wait longer. */
const CLOSE_WAIT = 5000;
/** "Service Restart": the server, or the one that takes its place, is there again soon. */
const RESTART = 1012;
/** Longest wait then, in milliseconds. */
const RESTART_DELAY = 2000;
/** "Unauthorized" in terms of HTTP: the server does not take the token, or takes it no longer. */
const UNAUTHORIZED = 4401;
/** "Forbidden" in terms of HTTP: the server knows the browser and says no. */
const FORBIDDEN = 4403;
/** So many milliseconds after an `open` without a message, it may be that nothing is granted. */
const SILENCE = 2000;
/** After so many WebSockets in a row that never opened, a stream is tried. */
const MAX_BLOCKED = 2;
/** After so many streams in a row that never opened, WebSockets are tried. */
const MAX_FAILED = 2;
/** Time until a stream tries a WebSocket, and the longest that it grows to, in milliseconds. */
const PROBE_WAIT = 30000;
const MAX_PROBE_WAIT = 300000;
/** Offered along with a token by a page that has no sub-protocol of its own. */
const OWN_PROTOCOL = 'wsloop';

const WINDOW_EVENTS = ['online', 'pagehide', 'pageshow'];

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;

/** After this, nothing of a socket is heard any more. */
function drop(socket) {
  if (socket) {
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    if (socket.readyState < CLOSING) {
      socket.close(1000);
    }
  }
}

/**
 * `new WSLoop(uri, options)` or `new WSLoop({ uri, ... })`. The first attempt begins at once.
 *
 * Events: `connecting`, `open`, `message` (`data`), `close` (`code`, `reason`, `wasClean`,
 * `willReconnect`, `reconnectIn` in milliseconds or null), `state` (`state`), `transport`
 * (`transport`) when it is another and, with the option `gaps`, `gap`. The first `connecting` is over before a listener can be added; the option of that
 * name hears it. Messages and gaps of topics are events of what `subscribe` gives.
 */
export class WSLoop extends EventTarget {
  #options;
  #state = 'closed';
  #socket = null;
  #wanted = true;
  #openedAt = null;
  /** There was a connection before, and what was sent since that is missed. */
  #wasOpen = false;
  #attempt = 1;
  #missed = 0;
  #heartbeatTimer = null;
  #closeTimer = null;
  #waitTimer = null;
  #silenceTimer = null;
  /** How many WebSockets in a row never opened, and streams after them. */
  #blocked = 0;
  /** A WebSocket that may take the place of a stream. */
  #probe = null;
  #probeTimer = null;
  #probeWait = PROBE_WAIT;
  /** `websocket` or `stream`. */
  #transport = null;
  /** What the last attempt said of who this is; null is nothing. */
  #token = null;
  /** What the messages are about; null when the URI says that. */
  #topics = null;

  constructor(uri, options) {
    super();
    // Another window's URL is no instance of this one's.
    const separate = typeof (uri?.href ?? uri) === 'string';
    this.#options = checkOptions(separate ? { ...options, uri } : { ...uri });
    this.#callback('connecting', 'connecting');
    this.#callback('open', 'connected');
    this.#callback('message', 'receive_message', (event) => event.data);
    this.#callback('close', 'disconnected', (event) => event);
    const { topics, binaryType } = this.#options;
    this.#topics = topics
      ? topicsOf({
        send: (...command) => this.#socket.send(...command),
        opened: () => this.#onOpen(),
        warn: (text) => this.#warn(text),
        asBlob: binaryType === 'blob',
      })
      : null;
    this.#connect();
    for (const type of WINDOW_EVENTS) {
      globalThis.addEventListener?.(type, this.#onWindow);
    }
  }

  /** `connecting`, `open`, `closing`, `waiting` (for the next attempt) or `closed` (for good). */
  get state() {
    return this.#state;
  }

  /** `websocket` or `stream`, whichever it is or was last; null before the first. */
  get transport() {
    return this.#transport;
  }

  /** Sends text or binary data; throws an `InvalidStateError` unless the connection is open. */
  send(data) {
    expect(!this.#topics, `${this.#options.uri} is for all topics: publish() says for which`);
    if (this.get_state() !== OPEN) {
      throw notSent(this.#state);
    }
    this.#socket.send(data);
  }

  /**
   * Subscribes to one audience of a facility, `broadcast` unless given, for as long as the page wants
   * it: what was missed between two connections comes first on the next one.
   */
  subscribe(facility, options) {
    this.#expectTopics();
    if (isOver(this.#state)) {
      throw notSent(this.#state);
    }
    return this.#topics.subscribe(facility, options);
  }

  /**
   * Publishes, and promises that the server has it. It fails with an `InvalidStateError` when it was
   * not sent, a `RefusedError` that has a `status`, or a `DroppedError` when nobody knows.
   */
  async publish(facility, data, options) {
    this.#expectTopics();
    if (this.#state !== 'open') {
      throw notSent(this.#state);
    }
    return this.#topics.publish(facility, data, options);
  }

  #expectTopics() {
    expect(this.#topics, `${this.#options.uri} is for one facility: topics have a URL like /ws/`);
  }

  /** `send` by its name in ws4redis. */
  send_message(data) {
    this.send(data);
  }

  /** Ends it for good, a pending attempt too. The code is 1000 or 3000 to 4999. */
  close(code = 1000, reason = '') {
    if (this.#socket && this.#state !== 'closing') {
      this.#shut(code, reason);
    }
    this.#wanted = false;
    if (this.#state === 'waiting') {
      clearTimeout(this.#waitTimer);
      this.#become('closed');
    } else if (this.#state === 'connecting' && !this.#socket) {
      this.#lose(reason);
    }
  }

  /** Tries at once, if it waits for the next attempt; else it does nothing. */
  reconnect() {
    if (this.#state === 'waiting') {
      this.#reconnect();
    }
  }

  /** The `readyState` of the WebSocket, 0 to 3; 3 between two attempts. */
  get_state() {
    // Without a socket, the page is being asked for a token.
    return this.#socket?.readyState ?? (this.#state === 'connecting' ? CONNECTING : CLOSED);
  }

  is_connecting() {
    return this.get_state() === CONNECTING;
  }

  is_connected() {
    return this.get_state() === OPEN;
  }

  is_closing() {
    return this.get_state() === CLOSING;
  }

  is_closed() {
    return this.get_state() === CLOSED;
  }

  /** An option is a listener as any other: when it throws, that is reported and nothing breaks. */
  #callback(type, name, argument = () => undefined) {
    const options = this.#options;
    if (typeof options[name] === 'function') {
      this.addEventListener(type, (event) => options[name](argument(event)));
    }
  }

  /** Throws what the browser throws for a URI that can never work, if there is nothing to ask. */
  #connect() {
    const { token } = this.#options;
    const asks = typeof token === 'function';
    if (!asks) {
      this.#dial(token);
    }
    this.#become('connecting', eventOf('connecting'));
    if (asks) {
      this.#ask();
    }
  }

  /** Asks the page for a token and goes on with that. Meanwhile only `close()` can happen. */
  async #ask() {
    // The constructor comes first, so that the page's function may use what that has made.
    await null;
    if (!this.#wanted) {
      return;
    }
    let failure = 'no token: ';
    try {
      const token = checkToken(await this.#options.token());
      failure = '';
      if (this.#wanted) {
        this.#dial(token);
      }
    } catch (error) {
      if (this.#wanted) {
        this.#lose(failure + String(error));
      }
    }
  }

  /** Begins an attempt, with a token unless that is null. */
  #dial(token) {
    this.#token = token;
    const isStream = this.#blocked >= MAX_BLOCKED;
    this.#take(isStream ? streamOf(this.#topics, this.#request()) : this.#openWebSocket());
    this.#expectClose('no answer', this.#options.connectTimeout);
  }

  #openWebSocket() {
    const { protocols, binaryType } = this.#options;
    const { address, bearer } = this.#request();
    // Browsers fail a connection whose server chooses none of what was offered, and the server
    // never chooses the token: there has to be another one.
    const others = protocols.length > 0 ? protocols : [OWN_PROTOCOL];
    const offered = bearer === null ? protocols : [...others, `bearer.${bearer}`];
    const socket = new WebSocket(address, offered);
    socket.binaryType = (!this.#topics && binaryType) || 'arraybuffer';
    return socket;
  }

  /** Where to, and the token that is not in there. */
  #request() {
    const { uri, tokenIn } = this.#options;
    const isInQuery = tokenIn === 'query' && this.#token !== null;
    return isInQuery
      ? { address: withOption(uri, `token=${encodeURIComponent(this.#token)}`), bearer: null }
      : { address: uri, bearer: this.#token };
  }

  /** The connection is this from now on. */
  #take(socket) {
    // Where there are topics, the server's first message opens it.
    socket.onopen = () => this.#topics ?? this.#onOpen();
    socket.onmessage = (event) => this.#onMessage(event);
    socket.onclose = (event) => this.#onClose(event);
    // Browsers send `close` right after `error`; Node 22 does not when the handshake failed.
    socket.onerror = () => this.#expectClose('connection failed');
    this.#socket = socket;
  }

  /** The next attempt: when the wait is over, or the browser is online again. */
  #reconnect() {
    clearTimeout(this.#waitTimer);
    this.#attempt += 1;
    try {
      this.#connect();
    } catch (error) {
      this.#lose(String(error));
    }
  }

  /** There is a connection; where there are topics, perhaps one in place of another. */
  #onOpen() {
    clearTimeout(this.#closeTimer);
    const { transport = 'websocket' } = this.#socket;
    const isOther = transport !== this.#transport;
    const isFirst = this.#state !== 'open';
    if (!isOther && !isFirst) {
      return;
    }
    this.#transport = transport;
    this.#missed = 0;
    if (this.#options.heartbeat_msg || this.#topics) {
      this.#startHeartbeat();
    }
    if (transport === 'stream') {
      this.#blocked = MAX_BLOCKED;
      this.#probeLater();
    } else {
      this.#blocked = 0;
      this.#probeWait = PROBE_WAIT;
    }
    if (isFirst) {
      this.#begin();
    }
    if (isOther) {
      this.#emit('transport', { transport });
    }
  }

  #begin() {
    this.#openedAt = performance.now();
    if (this.#options.explain === true && !this.#topics) {
      this.#silenceTimer = setTimeout(() => this.#explain('info'), SILENCE);
    }
    const isGap = this.#wasOpen && this.#options.gaps;
    this.#wasOpen = true;
    const socket = this.#socket;
    this.#become('open', eventOf('open'));
    if (isGap && this.#state === 'open' && this.#socket === socket) {
      this.#emit('gap');
    }
  }

  /** A stream tries a WebSocket after half of what is due to the whole, which doubles. */
  #probeLater() {
    clearTimeout(this.#probeTimer);
    const wait = (this.#probeWait * (1 + Math.random())) / 2;
    this.#probeTimer = setTimeout(() => this.#tryWebSocket(), wait);
    this.#probeWait = Math.min(this.#probeWait * 2, MAX_PROBE_WAIT);
  }

  #tryWebSocket() {
    drop(this.#probe);
    this.#probeLater();
    const socket = this.#openWebSocket();
    this.#probe = socket;
    socket.onmessage = (event) => {
      this.#probe = null;
      this.#dropSocket();
      this.#take(socket);
      this.#onMessage(event);
    };
  }

  #onMessage({ data, origin }) {
    if (this.#topics) {
      this.#missed = 0;
      this.#topics.receive(data);
      return;
    }
    if (this.#options.heartbeat_msg && data === this.#options.heartbeat_msg) {
      this.#missed = 0;
      return;
    }
    clearTimeout(this.#silenceTimer);
    if (this.#options.gaps && new Blob([data]).size === 0) {
      this.#emit('gap');
      return;
    }
    this.dispatchEvent(new MessageEvent('message', { data, origin }));
  }

  #onClose({ code, reason, wasClean }) {
    const neverOpened = this.#openedAt === null && this.#socket;
    const isRefusal = /^(1008|44..)$/.test(code);
    if (this.#wanted && isRefusal && this.#topics) {
      // The answer would be about a WebSocket for this URL alone.
      this.#warn(`${this.#options.uri}: ${code} ${reason}`);
    } else if (this.#wanted && (isRefusal || (neverOpened && code === 1006))) {
      this.#explain('warn');
    }
    if (neverOpened && this.#options.streams) {
      this.#blocked = code === 1006 ? (this.#blocked + 1) % (MAX_BLOCKED + MAX_FAILED) : 0;
    }
    this.#dropSocket();
    const isRestart = code === RESTART && this.#openedAt !== null;
    if (isRestart || (this.#openedAt !== null && performance.now() - this.#openedAt >= STEADY)) {
      this.#attempt &&= 1;
    }
    const isLast = code === UNAUTHORIZED && typeof this.#options.token !== 'function';
    this.#openedAt = null;
    const willReconnect = this.#wanted && !isLast && code !== FORBIDDEN;
    let reconnectIn = null;
    if (willReconnect) {
      reconnectIn = isRestart ? Math.random() * RESTART_DELAY : backOff(this.#attempt);
      this.#waitTimer = setTimeout(() => this.#reconnect(), reconnectIn);
    }
    const event = eventOf('close', { code, reason, wasClean, willReconnect, reconnectIn });
    this.#become(willReconnect ? 'waiting' : 'closed', event);
  }

  /** What has ended without a close handshake. */
  #lose(reason) {
    this.#onClose({ code: 1006, reason, wasClean: false });
  }

  #startHeartbeat() {
    clearInterval(this.#heartbeatTimer);
    let interval = !this.#topics ? HEARTBEAT_INTERVAL : TOPICS_HEARTBEAT_INTERVAL;
    if (this.#transport === 'stream') {
      interval = Math.max(STREAM_HEARTBEAT_INTERVAL, this.#topics.silence() * 1000);
    }
    this.#heartbeatTimer = setInterval(() => this.#heartbeat(), interval);
  }

  #heartbeat() {
    this.#missed += 1;
    const isDead = this.#missed > MAX_MISSED;
    if (this.#topics) {
      if (isDead) {
        this.#lose('the server is silent');
      } else if (this.#missed > 1) {
        this.#topics.ping();
      }
    } else if (isDead) {
      // 3008 is "timeout" in the registry of close codes.
      this.#shut(3008, 'heartbeat missed');
    } else {
      this.#socket.send(this.#options.heartbeat_msg);
    }
  }

  /** Begins the close handshake; when that takes too long the socket counts as lost. */
  #shut(code, reason) {
    this.#socket.close(code, reason);
    clearInterval(this.#heartbeatTimer);
    this.#expectClose(reason);
    this.#become('closing');
  }

  /** A socket that is not closed by then counts as lost. */
  #expectClose(reason, wait = CLOSE_WAIT) {
    clearTimeout(this.#closeTimer);
    this.#closeTimer = setTimeout(() => this.#lose(reason), wait);
  }

  #dropSocket() {
    clearInterval(this.#heartbeatTimer);
    clearTimeout(this.#closeTimer);
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#probeTimer);
    drop(this.#probe);
    drop(this.#socket);
    this.#socket = this.#probe = null;
  }

  #onWindow = ({ type, persisted }) => {
    const isBack = persisted && type === 'pageshow';
    if (persisted && type === 'pagehide' && this.#socket) {
      this.#lose('the page was left');
    } else if (type === 'online' && this.#state === 'open') {
      this.#doubt();
    } else if (isBack || (type === 'online' && this.#state === 'waiting')) {
      // What failed before says nothing now.
      this.#attempt = this.#blocked = 0;
      this.reconnect();
    }
  };

  /** A connection may have died with the network that it went over, and browsers do not notice. */
  #doubt() {
    if (this.#transport === 'stream') {
      this.#socket.restart();
      this.#tryWebSocket();
    } else if (this.#options.heartbeat_msg || this.#topics) {
      this.#missed = MAX_MISSED - 1;
      this.#startHeartbeat();
      this.#heartbeat();
    } else {
      this.#attempt = 0;
      this.#lose('the network has changed');
    }
  }

  /** Tells whoever develops the page. */
  #warn(text) {
    if (this.#options.explain) {
      console.warn(`wsloop: ${text}`);
    }
  }

  /** Has the server say what it makes of the URI, for whoever develops the page. */
  #explain(level) {
    if (this.#options.explain) {
      explainOnce(this.#options.uri, this.#request(), level);
    }
  }

  #emit(type, values) {
    this.dispatchEvent(eventOf(type, values));
  }

  /** A listener of `event` may have changed the state again, and has then announced that itself. */
  #become(state, event) {
    this.#state = state;
    for (const type of state === 'closed' ? WINDOW_EVENTS : []) {
      globalThis.removeEventListener?.(type, this.#onWindow);
    }
    if (state !== 'open') {
      this.#topics?.lost(isOver(state));
    }
    if (event) {
      this.dispatchEvent(event);
    }
    if (this.#state === state) {
      this.#emit('state', { state });
    }
  }
}

