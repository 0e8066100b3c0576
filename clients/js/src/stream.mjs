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
 * - The server names a topic by its place in the URL; the command that asked for it gets its answer.
 * - After `close()`, and when another stream is wanted, nothing of the old one is heard, whatever has
 *   arrived already: the positions say what comes again.
 * - It is read by `fetch`, not by an `EventSource`: so a token is in no URL, comments show that the
 *   server is there, and nothing comes back by itself.
 * - Publishes go out one after the other, in their order. One that nobody waits for any more is not
 *   sent.
 */

import { authorization, withOption } from './options.mjs';

export class Stream {
  readyState = 0;
  #topics;
  #address;
  #options;
  #current = new AbortController();
  /** The topics in the URL of the stream. */
  #names = [];
  /** Of those without an answer, the number of the command that asks; 0 before there is one. */
  #asked = new Map();
  /** The last publish. */
  #published = Promise.resolve();

  /**
   * `topics` says what is to be heard and takes frames, `address` is the URL for all topics, and
   * `bearer` a token or null.
   */
  constructor(topics, { address, bearer }) {
    const headers = authorization(bearer);
    this.#topics = topics;
    this.#address = address.replace('ws', 'http');
    this.#options = { cache: 'no-store', credentials: 'include', headers };
    this.restart();
  }

  /** Takes a command: the whole message, or its header and its payload. */
  send(message, header, data) {
    const [verb, number, audience, facility] = header.split(' ');
    const name = `${audience} ${facility}`;
    if (verb === 'publish') {
      const publish = () => this.#publish(Number(number), audience, facility, data);
      this.#published = this.#published.then(publish);
    } else if (verb === 'subscribe' && this.#asked.has(name)) {
      this.#asked.set(name, number);
    } else if (verb !== 'ping') {
      this.restart();
      if (verb === 'unsubscribe') {
        this.#topics.receive(`ok ${number}`);
      }
    }
  }

  close(code, reason = '') {
    this.readyState = 3;
    this.#current.abort();
    queueMicrotask(() => this.onclose?.({ code, reason, wasClean: true }));
  }

  /** Puts another stream in place of this one. */
  restart() {
    this.#current.abort();
    this.#current = new AbortController();
    this.#asked.clear();
    const { signal } = this.#current;
    queueMicrotask(() => signal.aborted || this.#listen(signal));
  }

  async #listen(signal) {
    let end = { code: 1006, reason: 'the stream has ended', wasClean: false };
    try {
      for await (const { event, data } of this.#events(signal)) {
        if (signal.aborted) {
          return;
        }
        if (event === 'close') {
          const [code] = data.split(' ', 1);
          end = { code: Number(code), reason: data.slice(code.length + 1), wasClean: true };
          break;
        }
        this.onmessage({ data: this.#frame(event, data) });
      }
    } catch (error) {
      end.reason = String(error);
    }
    if (!signal.aborted) {
      this.readyState = 3;
      this.#current.abort();
      this.onclose(end);
    }
  }

  /** Opens a stream and gives its events; of a comment, one without data. */
  async *#events(signal) {
    const topics = this.#topics.wanted();
    this.#names = topics.map(({ name }) => name);
    this.#asked = new Map(this.#names.map((name) => [name, 0]));
    const query = new URLSearchParams(this.#names.map((name) => ['topic', name]));
    const since = topics.flatMap(({ name, positions }) =>
      [...positions].flatMap(([channel, position]) => [channel, name.split(' ')[1], position]));
    if (since.length > 0) {
      query.set('since', since.join(' '));
    }
    const headers = { ...this.#options.headers, Accept: 'text/event-stream' };
    const options = { ...this.#options, headers, signal };
    const { status, body } = await fetch(withOption(this.#address, query), options);
    if (status !== 200) {
      throw new Error(`status ${status}`);
    }
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (let part; !(part = await reader.read()).done;) {
      const events = (text + part.value).split('\n\n');
      text = events.pop();
      for (const lines of events) {
        const fields = {};
        for (const line of lines.split('\n')) {
          const [name] = line.split(':', 1);
          const value = line.slice(name.length + 2);
          fields[name] = name in fields ? `${fields[name]}\n${value}` : value;
        }
        yield { data: '', ...fields };
      }
    }
  }

  /** What the server says, as it would be said over a WebSocket. */
  #frame(event, data) {
    if (event === 'text' || event === 'binary') {
      const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
      return event === 'text' ? new TextDecoder().decode(bytes) : bytes.buffer;
    }
    const [verb, place] = data.split(' ', 2);
    if (verb === 'welcome') {
      this.readyState = 1;
      // There are no commands that the server could count.
      return `${data} commands=Infinity`;
    }
    if (verb === 'ok' || verb === 'refused') {
      const name = this.#names[place - 1];
      const number = this.#asked.get(name);
      this.#asked.delete(name);
      return data.replace(place, number);
    }
    return data;
  }

  async #publish(number, audience, facility, data) {
    if (!this.#topics.awaits(number)) {
      return;
    }
    let answer = `dropped ${number}`;
    try {
      const path = encodeURIComponent(decodeURIComponent(facility)).replaceAll('%2F', '/');
      const [base, query] = this.#address.split('?');
      const address = withOption(`${base}${path}?publish-${audience}`, query ?? '');
      const options = { ...this.#options, method: 'POST', body: data };
      const response = await fetch(address, options);
      const text = await response.text();
      const { status } = response;
      if (status === 202) {
        answer = `ok ${number}`;
      } else if (status < 500 || text.includes('again later')) {
        // Where the server says nothing of that, nobody knows.
        answer = `refused ${number} ${status} ${text}`;
      }
    } catch {
      // The answer was lost, or the request.
    }
    this.#topics.receive(answer);
  }
}
