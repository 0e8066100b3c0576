'use strict';

/** The page of a server's figures: it asks every two seconds, and draws the last five minutes. */
const EVERY = 2000;
const KEPT = 150;

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1, notation: 'compact' });
const count = (value) => whole.format(value);
const bytes = (value) => `${whole.format(value)}B`;
const seconds = (value) => (value < 1 ? `${whole.format(value * 1000)} ms` : `${whole.format(value)} s`);
const share = (value) => `${whole.format(value * 100)} %`;

/** What each graph shows: a value as it is, the rate of a counter, or a quantile of a histogram. */
const GRAPHS = [
  ['Open conns', (now) => now.get('wsloop_conns_open'), count],
  ['Handshakes a second', rate('wsloop_handshakes_total'), count],
  ['Messages in a second', rate('wsloop_messages_in_total'), count],
  ['Messages out a second', rate('wsloop_messages_out_total'), count],
  ['Bytes in a second', rate('wsloop_bytes_in_total'), bytes],
  ['Bytes out a second', rate('wsloop_bytes_out_total'), bytes],
  ['Deliveries a second', rate('wsloop_deliveries_total'), count],
  ['Fan-out, 99 of 100', quantile('wsloop_fanout_seconds', 0.99), seconds],
  ['Turn, 99 of 100', quantile('wsloop_turn_seconds', 0.99), seconds],
  ['Refused a second', rate('wsloop_handshakes_refused_total'), count],
  ['Bytes that wait', (now) => now.get('wsloop_outbox_bytes'), bytes],
  ['Slow readers', (now) => now.get('wsloop_conns_slow'), count],
  ['Memory', (now) => now.get('process_resident_memory_bytes'), bytes],
  ['Processor', rate('process_cpu_seconds_total'), share],
];

function rate(name) {
  return (now, before, elapsed) => {
    const grown = now.get(name) - (before?.get(name) ?? NaN);
    return grown >= 0 ? grown / elapsed : NaN;
  };
}

function quantile(name, part) {
  return (now, before) => {
    let total = 0;
    const buckets = [];
    for (const [key, value] of now) {
      const end = key.startsWith(`${name}_bucket{`) && /le="([^"]+)"/.exec(key);
      if (end) {
        total = value - (before?.get(key) ?? NaN);
        buckets.push([Number(end[1].replace('+Inf', 'Infinity')), total]);
      }
    }
    if (!(total > 0)) {
      return NaN;
    }
    const [end] = buckets.find(([, sum]) => sum >= total * part);
    return Number.isFinite(end) ? end : buckets.at(-2)[0];
  };
}

function parse(text) {
  const values = new Map();
  for (const line of text.split('\n')) {
    const space = line.lastIndexOf(' ');
    if (space > 0 && !line.startsWith('#')) {
      values.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
  }
  return values;
}

const SVG = 'http://www.w3.org/2000/svg';

function figure([title, , shown]) {
  const element = document.createElement('figure');
  const caption = document.createElement('figcaption');
  const value = document.createElement('b');
  caption.append(title, value);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${KEPT} 100`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const base = document.createElementNS(SVG, 'line');
  for (const [name, at] of Object.entries({ x1: 0, x2: KEPT, y1: 99, y2: 99 })) {
    base.setAttribute(name, at);
  }
  const path = document.createElementNS(SVG, 'path');
  svg.append(base, path);
  const most = document.createElement('small');
  element.append(caption, svg, most);
  document.getElementById('graphs').append(element);
  const points = [];
  return (point) => {
    points.push(point);
    points.splice(0, points.length - KEPT);
    const known = points.filter(Number.isFinite);
    const top = Math.max(...known, 0);
    value.textContent = Number.isFinite(point) ? shown(point) : '–';
    most.textContent = `at most ${shown(top)}`;
    let drawn = '';
    let pen = 'M';
    points.forEach((y, at) => {
      if (Number.isFinite(y)) {
        const x = KEPT - points.length + at + 1;
        drawn += `${pen}${x} ${(98 - (top > 0 ? (y / top) * 94 : 0)).toFixed(1)}`;
        pen = 'L';
      } else {
        pen = 'M';
      }
    });
    path.setAttribute('d', drawn);
  };
}

function fill(id, rows) {
  const cells = (row) => row.map((text) => {
    const cell = document.createElement('td');
    cell.textContent = text;
    return cell;
  });
  const all = rows.length > 0 ? rows : [['–', '']];
  document.getElementById(id).replaceChildren(...all.slice(0, 20).map((row) => {
    const line = document.createElement('tr');
    line.append(...cells(row));
    return line;
  }));
}

function sayReady(text, isGood) {
  const element = document.getElementById('ready');
  if (element.textContent !== text) {
    element.textContent = text;
    element.className = isGood ? 'good' : 'bad';
  }
}

const figures = GRAPHS.map(figure);
let before = null;
let askedAt = 0;

async function ask() {
  const at = performance.now();
  try {
    const [metrics, ready, conns] = await Promise.all(['metrics', 'readyz', 'conns'].map((path) => fetch(path)));
    const now = parse(await metrics.text());
    const elapsed = (at - askedAt) / 1000;
    GRAPHS.forEach(([, value], index) => figures[index](value(now, before, elapsed) ?? NaN));
    [before, askedAt] = [now, at];
    sayReady((await ready.text()).trim(), ready.ok);
    const info = [...now.keys()].find((key) => key.startsWith('wsloop_build_info'));
    document.getElementById('about').textContent = /version="([^"]*)"/.exec(info)?.[1] ?? '';
    const who = await conns.json();
    const named = (list) => list.map(({ name, subscriptions }) => [name, count(subscriptions)]);
    fill('facilities', named(who.facilities));
    fill('users', named(who.users));
    fill('groups', named(who.groups));
    fill('slowest', who.slowest.map(({ conn, waiting }) => [conn, bytes(waiting)]));
  } catch (error) {
    sayReady(`no answer: ${error.message}`, false);
    before = null;
    figures.forEach((draw) => draw(NaN));
  }
  setTimeout(ask, EVERY);
}

ask();
