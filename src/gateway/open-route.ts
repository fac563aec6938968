import { existsSync, readFileSync } from 'node:fs';
import { proxyFor } from './environment-proxy.ts';
import { Route, type TlsSettings } from './route.ts';

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
 * Connections to one origin, straight or through the environment's proxy. Throws when a PEM file
 * cannot be read or the proxy's URL is none.
 */
export function openRoute(origin: string, options: RouteOptions): Route {
  const { connectTimeoutMs, env } = options;
  const route = new Route(origin, {
    connectTimeoutMs,
    tls: () => tlsSettings(options),
    proxy: proxyFor(new URL(origin), env),
  });
  route.prepareTls();
  return route;
}

/**
 * A route with a connection on its way, begun before there is anything to send. Its PEM files are
 * not read yet. Undefined where a proxy is to be gone through.
 */
export function openRouteEarly(origin: string, options: RouteOptions): Route | undefined {
  const { connectTimeoutMs, env } = options;
  if (proxyFor(new URL(origin), env) !== undefined) return undefined;
  const route = new Route(origin, { connectTimeoutMs, tls: () => tlsSettings(options) });
  route.connect();
  return route;
}

function tlsSettings(options: RouteOptions): TlsSettings {
  const { caFile, certFile, certKeyFile, env, trustsSystem = false } = options;
  const ca = [
    ...(caFile === undefined ? [] : [readAuthorities(caFile)]),
    ...(trustsSystem ? systemCertificates() : []),
  ];
  return {
    // Naming any authority replaces the usual ones (node:tls, `ca`), so those are named too.
    ...(ca.length === 0 ? {} : { ca: [...ca, ...usualCertificates(env)] }),
    ...(certFile === undefined ? {} : { cert: readFileSync(certFile) }),
    ...(certKeyFile === undefined ? {} : { key: readFileSync(certKeyFile) }),
  };
}

/** Node.js takes a file with no certificate in it, as one in DER, for none. */
function readAuthorities(file: string): Buffer {
  const pem = readFileSync(file);
  if (!pem.includes('-----BEGIN ')) throw new Error('no PEM file');
  return pem;
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
