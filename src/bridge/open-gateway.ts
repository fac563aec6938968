import type { CredentialProvider } from '../auth/credential.ts';
import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import type { ProxySettings } from '../settings/settings.ts';
import { TransportDetector } from '../transport/detect-transport.ts';
import { StreamableHttp, type TransportOptions } from '../transport/streamable-http.ts';
import { EraBridge } from './era-bridge.ts';
import { KeepAlive } from './keep-alive.ts';

/**
 * The gateway that the settings name, with the credentials of `credentials`, by the transport they name, for a
 * client of either era.
 */
export function openGateway(
  settings: ProxySettings,
  credentials: CredentialProvider,
  log: Log,
  secrets: Secrets,
  more: Pick<TransportOptions, 'retryLimitMs' | 'isToolShown'> = {},
): EraBridge {
  const userAgent = `mcp-latchkey/${__VERSION__} node/${process.versions.node} ${process.platform}`;
  const { transport } = settings;
  const options: TransportOptions = { ...settings, ...more, credentials, userAgent, secrets, log };
  const gateway =
    transport === 'http' ? new StreamableHttp(options) : new TransportDetector(options, transport);
  const { pingIntervalMs } = settings;
  const kept = pingIntervalMs === 0 ? gateway : new KeepAlive(gateway, pingIntervalMs, log);
  return new EraBridge(kept, log, settings.elicitsUrls);
}
