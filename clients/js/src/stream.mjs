/**
 * All topics of a page without a WebSocket: one stream of server-sent events, and a POST for each
 * publish.
 *
 * To the rest of the client it is a WebSocket that speaks `wsloop.1`. It knows HTTP and how events
 * are written; it does not know what frames mean, but `welcome` and the answers to subscriptions.
 *
 * Rules:
 * - The stream's URL says what is heard. When that changes there is another stream in place of the
 *   first, once for all changes of a task, behind the last position of each channel. It begins with
 *   a `welcome`, as a new connection does, so every topic is asked for again.
 * - Where a URL is too long for the server, half of the positions are left out, and no more have room
 *   from then on. A channel whose position is left out has a gap.
 * - The server names a topic by its place in the URL; the command that asked for it gets its answer.
 * - After `close()`, and when another stream is wanted, nothing of the old one is heard, whatever has
 *   arrived already: the positions say what comes again.
 * - It is read by `fetch`, not by an `EventSource`: so a token is in no URL, comments show that the
 *   server is there, and nothing comes back by itself.
 * - Publishes go out one after the other, in their order. One that nobody waits for any more is not
 *   sent.
 */

import { authorization } from './options.mjs';

/** What a server says to a URL that is too long. */
const TOO_LARGE = [414, 431];

/**
 * `topics` says what is to be heard and takes frames, `address` is the URL for all topics, and
 * `bearer` a token or null.
 */
export function streamOf(topics, { address, bearer }) {
  const [base, query = ''] = address.replace('ws', 'http').split('?');
  const headers = authorization(bearer);
  let current = new AbortController();
  /** Of the topics in the URL without an answer, the number of the command; 0 before there is one. */
  const asked = new Map();
  /** The last publish. */
  let published = Promise.resolve();
  const self = { transport: 'stream', readyState: 0, send, close, restart };

  /** Takes a command: the whole message, or its header and its payload. */
  function send(message, header, data) {
    const [verb, number, audience, facility] = header.split(' ');
    const name = `${audience} ${facility}`;
    if (verb === 'publish') {
      published = published.then(() => publish(number, audience, facility, data));
    } else if (verb === 'subscribe' && asked.has(name)) {
      asked.set(name, number);
    } else if (verb !== 'ping') {
      restart();
      if (verb === 'unsubscribe') {
        topics.receive(`ok ${number}`);
      }
    }
  }

  function close(code, reason, wasClean = true) {
    self.readyState = 3;
    current.abort();
    queueMicrotask(() => self.onclose?.({ code, reason, wasClean }));
  }

  /** Puts another stream in place of this one. */
  function restart() {
    current.abort();
    current = new AbortController();
    asked.clear();
    const { signal } = current;
    queueMicrotask(() => signal.aborted || listen(signal));
  }

  async function listen(signal) {
    try {
      const options = new URLSearchParams();
      let since = '';
      for (const topic of topics.wanted()) {
        const { name } = topic;
        asked.set(name, 0);
        options.append('topic', name);
        topic.omitted = new Set();
        for (const [channel, position] of topic.positions) {
          const more = `${since} ${channel} ${name.split(' ')[1]} ${position}`;
          if (more.length > topics.room) {
            topic.omitted.add(channel);
          } else {
            since = more;
          }
        }
      }
      if (since) {
        options.append('since', since.slice(1));
      }
      const accepting = { ...headers, Accept: 'text/event-stream' };
      const { status, body } = await ask(`?${options}`, { headers: accepting, signal });
      if (since && TOO_LARGE.includes(status)) {
        topics.room = since.length / 2;
        restart();
        return;
      }
      if (status !== 200) {
        throw new Error(`status ${status}`);
      }
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (let part; !(part = await reader.read()).done;) {
        const events = (text + part.value).split('\n\n');
        text = events.pop();
        for (const event of events) {
          // Its data are its last lines.
          const [head, ...lines] = `\n${event}`.split('\ndata: ');
          if (!signal.aborted) {
            hear(head.split('\nevent: ')[1], lines.join('\n'), options.getAll('topic'));
          }
        }
      }
      throw new Error('the stream has ended');
    } catch ({ message }) {
      if (!signal.aborted) {
        close(1006, message, false);
      }
    }
  }

  /** Passes on what the server says, as it would be said over a WebSocket. */
  function hear(type, data, names) {
    const [verb, place] = data.split(' ', 2);
    if (type === 'close') {
      close(Number(verb), data.slice(verb.length + 1));
    } else if (type) {
      const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
      data = type === 'text' ? new TextDecoder().decode(bytes) : bytes.buffer;
    } else if (verb === 'welcome') {
      self.readyState = 1;
      // There are no commands that the server could count.
      data += ' commands=Infinity';
    } else if (verb === 'ok' || verb === 'refused') {
      const name = names[place - 1];
      data = data.replace(place, asked.get(name));
      asked.delete(name);
    }
    self.onmessage({ data });
  }

  async function publish(number, audience, facility, body) {
    if (!topics.awaits(number)) {
      return;
    }
    if (/(^|\/)\.\.?(\/|$)/.test(facility)) {
      // Browsers would make another URL of it.
      topics.receive(`refused ${number} 400 no . or .. in a URL`);
      return;
    }
    let answer = `dropped ${number}`;
    try {
      // The rest of what means something in URLs is encoded in the command, or by the browser.
      const path = facility.replace(/[?#\\]/g, encodeURIComponent);
      const options = { method: 'POST', body, headers };
      const response = await ask(`${path}?publish-${audience}`, options);
      const { status } = response;
      const text = await response.text();
      if (status === 202) {
        answer = `ok ${number}`;
      } else if (status < 500 || text.includes('again later')) {
        // What else the server says of a failure is that nobody knows.
        answer = `refused ${number} ${status} ${text}`;
      }
    } catch {
      // The request was lost, or the answer.
    }
    topics.receive(answer);
  }

  function ask(path, options) {
    const whole = `${base}${path}&${query}`;
    return fetch(whole, { ...options, cache: 'no-store', credentials: 'include' });
  }

  restart();
  return self;
}
