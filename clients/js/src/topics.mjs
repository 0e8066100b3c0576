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

import { backOff, eventOf, expect, failure, isText, notSent } from './options.mjs';

const AUDIENCES = ['broadcast', 'user', 'session', 'group'];
/** What the server does not say of itself. */
const LIMITS = { commands: 1, message: Infinity, beat: 0 };

/**
 * What `subscribe` gives. Events: `message` (`data`, `audience`, `group`, `position`, `stored`), `gap`
 * (`audience`, `group`) and `state` (`state`, `error`).
 */
class Subscription extends EventTarget {
  /** `connecting`, `open`, `refused` or `closed`. */
  state = 'connecting';
  /** Why it is refused. */
  error = null;

  constructor(facility, audience, leave) {
    super();
    // `unsubscribe` ends it for good.
    Object.assign(this, { facility, audience, unsubscribe: () => leave(this) });
  }
}

function change(subscription, state, error = null) {
  if (subscription.state !== state) {
    Object.assign(subscription, { state, error });
    subscription.dispatchEvent(eventOf('state', { state, error }));
  }
}

/** In a word of the protocol there is no space, no control character and no bare `%`. */
const encode = (text) => text.replace(/[\0- %\x7f]/g, encodeURIComponent);

/** A topic's name in commands, and its audience. */
function nameOf(facility, { audience = 'broadcast' } = {}) {
  const isAudience = AUDIENCES.includes(audience);
  expect(isAudience, `an audience is ${AUDIENCES.join(', ')}, not ${audience}`);
  expect(isText(facility), 'a facility is a string that is not empty');
  return [`${audience} ${encode(facility)}`, audience];
}

/**
 * The topics of a page. Of `page`, `send` takes a message, and also its header and its payload;
 * `opened` is called at the server's `welcome`, `warn` is told what the server says about refusals,
 * and `asBlob` is whether binary data goes to the page as a `Blob`.
 */
export function topicsOf(page) {
  /** By their names. */
  const topics = new Map();
  /** The server's; null while there is no connection. */
  let limits = null;
  let lastNumber = 0;
  /** What is not sent yet. */
  let waiting = [];
  /** By their numbers, which are text, the commands without an answer. */
  let underWay = new Map();
  /** Until what cannot be answered now is asked for again. */
  let retryTimer = null;

  function subscribe(facility, options) {
    const [name, audience] = nameOf(facility, options);
    let topic = topics.get(name);
    const subscription = new Subscription(facility, audience, (it) => leave(topic, it));
    if (topic?.state === 'open') {
      // Nobody can listen to it yet.
      subscription.state = 'open';
    }
    if (!topic) {
      topic = { name, state: '', subscriptions: new Set(), positions: new Map(), attempt: 0 };
      topics.set(name, topic);
    }
    topic.subscriptions.add(subscription);
    if (topic.state === '' || topic.state === 'refused') {
      join(topic);
    }
    return subscription;
  }

  /** A promise of the server's word that the message is published. */
  function publish(facility, data, options) {
    const [name] = nameOf(facility, options);
    return new Promise((accept, fail) => {
      command('publish', name, (error) => (error ? fail(error) : accept()), data);
    });
  }

  function ping() {
    lastNumber += 1;
    const text = `ping ${lastNumber}`;
    page.send(text, text);
  }

  /** What is to be heard: the name of each topic, and how far each of its channels has been. */
  function wanted() {
    return [...topics.values()];
  }

  /** The connection is lost; after `isLast` there is no other. */
  function lost(isLast) {
    const [sent, unsent, all] = [underWay, waiting, wanted()];
    for (const topic of all) {
      topic.asked = null;
    }
    limits = null;
    underWay = new Map();
    waiting = [];
    const unknown = failure('DroppedError', 'the connection was lost before the answer came');
    sent.forEach(({ done }) => done(unknown));
    unsent.forEach(({ done }) => done(notSent('lost')));
    if (isLast) {
      topics.clear();
    }
    stopRetry();
    for (const topic of all) {
      become(topic, isLast ? 'closed' : 'connecting');
    }
  }

  function receive(data) {
    const text = typeof data === 'string' ? data : new TextDecoder().decode(data);
    const [header] = text.split('\n', 1);
    const [verb, ...words] = header.split(' ');
    if (verb === 'welcome') {
      onWelcome(words);
    } else if (verb === 'ok') {
      onAnswer(words, null);
    } else if (verb === 'dropped') {
      onAnswer(words, failure('DroppedError', 'the server cannot say whether it arrived'));
    } else if (verb === 'refused') {
      const [, status, ...why] = words;
      onAnswer(words, failure('RefusedError', why.join(' '), Number(status)));
    } else if (words.length > 2) {
      // What the server writes before a payload is ASCII: as many bytes as characters.
      onChannel(verb, words, data.slice(header.length + 1));
    }
  }

  function onWelcome(words) {
    limits = { ...LIMITS, ...Object.fromEntries(words.map((word) => word.split('='))) };
    // Nobody answers the subscriptions of a connection that this one replaces.
    underWay.forEach(({ data }, number) => data ?? underWay.delete(number));
    stopRetry();
    for (const topic of wanted()) {
      join(topic);
    }
    page.opened();
  }

  function onAnswer([number], error) {
    const answered = underWay.get(number);
    underWay.delete(number);
    answered?.done(error);
    flush();
  }

  function onChannel(verb, [channel, facility, position], payload) {
    const [, audience, group] = /^(\w*):?(.*)/s.exec(decodeURIComponent(channel));
    const topic = topics.get(`${audience} ${encode(decodeURIComponent(facility))}`);
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
      let event = isGap && eventOf('gap');
      if (stored || verb === 'message') {
        const data = page.asBlob && typeof payload !== 'string' ? new Blob([payload]) : payload;
        event = new MessageEvent('message', { data });
        Object.assign(event, { position: isPosition ? position : null, stored });
      }
      if (event && topic.subscriptions.has(subscription)) {
        subscription.dispatchEvent(Object.assign(event, { audience, group: group || null }));
      }
    }
  }

  /** Asks for a topic, if there is a connection. */
  function join(topic) {
    become(topic, 'connecting');
    if (limits !== null) {
      const asked = {};
      topic.asked = asked;
      const since = [topic.name, ...topic.positions].flat().join(' ');
      command('subscribe', since, (error) => {
        if (topic.asked === asked) {
          onJoined(topic, error);
        }
      });
    }
  }

  function onJoined(topic, error) {
    if (error === null) {
      topic.attempt = 0;
      become(topic, 'open');
    } else if (error.status === 429 || error.status >= 500) {
      topic.attempt += 1;
      topic.asked = null;
      retryTimer ??= setTimeout(retry, backOff(topic.attempt));
    } else {
      page.warn(`${topic.name}: ${error.status} ${error.message}`);
      become(topic, 'refused', error);
    }
  }

  /** Asks for every topic that waits for that. */
  function retry() {
    stopRetry();
    for (const topic of wanted()) {
      if (topic.state === 'connecting' && !topic.asked) {
        join(topic);
      }
    }
  }

  function stopRetry() {
    clearTimeout(retryTimer);
    retryTimer = null;
  }

  function leave(topic, subscription) {
    if (!topic.subscriptions.delete(subscription)) {
      return;
    }
    change(subscription, 'closed');
    if (topic.subscriptions.size > 0 || topic.state === 'leaving') {
      return;
    }
    topic.asked = null;
    topic.state = 'leaving';
    const left = () => {
      topic.positions.clear();
      if (topic.subscriptions.size > 0) {
        join(topic);
      } else {
        topics.delete(topic.name);
      }
    };
    if (limits === null) {
      left();
    } else {
      command('unsubscribe', topic.name, left);
    }
  }

  function become(topic, state, error) {
    topic.state = state;
    for (const subscription of [...topic.subscriptions]) {
      change(subscription, state, error);
    }
  }

  /** `done` is told null or what went wrong, once. */
  function command(verb, words, done, data) {
    lastNumber += 1;
    const header = `${verb} ${lastNumber} ${words}`;
    let message = header;
    if (data !== undefined) {
      const isString = typeof data === 'string';
      message = isString ? `${header}\n${data}` : new Blob([`${header}\n`, data]);
      if (new Blob([message]).size > limits.message) {
        done(failure('RefusedError', 'the message is too large', 413));
        return;
      }
    }
    waiting.push({ number: `${lastNumber}`, message, header, data, done });
    flush();
  }

  function flush() {
    while (waiting.length > 0 && underWay.size < limits.commands) {
      const next = waiting.shift();
      underWay.set(next.number, next);
      page.send(next.message, next.header, next.data);
    }
  }

  return {
    /** So many characters of positions have room in a URL. */
    room: Infinity,
    subscribe,
    publish,
    ping,
    wanted,
    lost,
    receive,
    /** After so many seconds of silence the server says something; 0 is never. */
    silence: () => limits.beat,
    /** Whether the answer to that command is awaited. */
    awaits: (number) => underWay.has(number),
  };
}
