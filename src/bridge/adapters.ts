/** What is needed if client or gateway is modern. Loaded when the first messages show that. */

export { LegacyClientAdapter } from './legacy-client/legacy-client-adapter.ts';
export { ModernClientAdapter } from './modern-client-adapter.ts';
export { ModernGateway } from './modern-gateway.ts';
