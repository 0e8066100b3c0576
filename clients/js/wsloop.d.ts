/** `waiting` is between two attempts, `closed` is for good. */
export type WSLoopState = 'connecting' | 'open' | 'closing' | 'waiting' | 'closed';

/** Text is a string; binary data is what `binaryType` says. */
export type WSLoopMessage = string | ArrayBuffer | Blob;

export interface WSLoopCloseEvent extends Event {
  /** Close code; 1006 when there was no close handshake. */
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
  /** False after `close()`, on code 4403, and on 4401 unless `token` is a function. */
  readonly willReconnect: boolean;
  /** Milliseconds until the next attempt; null when there is none. */
  readonly reconnectIn: number | null;
}

export interface WSLoopStateEvent extends Event {
  readonly state: WSLoopState;
}

/** What a connection is: `stream` is server-sent events, with a POST for each publish. */
export type WSLoopTransport = 'websocket' | 'stream';

export interface WSLoopTransportEvent extends Event {
  readonly transport: WSLoopTransport;
}

export interface WSLoopEventMap {
  connecting: Event;
  open: Event;
  message: MessageEvent<WSLoopMessage>;
  close: WSLoopCloseEvent;
  state: WSLoopStateEvent;
  /** The connection is of another kind than the one before, which may happen while it is `open`. */
  transport: WSLoopTransportEvent;
  gap: Event;
}

export type WSLoopAudience = 'broadcast' | 'user' | 'session' | 'group';

/** What a subscription is in: `connecting` is until the server hears it, now or once more. */
export type WSLoopSubscriptionState = 'connecting' | 'open' | 'refused' | 'closed';

/** `RefusedError`, `DroppedError` or `InvalidStateError` by its name. */
export interface WSLoopError extends Error {
  /** Of a `RefusedError`, what HTTP would say: 403, 413, 429, 503 and others. */
  readonly status?: number;
}

export interface WSLoopTopicMessageEvent extends MessageEvent<WSLoopMessage> {
  readonly audience: WSLoopAudience;
  /** The group that it was published to; null for another audience. */
  readonly group: string | null;
  /** Where it stands in the history of its channel; null when it is in none. */
  readonly position: string | null;
  /** It is the channel's stored message, and was published before the page listened. */
  readonly stored: boolean;
}

export interface WSLoopTopicGapEvent extends Event {
  readonly audience: WSLoopAudience;
  readonly group: string | null;
}

export interface WSLoopSubscriptionStateEvent extends Event {
  readonly state: WSLoopSubscriptionState;
  /** Why it is `refused`. */
  readonly error: WSLoopError | null;
}

export interface WSLoopSubscriptionEventMap {
  message: WSLoopTopicMessageEvent;
  /** Messages may be missing between the last one and the next. */
  gap: WSLoopTopicGapEvent;
  state: WSLoopSubscriptionStateEvent;
}

/** One audience of a facility, heard for as long as the page wants. */
export interface WSLoopSubscription extends EventTarget {
  readonly facility: string;
  readonly audience: WSLoopAudience;
  readonly state: WSLoopSubscriptionState;
  readonly error: WSLoopError | null;
  /** Ends it for good. */
  unsubscribe(): void;

  addEventListener<K extends keyof WSLoopSubscriptionEventMap>(
    type: K,
    listener: (this: WSLoopSubscription, event: WSLoopSubscriptionEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof WSLoopSubscriptionEventMap>(
    type: K,
    listener: (this: WSLoopSubscription, event: WSLoopSubscriptionEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

export interface WSLoopTopicOptions {
  /** Default `broadcast`. `group` is every group of the user. */
  audience?: WSLoopAudience;
}

export interface WSLoopOptions {
  /** An attempt has begun. The only way to hear of the first one. */
  connecting?(): void;
  /** The connection is open, the first time or again. */
  connected?(): void;
  /** The connection is closed, or an attempt has failed. */
  disconnected?(event: WSLoopCloseEvent): void;
  /** A message has arrived; heartbeats are not messages. */
  receive_message?(data: WSLoopMessage): void;
  /**
   * The server's heartbeat text. It is sent every 5 s, and the connection is closed and opened anew
   * when none came back for more than three times. Off by default.
   */
  heartbeat_msg?: string | null;
  /**
   * Says who this is: a text, or a function that gives one, at once or as a promise. The function
   * is called anew for each attempt; null is to connect without a token. When it throws or rejects,
   * the attempt has failed. With a function the close code 4401 leads to the next attempt.
   */
  token?: string | null | (() => string | null | Promise<string | null>);
  /**
   * Where the token goes: into a sub-protocol (default), which access logs do not have, or into the
   * query as `token=…`.
   */
  tokenIn?: 'protocol' | 'query';
  /**
   * Sub-protocols to offer, the best one first. Default none; along with a token in a sub-protocol
   * `wsloop`, because browsers need an answer and the server never answers with the token.
   */
  protocols?: string | string[] | null;
  /** An attempt without an answer has failed after so many milliseconds. Default 15000. */
  connectTimeout?: number;
  /**
   * Whether the server is asked what it makes of the URI when it refuses, or when nothing arrives
   * within 2 s of an `open`, and what it says goes to the console. Only pages on localhost ask, once
   * for each URI. Default true; `refused` is to ask after refusals only.
   */
  explain?: boolean | 'refused';
  /**
   * Whether the page hears, as the event `gap`, that it may have missed messages: after an outage of
   * the server's Redis, and behind each `open` but the first. Default false.
   */
  gaps?: boolean;
  /**
   * Whether the URI is the one for all topics, which `subscribe` and `publish` need. Default: whether
   * its path ends in a slash and it has no query, as `/ws/`.
   */
  topics?: boolean;
  /**
   * Whether there may be a stream where two WebSockets in a row never opened; only with topics.
   * Default true.
   */
  streams?: boolean;
  /** What binary messages arrive as. Default `arraybuffer`. */
  binaryType?: 'arraybuffer' | 'blob';
}

/** A WebSocket that comes back. */
export class WSLoop extends EventTarget {
  /**
   * Connects at once. `http://` and `https://` are `ws://` and `wss://`, and a relative URI is the
   * page's own. Throws on options that can never work: no URI, one that the browser refuses, a
   * token that is no text. What comes of a function for tokens is known later, and never thrown.
   */
  constructor(uri: string | URL, options?: WSLoopOptions);
  constructor(options: WSLoopOptions & { uri: string | URL });

  readonly state: WSLoopState;
  /** What the connection is, or was last; null before the first. */
  readonly transport: WSLoopTransport | null;

  /**
   * Throws an `InvalidStateError` unless the connection is open: nothing is queued. Where there are
   * topics it is `publish` that sends.
   */
  send(data: string | Blob | BufferSource): void;
  /** The same as `send`. */
  send_message(data: string | Blob | BufferSource): void;
  /**
   * Subscribes to a facility, and again on each new connection, where what was missed comes first.
   * Subscriptions of a page to the same are one to the server. Throws when the loop is closed.
   */
  subscribe(facility: string, options?: WSLoopTopicOptions): WSLoopSubscription;
  /**
   * Publishes, and promises that the server has it. It fails with a `WSLoopError`: an
   * `InvalidStateError` when it was not sent, because there is no connection; a `RefusedError` with
   * a `status`; a `DroppedError` when nobody knows whether it arrived.
   */
  publish(
    facility: string,
    data: string | Blob | BufferSource,
    options?: WSLoopTopicOptions,
  ): Promise<void>;
  /** Ends it for good, a pending attempt too. The code is 1000 (default) or 3000 to 4999. */
  close(code?: number, reason?: string): void;
  /** Tries at once, if it waits for the next attempt; else it does nothing. */
  reconnect(): void;
  /** The `readyState` of the WebSocket, 0 to 3; 3 between two attempts. */
  get_state(): number;
  is_connecting(): boolean;
  is_connected(): boolean;
  is_closing(): boolean;
  is_closed(): boolean;

  addEventListener<K extends keyof WSLoopEventMap>(
    type: K,
    listener: (this: WSLoop, event: WSLoopEventMap[K]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof WSLoopEventMap>(
    type: K,
    listener: (this: WSLoop, event: WSLoopEventMap[K]) => unknown,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** The constructor of ws4redis.js: with or without `new`; the second argument is ignored. */
export const WS4Redis: {
  new (options: WSLoopOptions & { uri: string | URL }, jQuery?: unknown): WSLoop;
  (options: WSLoopOptions & { uri: string | URL }, jQuery?: unknown): WSLoop;
};
