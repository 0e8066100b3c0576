/**
 * What a page may say, made complete and checked, and the errors and waits that all parts share.
 */

/** Longest wait before an attempt, in milliseconds. */
const MAX_DELAY = 30000;
/** How long an attempt may take unless the page says otherwise, in milliseconds. */
const CONNECT_TIMEOUT = 15000;
/** What is spoken where there are topics. */
const TOPICS_PROTOCOL = 'wsloop.1';
/** Where pages are developed. */
const LOCALHOST = /^((.+\.)?localhost|127(\.\d+){3}|\[::1\])$/;

/** Complains about what the page says, unless that is right. */
export function expect(isRight, text) {
  if (!isRight) {
    throw new TypeError(text);
  }
}

/** What a token and a facility are. */
export const isText = (value) => typeof value === 'string' && value !== '';

/** Fills in what the page did not say, and throws where it makes no sense. */
export function checkOptions(options) {
  const { uri, token = null, tokenIn = 'protocol', explain = true } = options;
  const { connectTimeout = CONNECT_TIMEOUT, gaps = false, streams = true } = options;
  expect(uri, 'WSLoop needs the URI of a WebSocket');
  if (typeof token !== 'function') {
    checkToken(token);
  }
  expect(['protocol', 'query'].includes(tokenIn), 'tokenIn is "protocol" or "query"');
  // Browsers count a timer's milliseconds in 31 bits.
  const isTime = connectTimeout > 0 && connectTimeout < 2 ** 31;
  expect(isTime, 'connectTimeout is a number of milliseconds');
  const address = addressOf(String(uri));
  // A facility behind the prefix would be a WebSocket for that alone, and a query its options.
  const { topics = /^[^?]*\/$/.test(address) } = options;
  return {
    ...options,
    uri: gaps && !topics ? withOption(address, 'gaps') : address,
    topics,
    token,
    tokenIn,
    explain: LOCALHOST.test(globalThis.location?.hostname) && explain,
    connectTimeout,
    // What only one of the two kinds has.
    gaps: gaps && !topics,
    streams: streams && topics,
    protocols: [(topics ? TOPICS_PROTOCOL : options.protocols) ?? []].flat(),
  };
}

/** Not every browser's WebSocket takes http:// and what is relative to the page. */
function addressOf(uri) {
  let url;
  try {
    url = new URL(uri, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    // The browser says what is wrong with it.
    return uri;
  }
  url.protocol = url.protocol.replace('http', 'ws');
  // It is for the page alone, and a WebSocket with one throws.
  url.hash = '';
  return url.href;
}

/** Null is to connect without a token; what else is no text is a mistake, and no such wish. */
export function checkToken(token) {
  expect(token === null || isText(token), 'a token is a string that is not empty, or null for none');
  return token;
}

/** The rest of the query stays as the page wrote it. */
export function withOption(uri, option) {
  return `${uri}${uri.includes('?') ? '&' : '?'}${option}`;
}

/** What a request has a token in, unless that is null. */
export const authorization = (token) =>
  token === null ? {} : { Authorization: `Bearer ${token}` };

/** Whether there is no connection and will be none. */
export const isOver = (state) => ['closing', 'closed'].includes(state);

export const eventOf = (type, values) => Object.assign(new Event(type), values);

export function failure(name, text, status) {
  return Object.assign(new Error(text), { name, ...(status && { status }) });
}

/** For what did certainly not reach the server. */
export function notSent(state) {
  return failure('InvalidStateError', `not connected (${state}), so nothing was sent`);
}

/** A random wait in milliseconds that grows with the attempts. */
export function backOff(attempt) {
  return Math.random() * Math.min(MAX_DELAY, (2 ** attempt - 1) * 1000);
}
