import { WSLoop } from './loop.mjs';

/**
 * `WS4Redis(options)` of django-websocket-redis, with or without `new`; the second argument, jQuery
 * there, is ignored. Its methods may be passed around without their object, as there.
 */
export function WS4Redis(options) {
  const loop = new WSLoop({ ...options, topics: false });
  const { prototype } = WSLoop;
  for (const name of Object.getOwnPropertyNames(prototype)) {
    if (name.includes('_')) {
      loop[name] = prototype[name].bind(loop);
    }
  }
  loop.close = () => prototype.close.call(loop);
  return loop;
}
WS4Redis.prototype = WSLoop.prototype;

