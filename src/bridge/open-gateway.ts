import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import type { ProxySettings } from '../settings/options.ts';
import { TransportChoice } from '../transport/detect-transport.ts';
import { Gateway, type GatewayOptions, type Keys } from '../transport/streamable-http.ts';
import { EraBridge } from './era-bridge.ts';

declare const __VERSION__: string;

/**
 * The gateway that the settings name, with the keys of `keys`, by the transport they name, for a
 * client of either era.
 */
export function openGateway(
  settings: ProxySettings,
  keys: Keys,
  log: Log,
  secrets: Secrets,
  more: Pick<GatewayOptions, 'retryLimitMs'> = {},
): EraBridge {
  const userAgent = `mcp-latchkey/${__VERSION__} node/${process.versions.node} ${process.platform}`;
  const { transport } = settings;
  const options: GatewayOptions = { ...settings, ...more, keys, userAgent, secrets, log };
  const gateway =
    transport === 'http' ? new Gateway(options) : new TransportChoice(options, transport);
  return new EraBridge(gateway, log);
}
