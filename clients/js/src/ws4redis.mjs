import { WSLoop } from './loop.mjs';

/**
 * `WS4Redis(options)` of django-websocket-redis, with or without `new`; the second argument, jQuery
 * there, is ignored. Its methods may be passed around without their object, as there.
 */
export function WS4Redis(options) {
  const loop = new WSLoop({ ...options, topics: false });
  for (const name of ['get_state', 'is_connecting', 'is_connected', 'is_closing', 'is_closed']) {
    loop[name] = () => WSLoop.prototype[name].call(loop);
  }
  loop.send_message = (message) => loop.send(message);
  loop.close = () => WSLoop.prototype.close.call(loop);
  return loop;
}
WS4Redis.prototype = WSLoop.prototype;

