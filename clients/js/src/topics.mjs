/**
 * The topics of a page on one WebSocket: the client's side of the sub-protocol `wsloop.1`.
 *
 * A *topic* is one audience of one facility, and all subscriptions of the page to it share it. This
 * knows commands, answers and positions. It does not know how a connection is made or noticed to be
 * dead: it is told when there is one (by `welcome`, the server's first message), and when it is lost.
 *
 * Rules:
 * - There are never more commands under way than the server says; the others wait in their order.
 * - A topic goes through connections: each new one is asked for it behind the last position of every
 *   channel, whether the one before was lost or is replaced. A channel that has no position is asked for with `-`, which the server answers with a
 *   gap.
 * - A topic that is left is asked for again only when the server has said that it is left. What comes
 *   for it until then is for nobody.
 * - A subscription that is refused is asked for again on the next connection: then the page may be
 *   somebody else. One that cannot be answered now (429, 503) is asked for again after a wait, which
 *   is the same for all such: where each topic is part of one request, that is one for all.
 * - Of a publish that was sent, the page hears what became of it, or that nobody knows.
 */

import { backOff, eventOf, failure, notSent } from './options.mjs';

const AUDIENCES = ['broadcast', 'user', 'session', 'group'];
/** What the server does not say of itself. */
const LIMITS = { commands: 1, message: Infinity, beat: 0 };

/**
 * What `subscribe` gives. Events: `message` (`data`, `audience`, `group`, `position`, `stored`), `gap`
 * (`audience`, `group`) and `state` (`state`, `error`).
 */
class Subscription extends EventTarget {
  #leave;
  /** `connecting`, `open`, `refused` or `closed`. */
  state = 'connecting';
  /** Why it is refused. */
  error = null;

  constructor(facility, audience, leave) {
    super();
    Object.assign(this, { facility, audience });
    this.#leave = leave;
  }

  /** Ends it for good. */
  unsubscribe() {
    this.#leave(this);
  }
}

function become(subscription, state, error = null) {
  if (subscription.state !== state) {
    Object.assign(subscription, { state, error });
    subscription.dispatchEvent(eventOf('state', { state, error }));
  }
}

/** In a word of the protocol there is no space, no control character and no bare `%`. */
const encode = (text) => text.replace(/[\0- %\x7f]/g, encodeURIComponent);

/** A topic's name in commands. */
function nameOf(audience, facility) {
  if (!AUDIENCES.includes(audience)) {
    throw new TypeError(`an audience is ${AUDIENCES.join(', ')}, not ${audience}`);
  }
  if (typeof facility !== 'string' || facility === '') {
    throw new TypeError('a facility is a string that is not empty');
  }
  return `${audience} ${encode(facility)}`;
}

export class Topics {
  /** So many characters of positions have room in a URL. */
  room = Infinity;
  #send;
  #opened;
  #warn;
  #asBlob;
  #topics = new Map();
  /** The server's; null while there is no connection. */
  #limits = null;
  #number = 0;
  /** What is not sent yet. */
  #waiting = [];
  /** By their numbers, the commands without an answer. */
  #underWay = new Map();
  /** Until what cannot be answered now is asked for again. */
  #retryTimer = null;

  /**
   * `send` takes a message, and also its header and its payload; `opened` is called at the server's `welcome`, and `warn` is told what the
   * server says about refusals.
   */
  constructor({ send, opened, warn, asBlob }) {
    this.#send = send;
    this.#opened = opened;
    this.#warn = warn;
    this.#asBlob = asBlob;
  }

  subscribe(facility, { audience = 'broadcast' } = {}) {
    const name = nameOf(audience, facility);
    let topic = this.#topics.get(name);
    const leave = (it) => this.#leave(topic, it);
    const subscription = new Subscription(facility, audience, leave);
    if (topic?.state === 'open') {
      // Nobody can listen to it yet.
      subscription.state = 'open';
    }
    if (topic === undefined) {
      topic = { name, state: '', subscriptions: new Set(), positions: new Map(), attempt: 0 };
      this.#topics.set(name, topic);
    }
    topic.subscriptions.add(subscription);
    if (topic.state === '' || topic.state === 'refused') {
      this.#join(topic);
    }
    return subscription;
  }

  /** A promise of the server's word that the message is published. */
  publish(facility, data, { audience = 'broadcast' } = {}) {
    const name = nameOf(audience, facility);
    return new Promise((accept, fail) => {
      this.#command('publish', name, (error) => (error ? fail(error) : accept()), data);
    });
  }

  ping() {
    this.#number += 1;
    const ping = `ping ${this.#number}`;
    this.#send(ping, ping);
  }

  /** What is to be heard: the name of each topic, and how far each of its channels has been. */
  wanted() {
    return [...this.#topics.values()];
  }

  /** After so many seconds of silence the server says something; 0 is never. */
  get beat() {
    return this.#limits.beat;
  }

  /** Whether the answer to that command is awaited. */
  awaits(number) {
    return this.#underWay.has(Number(number));
  }

  /** The connection is lost; after `isLast` there is no other. */
  lost(isLast) {
    const [sent, waiting] = [this.#underWay, this.#waiting];
    for (const topic of this.#topics.values()) {
      topic.asked = null;
    }
    this.#limits = null;
    this.#underWay = new Map();
    this.#waiting = [];
    const unknown = failure('DroppedError', 'the connection was lost before the answer came');
    sent.forEach(({ done }) => done(unknown));
    waiting.forEach(({ done }) => done(notSent('lost')));
    const topics = [...this.#topics.values()];
    if (isLast) {
      this.#topics.clear();
    }
    this.#stopRetry();
    for (const topic of topics) {
      this.#become(topic, isLast ? 'closed' : 'connecting');
    }
  }

  receive(data) {
    const isText = typeof data === 'string';
    const bytes = isText ? null : new Uint8Array(data);
    const [header] = isText
      ? data.split('\n', 1)
      : [new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(10)))];
    const [verb, ...words] = header.split(' ');
    if (verb === 'welcome') {
      this.#onWelcome(words);
    } else if (verb === 'ok') {
      this.#onAnswer(words, null);
    } else if (verb === 'dropped') {
      this.#onAnswer(words, failure('DroppedError', 'the server cannot say whether it arrived'));
    } else if (verb === 'refused') {
      const [, status, ...text] = words;
      this.#onAnswer(words, failure('RefusedError', text.join(' '), Number(status)));
    } else if (words.length > 2) {
      const start = isText ? header.length : bytes.indexOf(10);
      this.#onChannel(verb, words, data.slice(start + 1));
    }
  }

  #onWelcome(words) {
    this.#limits = { ...LIMITS, ...Object.fromEntries(words.map((word) => word.split('='))) };
    // Nobody answers the subscriptions of a connection that this one replaces.
    this.#underWay.forEach(({ data }, number) => data ?? this.#underWay.delete(number));
    this.#stopRetry();
    for (const topic of this.#topics.values()) {
      this.#join(topic);
    }
    this.#opened();
  }

  #onAnswer([number], error) {
    const command = this.#underWay.get(Number(number));
    this.#underWay.delete(Number(number));
    command?.done(error);
    this.#flush();
  }

  #onChannel(verb, [channel, facility, position], payload) {
    const [, audience, , group = null] = /^(\w*)(:(.*))?/s.exec(decodeURIComponent(channel));
    const topic = this.#topics.get(`${audience} ${encode(decodeURIComponent(facility))}`);
    if (!topic?.asked) {
      return;
    }
    const isPosition = position !== '-';
    if (isPosition || !topic.positions.has(channel)) {
      topic.positions.set(channel, position);
    }
    // The first that is said of a channel is that it is subscribed.
    const isGap = topic.omitted?.delete(channel) || verb === 'gap';
    const stored = verb === 'stored';
    for (const subscription of [...topic.subscriptions]) {
      let event = isGap && new Event('gap');
      if (stored || verb === 'message') {
        const data = this.#asBlob && typeof payload !== 'string' ? new Blob([payload]) : payload;
        event = new MessageEvent('message', { data });
        Object.assign(event, { position: isPosition ? position : null, stored });
      }
      if (event && topic.subscriptions.has(subscription)) {
        subscription.dispatchEvent(Object.assign(event, { audience, group }));
      }
    }
  }

  /** Asks for a topic, if there is a connection. */
  #join(topic) {
    this.#become(topic, 'connecting');
    if (this.#limits !== null) {
      const asked = {};
      topic.asked = asked;
      const since = [topic.name, ...topic.positions].flat().join(' ');
      this.#command('subscribe', since, (error) => {
        if (topic.asked === asked) {
          this.#onJoined(topic, error);
        }
      });
    }
  }

  #onJoined(topic, error) {
    if (error === null) {
      topic.attempt = 0;
      this.#become(topic, 'open');
    } else if (error.status === 429 || error.status >= 500) {
      topic.attempt += 1;
      topic.asked = null;
      this.#retryTimer ??= setTimeout(() => this.#retry(), backOff(topic.attempt));
    } else {
      this.#warn(`${topic.name}: ${error.status} ${error.message}`);
      this.#become(topic, 'refused', error);
    }
  }

  /** Asks for every topic that waits for that. */
  #retry() {
    this.#stopRetry();
    for (const topic of this.wanted()) {
      if (topic.state === 'connecting' && !topic.asked) {
        this.#join(topic);
      }
    }
  }

  #stopRetry() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
  }

  #leave(topic, subscription) {
    if (!topic.subscriptions.delete(subscription)) {
      return;
    }
    become(subscription, 'closed');
    if (topic.subscriptions.size > 0 || topic.state === 'leaving') {
      return;
    }
    topic.asked = null;
    topic.state = 'leaving';
    const left = () => {
      topic.positions.clear();
      if (topic.subscriptions.size > 0) {
        this.#join(topic);
      } else {
        this.#topics.delete(topic.name);
      }
    };
    if (this.#limits === null) {
      left();
    } else {
      this.#command('unsubscribe', topic.name, left);
    }
  }

  #become(topic, state, error) {
    topic.state = state;
    for (const subscription of [...topic.subscriptions]) {
      become(subscription, state, error);
    }
  }

  /** `done` is told null or what went wrong, once. */
  #command(verb, words, done, data) {
    this.#number += 1;
    const header = `${verb} ${this.#number} ${words}`;
    let message = header;
    if (data !== undefined) {
      const isText = typeof data === 'string';
      message = isText ? `${header}\n${data}` : new Blob([`${header}\n`, data]);
      if (new Blob([message]).size > this.#limits.message) {
        done(failure('RefusedError', 'the message is too large', 413));
        return;
      }
    }
    this.#waiting.push({ number: this.#number, message, header, data, done });
    this.#flush();
  }

  #flush() {
    while (this.#waiting.length > 0 && this.#underWay.size < this.#limits.commands) {
      const command = this.#waiting.shift();
      this.#underWay.set(command.number, command);
      this.#send(command.message, command.header, command.data);
    }
  }
}
