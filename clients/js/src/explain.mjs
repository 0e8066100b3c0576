/**
 * Words for whoever develops a page, on the console: why a WebSocket was refused, or hears nothing.
 */

import { authorization } from './options.mjs';

/** Longest answer that goes to the console, in characters. */
const MAX_EXPLANATION = 2048;
/** How long the server may take for it, in milliseconds. */
const EXPLANATION_WAIT = 5000;
/** A URI is asked about so many times at most, if there is no answer. */
const MAX_QUESTIONS = 3;
/** How often it was asked about each URI. */
const questions = new Map();

/**
 * Asks for what the server answers to the same request without an upgrade: browsers show no page
 * the answer to a WebSocket's. No token goes to the console.
 */
export async function explainOnce(uri, { address, bearer }, level) {
  const shown = uri.replace(/([?&]token=)[^&]*/, '$1…');
  const asked = questions.get(uri) ?? 0;
  if (asked >= MAX_QUESTIONS) {
    return;
  }
  // There is no second question before the answer to the first one.
  questions.set(uri, MAX_QUESTIONS);
  try {
    const answer = await fetch(address.replace('ws', 'http'), {
      cache: 'no-store',
      credentials: 'include',
      headers: authorization(bearer),
      signal: AbortSignal.timeout(EXPLANATION_WAIT),
    });
    const { headers, status } = answer;
    const text = (await answer.text()).trim();
    const isRefusal = /^4/.test(status);
    const isText = /^text\//i.test(headers.get('Content-Type'));
    if (isRefusal && isText && text.length <= MAX_EXPLANATION) {
      // What is missing is worth a warning, whatever the level.
      const wished = shown.match(/\b(subscribe|publish)-\w+/g);
      const granted = headers.get('X-Wsloop-Granted')?.split(',');
      const isGood = wished?.every((option) => granted?.includes(option));
      console[isGood ? level : 'warn'](`wsloop: ${shown}: ${text}`);
    }
  } catch {
    // The server is away, or the page may not read what it says.
    questions.set(uri, asked + 1);
    if (asked + 1 === MAX_QUESTIONS) {
      const page = shown.replace('ws', 'http');
      console.warn(`wsloop: ${page} tells this page nothing; open it in a tab of its own`);
    }
  }
}
