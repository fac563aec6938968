import connect from 'undici/lib/api/api-connect.js';
import Dispatcher from 'undici/lib/dispatcher/dispatcher.js';
import EnvHttpProxyAgent from 'undici/lib/dispatcher/env-http-proxy-agent.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import type { Route, TlsSettings } from './direct-route.ts';

/** What undici's connector takes. */
interface ConnectSettings extends TlsSettings {
  /** Milliseconds. */
  readonly timeout: number;
}

// undici's main entry gives its dispatchers their methods; of its parts this one is needed. An
// error with the code UND_ERR_SOCKET, as when the proxy hangs up on a CONNECT, would have undici
// connect again at once, for ever (client.js, onError), so it gets another.
Object.assign(Dispatcher.prototype, {
  connect(this: Dispatcher, options: Dispatcher.ConnectOptions) {
    return connect.call(this, options).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'UND_ERR_SOCKET') throw error;
      throw Object.assign(new Error('the proxy hung up', { cause: error }), {
        code: 'ERR_PROXY_HUNG_UP',
      });
    });
  },
});

/**
 * Connections through an HTTP proxy: CONNECT for https, absolute URLs for plain http (RFC 9110
 * §9.3.6, RFC 9112 §3.2.2). `NO_PROXY` and `no_proxy` are honoured. Throws when `proxy` is no URL.
 */
export function openProxiedRoute(proxy: string, settings: ConnectSettings): Route {
  const { timeout, ca } = settings;
  return new EnvHttpProxyAgent({
    httpProxy: proxy,
    httpsProxy: proxy,
    proxyTunnel: false,
    connect: settings,
    requestTls: settings,
    proxyTls: { timeout, ...(ca === undefined ? {} : { ca }) },
    // A proxy that never answers CONNECT would otherwise be waited for for five minutes.
    clientFactory: (origin: URL, options: object) =>
      new Pool(origin, { ...options, headersTimeout: timeout }),
  });
}
