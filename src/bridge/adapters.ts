/** What pairs of unlike eras need, loaded when the first message shows that they are unlike. */

export { OldClient } from './legacy-client.ts';
export { NewClient } from './modern-client.ts';
export { ModernGateway } from './modern-gateway.ts';
