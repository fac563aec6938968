import { Gateway, type GatewayOptions, type Keys } from '../gateway/gateway.ts';
import type { Log } from '../log.ts';
import type { ProxySettings } from './options.ts';

declare const __VERSION__: string;

/** The gateway that the settings name, with the keys of `keys`. */
export function openGateway(
  settings: ProxySettings,
  keys: Keys,
  log: Log,
  more: Pick<GatewayOptions, 'retryLimitMs' | 'earlyRoute'> = {},
): Gateway {
  const userAgent = `mcp-latchkey/${__VERSION__} node/${process.versions.node} ${process.platform}`;
  return new Gateway({ ...settings, ...more, keys, userAgent, log });
}
