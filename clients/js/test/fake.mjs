/**
 * A WebSocket whose network is the test, and a clock and a die that the test moves.
 */

export class FakeWebSocket {
  /** Every socket made since the last `install`, oldest first. */
  static all = [];

  readyState = 0;
  sent = [];
  closedWith = null;
  binaryType = 'blob';
  protocol = '';

  constructor(url, protocols = []) {
    if (url === 'not a uri') {
      throw new SyntaxError(`invalid URL: ${url}`);
    }
    const wrong = protocols.find((name) => !/^[\w!#$%&'*+.^`|~-]+$/.test(name));
    if (wrong !== undefined) {
      throw new SyntaxError(`invalid sub-protocol: ${wrong}`);
    }
    this.url = url;
    this.protocols = protocols;
    FakeWebSocket.all.push(this);
  }

  static get last() {
    return FakeWebSocket.all.at(-1);
  }

  /** The sockets that are connecting or open. */
  static get live() {
    return FakeWebSocket.all.filter((socket) => socket.readyState < 2);
  }

  send(data) {
    if (this.readyState !== 1) {
      throw new Error(`sent in state ${this.readyState}`);
    }
    this.sent.push(data);
  }

  close(code, reason) {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) {
      throw new RangeError(`code ${code}`);
    }
    if (this.readyState < 2) {
      this.readyState = 2;
      this.closedWith = { code, reason };
    }
  }

  /** The handshake succeeds, if the server finds a sub-protocol to choose in what it is offered. */
  accept() {
    const chosen = this.protocols.find((name) => !name.startsWith('bearer.'));
    if (chosen === undefined && this.protocols.length > 0) {
      this.end(1006);
      return;
    }
    this.protocol = chosen ?? '';
    this.readyState = 1;
    this.onopen?.({ type: 'open' });
  }

  receive(data) {
    this.onmessage?.({ type: 'message', data, origin: 'ws://host' });
  }

  /** The connection ends, from either side. */
  end(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose?.({ type: 'close', code, reason, wasClean: code !== 1006 });
  }
}

/** A request of `fetch` whose answer the test gives. */
export class FakeRequest {
  /** Every request since the last `install`, oldest first. */
  static all = [];

  constructor(url, { method = 'GET', headers, body, signal }) {
    Object.assign(this, { url, method, headers, body, signal });
    FakeRequest.all.push(this);
    this.answered = new Promise((accept, fail) => Object.assign(this, { accept, fail }));
    signal?.addEventListener('abort', () => this.fail(signal.reason));
  }

  static get last() {
    return FakeRequest.all.at(-1);
  }

  /** The streams that are asked for or open. */
  static get streams() {
    return FakeRequest.all.filter(({ signal }) => signal && !signal.aborted);
  }

  respond(status, text = '') {
    this.accept(new Response(text, { status }));
  }
}

/** The far end of a stream of events, which takes and says what that of a WebSocket would. */
export class FakeStream {
  constructor(request = FakeRequest.last) {
    this.request = request;
  }

  accept() {
    const { signal } = this.request;
    let isOpen = !signal.aborted;
    const start = (controller) => {
      // Nobody is told that the other end is gone.
      this.writeBytes = (bytes) => isOpen && controller.enqueue(bytes);
      this.end = () => {
        if (isOpen) {
          isOpen = false;
          controller.close();
        }
      };
      signal.addEventListener('abort', () => {
        if (isOpen) {
          isOpen = false;
          controller.error(signal.reason);
        }
      });
    };
    this.request.accept(new Response(new ReadableStream({ start })));
  }

  write(text) {
    this.writeBytes(new TextEncoder().encode(text));
  }

  /** As the server writes messages. */
  receive(data) {
    const isText = typeof data === 'string';
    if (isText && !data.includes('\r')) {
      this.write(`${data.split('\n').map((line) => `data: ${line}\n`).join('')}\n`);
    } else {
      const base64 = Buffer.from(data).toString('base64');
      this.write(`event: ${isText ? 'text' : 'binary'}\ndata: ${base64}\n\n`);
    }
  }
}

/** Timers in order of time; one that a callback sets counts from the time of that callback. */
const clock = {
  now: 0,
  timers: new Map(),
  lastId: 0,

  set(callback, delay, interval) {
    this.lastId += 1;
    this.timers.set(this.lastId, { callback, at: this.now + delay, interval });
    return this.lastId;
  },

  next(end) {
    const due = [...this.timers].filter(([, timer]) => timer.at <= end);
    return due.sort(([, a], [, b]) => a.at - b.at)[0];
  },
};

/** Moves the clock on by so many milliseconds and runs what is due meanwhile. */
export function tick(milliseconds) {
  const end = clock.now + milliseconds;
  for (let due = clock.next(end); due !== undefined; due = clock.next(end)) {
    const [id, timer] = due;
    clock.now = timer.at;
    if (timer.interval === null) {
      clock.timers.delete(id);
    } else {
      timer.at += timer.interval;
    }
    timer.callback();
  }
  clock.now = end;
}

/** Until all that has been promised by now has come. */
export const settle = () => new Promise(setImmediate);

/** `die.value` is what `Math.random` gives. */
const die = { value: 0.5 };

/** What a test runs on instead of the real things. */
export const fakes = {
  WebSocket: FakeWebSocket,
  fetch: (url, options) => new FakeRequest(url, options).answered,
  performance: { now: () => clock.now },
  setTimeout: (callback, delay) => clock.set(callback, delay, null),
  setInterval: (callback, delay) => clock.set(callback, delay, delay),
  clearTimeout: (id) => clock.timers.delete(id),
  clearInterval: (id) => clock.timers.delete(id),
};

/** Puts fresh fakes in place for one test. */
export function install(t) {
  const originals = Object.keys(fakes).map((name) => [name, globalThis[name]]);
  FakeWebSocket.all = [];
  FakeRequest.all = [];
  clock.timers.clear();
  die.value = 0.5;
  t.mock.method(Math, 'random', () => die.value);
  Object.assign(globalThis, fakes);
  t.after(() => Object.assign(globalThis, Object.fromEntries(originals)));
  return { die };
}

/** Every event of a loop in order, as short strings. */
export function record(loop) {
  const seen = [];
  for (const type of ['connecting', 'open', 'message', 'close']) {
    loop.addEventListener(type, (event) => {
      const detail = { message: event.data, close: event.code }[type];
      seen.push(detail === undefined ? type : `${type} ${detail}`);
    });
  }
  loop.addEventListener('state', (event) => seen.push(`state ${event.state}`));
  return seen;
}

/** A window for the loops of one test: `fire(type)` is what happens, `count` are its listeners. */
export function makeWindow(t) {
  const target = new EventTarget();
  const window = { count: 0 };
  globalThis.addEventListener = (...args) => {
    window.count += 1;
    target.addEventListener(...args);
  };
  globalThis.removeEventListener = (...args) => {
    window.count -= 1;
    target.removeEventListener(...args);
  };
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
  });
  window.fire = (type, detail) => target.dispatchEvent(Object.assign(new Event(type), detail));
  return window;
}
