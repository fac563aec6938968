/** What pairs of unlike eras need, loaded when the first message shows that they are unlike. */

export { LegacyClientAdapter } from './legacy-client.ts';
export { ModernClientAdapter } from './modern-client.ts';
export { ModernGateway } from './modern-gateway.ts';
