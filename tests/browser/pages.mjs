/** What tests of the client look at in a tab with `site/page.html`. */

import { randomUUID } from 'node:crypto';

import { eventually } from './browsers.mjs';

/** What the page has seen of this type. */
export const seen = (tab, type) =>
  tab.evaluate((wanted) => seen.filter((entry) => entry.type === wanted), type);

/** Waits until the page has seen so many of these, and gives the last of them. */
export async function waitFor(tab, type, count = 1) {
  const all = await eventually(`${type}, ${count} times`, async () => {
    const found = await seen(tab, type);
    return found.length >= count && found;
  });
  return all[count - 1];
}

/** The page's own messages come back: it hears the room. */
export async function expectToHear(tab) {
  const text = randomUUID();
  await eventually('the page hears itself', async () => {
    // What went out on a connection that is lost never comes back.
    await tab.evaluate((message) => loop.state === 'open' && loop.send(message), text);
    return (await seen(tab, 'message')).some(({ data }) => data === text);
  });
}
