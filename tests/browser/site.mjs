/**
 * A site with pages that use the client, and the server behind the same origin, as a proxy has it.
 * The test has that proxy in its hand: it may hold connections, and cut them.
 *
 * The pages are in `site/`; `wsloop.mjs` and `wsloop.js` are those of clients/js. A page's query is
 * `loop`, a JSON array of what `new WSLoop(…)` is given, and `csp`, a Content-Security-Policy.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request as ask } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

const TYPES = { html: 'text/html', js: 'text/javascript', mjs: 'text/javascript' };
const OWN = ['site/', '../../clients/js/'].map((path) => new URL(path, import.meta.url));

/** A frame of the server's. */
const CLOSE_1011 = '\x88\x02\x03\xf3';

function accepted(key) {
  const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(key + guid).digest('base64');
  const head = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';
  return `${head}Sec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

function file(folders, path) {
  for (const folder of folders) {
    try {
      return readFileSync(new URL(path, folder));
    } catch {
      // It is in the next folder, or nowhere.
    }
  }
  return null;
}

/** The address of a page with a loop made of these arguments. */
export function pageUrl(site, args, { path = '/page.html', csp = '' } = {}) {
  const url = new URL(path, site);
  url.searchParams.set('loop', JSON.stringify(args));
  url.searchParams.set('csp', csp);
  return url.href;
}

/** `backend` is the base URL of the server; `folders` are URLs of what comes before its own. */
export async function startSite(backend, { host = '127.0.0.1', port = 0, folders = [] } = {}) {
  const { hostname, port: backendPort } = new URL(backend);
  const sockets = new Set();
  const passing = new Set();
  const streams = new Set();
  const site = {
    /** `pass`, `hold` (say nothing), `shut` (accept, and close with 1011), `refuse` (403) or `cut`. */
    mode: 'pass',
    /** What plain requests below /ws/ are answered with; the server's own answer unless it is set. */
    answer(response, request) {
      const { url, method, headers } = request;
      const behind = ask(new URL(url, backend), { method, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
        if (answer.headers['content-type'] === 'text/event-stream') {
          streams.add(response);
        }
      });
      request.pipe(behind);
      behind.on('error', () => response.destroy());
      response.on('close', () => {
        streams.delete(response);
        behind.destroy();
      });
    },
    /** How many asked for a WebSocket. */
    asked: 0,
    get connected() {
      return sockets.size;
    },
    get streams() {
      return streams.size;
    },
    /** From now on nothing goes through the connections that there are, and none ends. */
    freeze() {
      passing.forEach((pass) => pass.freeze());
    },
    cut() {
      sockets.forEach((socket) => socket.destroy());
      streams.forEach((response) => response.destroy());
    },
    async end() {
      site.cut();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
    page: (args, more) => pageUrl(site.url, args, more),
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://site');
    if (pathname.startsWith('/ws/')) {
      return site.answer(response, request);
    }
    const body = file([...folders, ...OWN], pathname.slice(1));
    if (body === null) {
      return response.writeHead(404).end();
    }
    const csp = searchParams.get('csp');
    response.writeHead(200, {
      'Content-Type': `${TYPES[pathname.split('.').pop()]}; charset=utf-8`,
      ...(csp ? { 'Content-Security-Policy': csp } : {}),
    });
    response.end(body);
  });
  server.on('upgrade', (request, socket) => {
    site.asked += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (site.mode === 'cut') {
      socket.destroy();
    }
    if (site.mode === 'shut') {
      socket.end(accepted(request.headers['sec-websocket-key']) + CLOSE_1011, 'latin1');
    }
    if (site.mode === 'refuse') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    }
    if (site.mode !== 'pass') {
      // Only who reads hears of the end, and it is half of one only.
      socket.resume().on('end', () => socket.end());
      return;
    }
    const behind = connect(backendPort, hostname, () => {
      const { rawHeaders } = request;
      const lines = rawHeaders.map((text, n) => (n % 2 === 0 ? `${text}: ` : `${text}\r\n`));
      behind.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('')}\r\n`);
      behind.pipe(socket).pipe(behind);
    });
    const pass = {
      freeze() {
        behind.unpipe().pause();
        socket.unpipe().pause();
      },
    };
    passing.add(pass);
    behind.on('error', () => socket.destroy());
    behind.on('close', () => socket.destroy());
    socket.on('close', () => {
      passing.delete(pass);
      behind.destroy();
    });
  });
  await new Promise((done) => server.listen(port, host, done));
  site.url = `http://${host}:${server.address().port}`;
  return site;
}

// By itself, for a browser on another network: backend, host and port.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [backend, host, port] = process.argv.slice(2);
  await startSite(backend, { host, port });
}
