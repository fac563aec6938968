/** What is needed when a gateway cannot be reached, or its replies are written. */

export { listCaches, readCache, removeCaches } from './cache-file.ts';
export { CacheWriter } from './cache-writer.ts';
export { discoverAs } from './cached-replies.ts';
export { Outage } from './outage.ts';
