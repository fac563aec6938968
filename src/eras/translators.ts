/** What pairs of unlike eras need, loaded when the first message shows that they are unlike. */
export { ModernGateway } from './modern-gateway.ts';
export { NewClient } from './new-client.ts';
export { OldClient } from './old-client.ts';
