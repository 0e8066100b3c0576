/**
 * Real browsers, driven with as little as there is in between: what a driver for tests does to a
 * page (it keeps it focused, visible and out of the back-forward cache) is what these tests are
 * about. Chromium is spoken to over a pipe in the protocol of its developer tools, Firefox over a
 * socket in Marionette's.
 *
 * WSLOOP_CHROMIUM, WSLOOP_FIREFOX  the browsers, /usr/bin/chromium and /usr/bin/firefox-esr else
 *
 * A tab has `evaluate(fn, ...args)`, whose result is JSON and whose function sees the page's
 * globals, `goto(url)`, `back()`, `show()` (in front of the other tabs), `setOffline(so)`
 * (Firefox: the whole browser) and `close()`. What a function sets is to be set on `window`.
 */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const { WSLOOP_CHROMIUM = '/usr/bin/chromium' } = process.env;
const { WSLOOP_FIREFOX = '/usr/bin/firefox-esr' } = process.env;
/** How long anything may take: far more than it does, even on a busy machine. */
const PATIENCE = 60000;

/** Asks again and again until the answer is true, and gives it. */
export async function eventually(what, ask) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const answer = await ask();
    if (answer) {
      return answer;
    }
    if (Date.now() > end) {
      throw new Error(`in vain: ${what}`);
    }
    await sleep(50);
  }
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** A browser's process with a folder of its own, both gone after `end()`. */
function start(program, args, stdio) {
  const folder = mkdtempSync(join(tmpdir(), 'wsloop-browser-'));
  const env = { ...process.env, HOME: folder, TMPDIR: folder };
  // A group of its own, so that no process of it is left that still writes to the folder.
  const child = spawn(program, args(folder), { env, stdio, detached: true });
  const kill = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // All of it has ended.
    }
  };
  process.once('exit', kill);
  const ended = new Promise((done, fail) => {
    child.on('exit', done);
    child.on('error', fail);
  });
  const end = async () => {
    kill();
    process.off('exit', kill);
    await ended;
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  };
  return { child, folder, end };
}

/** Commands with numbers, and the promises of their answers. */
function commands(write) {
  const waiting = new Map();
  let last = 0;
  return {
    send: (method, params) =>
      new Promise((done, fail) => {
        last += 1;
        waiting.set(last, { method, done, fail });
        write(last, method, params);
      }),
    answer(id, error, result) {
      const { method, done, fail } = waiting.get(id);
      waiting.delete(id);
      if (error) {
        fail(new Error(`${method}: ${error.message}`));
      } else {
        done(result);
      }
    },
  };
}

/** Runs in the page, before the function: whatever comes of that is text. */
const asText = (fn, args) =>
  `Promise.resolve((${fn})(...${JSON.stringify(args)}))` +
  '.then((value) => ({ value }), (error) => ({ error: String(error) })).then(JSON.stringify)';

function fromText(text) {
  const { value, error } = JSON.parse(text);
  if (error !== undefined) {
    throw new Error(error);
  }
  return value;
}

/** `args` are for Chromium's command line. */
export async function chromium(args = []) {
  const fixed = ['--headless=new', '--no-sandbox', '--disable-quic', '--remote-debugging-pipe'];
  const { child, end } = start(
    WSLOOP_CHROMIUM,
    (folder) => [
      ...[...fixed, '--disable-background-networking', `--user-data-dir=${folder}`],
      ...[...args, 'about:blank'],
    ],
    ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
  );
  const [input, output] = [child.stdio[3], child.stdio[4]];
  const { send, answer } = commands((id, method, { sessionId, ...params }) =>
    input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`));
  let text = '';
  output.setEncoding('utf8');
  output.on('data', (chunk) => {
    const messages = (text + chunk).split('\0');
    text = messages.pop();
    for (const { id, error, result } of messages.map((message) => JSON.parse(message))) {
      if (id !== undefined) {
        answer(id, error, result);
      }
    }
  });

  const open = async (url) => {
    const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
    const tell = (method, params) => send(method, { sessionId, ...params });
    const evaluate = async (fn, ...args) => {
      const expression = asText(fn, args);
      const { result } = await tell('Runtime.evaluate', { expression, awaitPromise: true });
      return fromText(result.value);
    };
    const isAt = (wanted) =>
      eventually(`at ${wanted}`, () =>
        evaluate((href) => location.href === href && document.readyState === 'complete', wanted)
          .catch(() => false));
    const tab = {
      evaluate,
      async goto(address) {
        await tell('Page.navigate', { url: address });
        await isAt(address);
      },
      async back() {
        const { currentIndex, entries } = await tell('Page.getNavigationHistory');
        const { id, url: previous } = entries[currentIndex - 1];
        await tell('Page.navigateToHistoryEntry', { entryId: id });
        await isAt(previous);
      },
      show: () => send('Target.activateTarget', { targetId }),
      async setOffline(offline) {
        const unlimited = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
        await tell('Network.enable');
        await tell('Network.emulateNetworkConditions', { offline, ...unlimited });
      },
      close: () => send('Target.closeTarget', { targetId }),
    };
    await tab.goto(url);
    return tab;
  };
  return { name: 'chromium', open, end };
}

/** What a fresh Firefox would do on its own. */
const QUIET = {
  'app.update.enabled': false,
  'browser.shell.checkDefaultBrowser': false,
  'browser.startup.page': 0,
  'datareporting.policy.dataSubmissionEnabled': false,
  'marionette.port': 0,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.reportingpolicy.firstRun': false,
};

/** `capabilities` are WebDriver's. */
export async function firefox(capabilities = {}) {
  const { child, folder, end } = start(
    WSLOOP_FIREFOX,
    (profile) => {
      const lines = Object.entries(QUIET).map(
        ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`,
      );
      writeFileSync(join(profile, 'user.js'), lines.join(''));
      const remote = ['--no-remote', '--marionette', '--remote-allow-system-access'];
      return ['--headless', ...remote, '--profile', profile, 'about:blank'];
    },
    'ignore',
  );
  const port = await eventually('Firefox listens', () => {
    try {
      return Number(readFileSync(join(folder, 'MarionetteActivePort'), 'utf8'));
    } catch {
      return child.exitCode === null ? 0 : Promise.reject(new Error('Firefox does not start'));
    }
  });
  const socket = connect(port, '127.0.0.1');
  const { send, answer } = commands((id, method, params) => {
    const line = JSON.stringify([0, id, method, params]);
    socket.write(`${Buffer.byteLength(line)}:${line}`);
  });
  let bytes = Buffer.alloc(0);
  const greeted = new Promise((done) => {
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let colon = bytes.indexOf(':'); colon > 0; colon = bytes.indexOf(':')) {
        const next = colon + 1 + Number(bytes.subarray(0, colon));
        if (bytes.length < next) {
          break;
        }
        const message = JSON.parse(bytes.subarray(colon + 1, next));
        bytes = bytes.subarray(next);
        if (Array.isArray(message)) {
          answer(...message.slice(1));
        } else {
          done();
        }
      }
    });
  });
  await greeted;
  await send('WebDriver:NewSession', capabilities);
  await send('WebDriver:SetTimeouts', { script: PATIENCE });

  // A command is for the window that was switched to last, so each waits for the one before.
  let turn = Promise.resolve();
  const tell = (handle, method, params = {}, focus = false) => {
    const told = turn.then(async () => {
      await send('WebDriver:SwitchToWindow', { handle, focus });
      return send(method, params);
    });
    turn = told.catch(() => {});
    return told;
  };
  const { value: first } = await send('WebDriver:GetWindowHandle', {});

  const open = async (url) => {
    const { handle } = await tell(first, 'WebDriver:NewWindow', { type: 'tab', focus: true });
    const tab = {
      async evaluate(fn, ...args) {
        const script = `${asText(fn, args)}.then(arguments[0])`;
        const params = { script, args: [] };
        return fromText((await tell(handle, 'WebDriver:ExecuteAsyncScript', params)).value);
      },
      goto: (address) => tell(handle, 'WebDriver:Navigate', { url: address }),
      back: () => tell(handle, 'WebDriver:Back'),
      show: () => tell(handle, 'WebDriver:GetWindowHandle', {}, true),
      async setOffline(offline) {
        await tell(handle, 'Marionette:SetContext', { value: 'chrome' });
        const script = `Services.io.offline = ${offline}`;
        await tell(handle, 'WebDriver:ExecuteScript', { script, args: [] });
        await tell(handle, 'Marionette:SetContext', { value: 'content' });
      },
      close: () => tell(handle, 'WebDriver:CloseWindow'),
    };
    await tab.show();
    await tab.goto(url);
    return tab;
  };
  return {
    name: 'firefox',
    open,
    async end() {
      socket.destroy();
      await end();
    },
  };
}
