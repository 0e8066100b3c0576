/**
 * Whether WebSockets get through by now: while there is a stream, one is tried now and then.
 *
 * It knows when to try, not how one is opened nor what becomes of one that speaks. Each attempt ends
 * the one before, so there is never more than one.
 */

/** Time until the first attempt, and the longest that it grows to, in milliseconds. */
const [FIRST_WAIT, LONGEST_WAIT] = [30000, 300000];

const CLOSING = 2;

/** After this, nothing of a socket is heard any more. */
export function drop(socket) {
  if (socket !== null) {
    socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
    if (socket.readyState < CLOSING) {
      socket.close(1000);
    }
  }
}

export class Probe {
  #open;
  #found;
  #socket = null;
  #timer = null;
  #wait = FIRST_WAIT;

  /** `open` gives a WebSocket, and `found` gets one that speaks, with the event of what it said. */
  constructor(open, found) {
    this.#open = open;
    this.#found = found;
  }

  /** Tries after a random wait of the half to the whole of what is due, which doubles. */
  later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#try(), (this.#wait * (1 + Math.random())) / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
  }

  /** Tries at once, and then as at first. */
  now() {
    this.reset();
    this.#try();
  }

  /** Ends the attempt, and there is no other until it is asked for. */
  stop() {
    clearTimeout(this.#timer);
    drop(this.#socket);
    this.#socket = null;
  }

  /** The next wait is as at first. */
  reset() {
    this.#wait = FIRST_WAIT;
  }

  #try() {
    this.stop();
    this.later();
    const socket = this.#open();
    this.#socket = socket;
    socket.onmessage = (event) => {
      this.#socket = null;
      this.#found(socket, event);
    };
  }
}
