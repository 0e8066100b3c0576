/** What pages get. */

export { WSLoop } from './loop.mjs';
export { WS4Redis } from './ws4redis.mjs';
