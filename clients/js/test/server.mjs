/**
 * The server's side of `wsloop.1` for tests of the client, on the far end of a fake WebSocket or
 * stream: it hears what the client asks for, keeps the histories of channels, and says what follows
 * from both.
 */

import { FakeStream, FakeWebSocket } from './fake.mjs';

const encode = (text) => text.replace(/[\0- %\x7f]/g, encodeURIComponent);

export class Server {
  /** Every command of the current connection, its payload cut off. */
  heard = [];
  /** What was published by the client: facility, audience and text. */
  published = [];
  /** Channels that are heard now: `CHANNEL FACILITY`. */
  listening = new Set();
  /** So many messages of a channel are kept, as [position, text]; others are trimmed. */
  kept = 100;
  histories = new Map();
  /** What a user's groups are. */
  groups = [];
  /** Gives the answer to a command instead of the server, when it gives any. */
  answer = () => null;
  limits = 'commands=4 message=1000 beat=4 later=1';
  #position = 0;

  /** Accepts the client's WebSocket, or the far end of something else, and says who it is. */
  accept(socket = FakeWebSocket.last) {
    this.socket = socket;
    this.heard = [];
    this.listening.clear();
    this.socket.send = (data) => this.#take(data);
    this.socket.accept();
    this.say(`welcome ${this.limits}`);
  }

  /** Accepts the client's stream: its URL subscribes. */
  acceptStream(request) {
    const stream = new FakeStream(request);
    this.accept(stream);
    const { searchParams } = new URL(stream.request.url);
    const since = (searchParams.get('since') ?? '').match(/\S+ \S+ \S+/g) ?? [];
    for (const [index, topic] of searchParams.getAll('topic').entries()) {
      const known = since
        .map((words) => words.split(' '))
        .filter(([channel, facility]) => topic === `${channel.split(':')[0]} ${facility}`)
        .flatMap(([channel, , position]) => [channel, position]);
      stream.send(['subscribe', index + 1, topic, ...known].join(' '));
    }
  }

  say(text) {
    this.socket.receive(text);
  }

  /** Keeps a message and delivers it to a client that listens. */
  publish(channel, text, facility = 'chat') {
    const name = `${channel} ${encode(facility)}`;
    const history = this.histories.get(name) ?? [];
    this.histories.set(name, history);
    this.#position += 1;
    history.push([`${this.#position}-0`, text]);
    const trimmed = history.splice(0, Math.max(0, history.length - this.kept));
    history.isTrimmed ||= trimmed.length > 0;
    if (this.listening.has(name)) {
      this.say(`message ${name} ${this.#position}-0\n${text}`);
    }
  }

  async #take(data) {
    const [header] = (typeof data === 'string' ? data : await data.text()).split('\n', 1);
    this.heard.push(header);
    const [verb, number, audience, facility, ...since] = header.split(' ');
    const answer = this.answer(header);
    if (answer !== null) {
      return answer && this.say(answer);
    }
    const channels = audience === 'group' ? this.groups.map((it) => `group:${it}`) : [audience];
    for (const channel of channels) {
      const name = `${channel} ${facility}`;
      if (verb === 'subscribe') {
        this.#hear(name, since.includes(channel) ? since[since.indexOf(channel) + 1] : undefined);
      } else if (verb === 'unsubscribe') {
        this.listening.delete(name);
      }
    }
    if (verb === 'publish') {
      this.published.push([decodeURIComponent(facility), audience, data.slice(header.length + 1)]);
    }
    return this.say(`ok ${number}`);
  }

  #hear(name, position) {
    const history = this.histories.get(name) ?? [];
    const now = history.at(-1)?.[0] ?? '@0.0';
    const index = history.findIndex(([it]) => it === position);
    this.listening.add(name);
    if (position === undefined) {
      this.say(`subscribed ${name} ${now}`);
      const last = history.at(-1);
      return last && this.say(`stored ${name} -\n${last[1]}`);
    }
    this.say(`subscribed ${name} ${position}`);
    if (index < 0 && (position !== '@0.0' || history.isTrimmed)) {
      return this.say(`gap ${name} ${now}`);
    }
    for (const [it, text] of history.slice(index + 1)) {
      this.say(`message ${name} ${it}\n${text}`);
    }
  }
}

/** What a subscription is told, in order, as short strings. */
export function follow(subscription) {
  const seen = [];
  subscription.addEventListener('message', ({ data, audience, group, stored }) =>
    seen.push(`${[audience, group, stored ? 'stored' : null].filter(Boolean).join(' ')}: ${data}`));
  subscription.addEventListener('gap', ({ audience, group }) =>
    seen.push(`gap ${[audience, group].filter(Boolean).join(' ')}`));
  subscription.addEventListener('state', ({ state, error }) =>
    seen.push(error ? `${state} ${error.status}` : state));
  return seen;
}
