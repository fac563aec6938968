import { existsSync, readFileSync } from 'node:fs';
import { DirectRoute, type Route, type TlsSettings } from './direct-route.ts';

/** How to get to a server: what TLS trusts and shows, and which HTTP proxy the environment names. */
export interface RouteOptions {
  readonly connectTimeoutMs: number;
  /** PEM files: certificate authorities to trust besides the built-in ones, and a client's own. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly certKeyFile?: string;
  readonly env: NodeJS.ProcessEnv;
  /** Trust the operating system's store as well. */
  readonly trustsSystem?: boolean;
}

/**
 * The proxy that the environment names for URLs of this scheme, by either case of `HTTPS_PROXY`
 * and `HTTP_PROXY`. Whether `NO_PROXY` exempts the host is up to undici.
 */
export function proxyFor(protocol: string, env: NodeJS.ProcessEnv): string | undefined {
  const proxy =
    protocol === 'https:'
      ? (env.https_proxy ?? env.HTTPS_PROXY)
      : (env.http_proxy ?? env.HTTP_PROXY);
  if (proxy === undefined || proxy.trim() === '') return undefined;
  return proxy.includes('://') ? proxy : `http://${proxy}`;
}

/**
 * Connections to one origin, straight or through the environment's proxy. Rejects when a PEM file
 * cannot be read or the proxy's URL is none. Synchronous where no proxy is named: this is on the
 * way to the first request.
 */
export function openRoute(origin: string, options: RouteOptions): Route | Promise<Route> {
  const proxy = proxyFor(new URL(origin).protocol, options.env);
  if (proxy === undefined) {
    const route = directRoute(origin, options);
    route.prepareTls();
    return route;
  }
  return import('./proxied-route.ts').then(({ openProxiedRoute }) =>
    openProxiedRoute(proxy, { timeout: options.connectTimeoutMs, ...tlsSettings(options) }),
  );
}

/**
 * A route with a connection on its way, begun before there is anything to send. Its PEM files are
 * not read yet. Undefined where a proxy is named.
 */
export function openRouteEarly(origin: string, options: RouteOptions): DirectRoute | undefined {
  if (proxyFor(new URL(origin).protocol, options.env) !== undefined) return undefined;
  const route = directRoute(origin, options);
  route.connect();
  return route;
}

function directRoute(origin: string, options: RouteOptions): DirectRoute {
  return new DirectRoute(origin, options.connectTimeoutMs, () => tlsSettings(options));
}

function tlsSettings(options: RouteOptions): TlsSettings {
  const { caFile, certFile, certKeyFile, env, trustsSystem = false } = options;
  const ca = [
    ...(caFile === undefined ? [] : [readFileSync(caFile)]),
    ...(trustsSystem ? systemCertificates() : []),
  ];
  return {
    // Naming any authority replaces the usual ones (node:tls, `ca`), so those are named too.
    ...(ca.length === 0 ? {} : { ca: [...ca, ...usualCertificates(env)] }),
    ...(certFile === undefined ? {} : { cert: readFileSync(certFile) }),
    ...(certKeyFile === undefined ? {} : { key: readFileSync(certKeyFile) }),
  };
}

type Tls = typeof import('node:tls') & {
  /** Since Node.js 22.15. */
  getCACertificates?: (type: 'default' | 'system') => string[];
};

// Not imported: loading node:tls takes 4 ms that a session over plain http never needs.
const tls = (): Tls => process.getBuiltinModule('node:tls') as Tls;

/** The operating system's store, where Node.js can read it; empty elsewhere. */
function systemCertificates(): string[] {
  return tls().getCACertificates?.('system') ?? [];
}

/** Whether Node.js can read the operating system's store. */
export function hasSystemCertificates(): boolean {
  return tls().getCACertificates !== undefined;
}

function usualCertificates(env: NodeJS.ProcessEnv): (string | Buffer)[] {
  const { getCACertificates, rootCertificates } = tls();
  if (getCACertificates !== undefined) return getCACertificates('default');
  const extra = env.NODE_EXTRA_CA_CERTS;
  return [...rootCertificates, ...(extra && existsSync(extra) ? [readFileSync(extra)] : [])];
}
