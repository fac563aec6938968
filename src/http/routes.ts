import { existsSync, readFileSync } from 'node:fs';
import type { LookupFunction } from 'node:net';
import { readPrivate } from '../private-path.ts';
import { HttpClient } from './client.ts';
import type { TlsSettings } from './connector.ts';
import { proxyFor, proxyVariables, withoutBrackets } from './environment-proxy.ts';

/** What routes are made from, as plain data. */
export interface RouteFacts {
  /** For a connection, in milliseconds; 0 for no limit. */
  readonly connectTimeoutMs: number;
  /** PEM files: certificate authorities to trust besides the built-in ones, and a client's own. */
  readonly caFile?: string;
  readonly certFile?: string;
  readonly certKeyFile?: string;
  /** The environment variable with the passphrase of the client's private key. */
  readonly certKeyPassphraseEnv?: string;
  /** The environment variables that name HTTP proxies. A policy may have set them. */
  readonly proxyVariables: Readonly<Record<string, string>>;
}

export interface RoutesOptions extends Omit<RouteFacts, 'proxyVariables'> {
  /** Gets what others can do to such a file that is used all the same. */
  readonly warnOf: (option: string) => (words: string) => void;
  /** Names HTTP proxies. */
  readonly env: NodeJS.ProcessEnv;
}

interface OpenOptions {
  /** Trusts the operating system's authorities as well as the usual ones. */
  readonly trustsSystem?: boolean;
  /** Looks names up where no proxy does: for an origin that the user has not named. */
  readonly lookup?: LookupFunction;
}

/** The ways from here to servers, straight or through the environment's HTTP proxy. */
export class Routes {
  readonly connectTimeoutMs: number;
  readonly #options: RoutesOptions;
  /** Where each origin that the user has named was reached. */
  readonly #addresses = new Map<string, string>();
  #early: { readonly origin: string; readonly route: HttpClient } | undefined;

  constructor(options: RoutesOptions) {
    this.connectTimeoutMs = options.connectTimeoutMs;
    this.#options = options;
  }

  /** What another process needs to make the same routes in the same environment. */
  get facts(): RouteFacts {
    const { connectTimeoutMs, caFile, certFile, certKeyFile, certKeyPassphraseEnv } = this.#options;
    return {
      connectTimeoutMs,
      proxyVariables: proxyVariables(this.#options.env),
      ...(caFile === undefined ? {} : { caFile }),
      ...(certFile === undefined ? {} : { certFile }),
      ...(certKeyFile === undefined ? {} : { certKeyFile }),
      ...(certKeyPassphraseEnv === undefined ? {} : { certKeyPassphraseEnv }),
    };
  }

  /**
   * Begins a connection before there is anything to send, for the first route to this origin that is
   * opened. Reads no PEM file yet. Does nothing where a proxy is to be gone through.
   */
  connect(origin: string): void {
    if (this.isProxied(new URL(origin))) return;
    const route = this.#route(origin, {});
    route.connect();
    this.#early = { origin, route };
  }

  /** Reads what TLS needs for the connection that is on its way. Never throws. */
  prepare(): void {
    try {
      this.#early?.route.prepareTls();
    } catch {
      // `open` says so.
    }
  }

  /** Throws when a PEM file cannot be read or the proxy's URL is invalid. */
  open(origin: string, options: OpenOptions = {}): HttpClient {
    const isPlain = !options.trustsSystem && options.lookup === undefined;
    const early = this.#early?.origin === origin && isPlain ? this.#early.route : undefined;
    if (early !== undefined) this.#early = undefined;
    const route = early ?? this.#route(origin, options);
    try {
      route.prepareTls();
      return route;
    } catch (error) {
      void route.destroy();
      throw error;
    }
  }

  /** Whether Node.js can read the operating system's store of authorities. */
  canTrustSystem(): boolean {
    return tls().getCACertificates !== undefined;
  }

  /** Whether an HTTP proxy stands between. */
  isProxied(url: URL): boolean {
    return proxyFor(url, this.#options.env) !== undefined;
  }

  /**
   * The address in the URL, or the one at which its name was reached; the name where that is not
   * known. (0.0.0.0 is reached at 127.0.0.1, but a service there is not what the user has named.)
   */
  addressOf({ origin, hostname }: URL): string {
    const isName = process.getBuiltinModule('node:net').isIP(withoutBrackets(hostname)) === 0;
    return (isName ? this.#addresses.get(origin) : undefined) ?? hostname;
  }

  #route(origin: string, { trustsSystem = false, lookup }: OpenOptions): HttpClient {
    const { connectTimeoutMs, env } = this.#options;
    const tls = () => tlsSettings(this.#options, trustsSystem);
    const proxy = proxyFor(new URL(origin), env);
    const onAddress = (address: string) => {
      if (lookup === undefined) this.#addresses.set(origin, address);
    };
    return new HttpClient(origin, { connectTimeoutMs, tls, proxy, lookup, onAddress });
  }
}

function tlsSettings(options: RoutesOptions, trustsSystem: boolean): TlsSettings {
  const { caFile, certFile, certKeyFile, env, warnOf } = options;
  const readPem = (option: string, file: string, purpose: 'trusted' | 'secret' = 'trusted') =>
    pemIn(file, option, purpose, warnOf(option));
  const ca = [
    ...(caFile === undefined ? [] : [readPem('--ca', caFile)]),
    ...(trustsSystem ? systemCertificates() : []),
  ];
  return {
    // Naming any authority replaces the usual ones (node:tls, `ca`), so those are named too.
    ...(ca.length === 0 ? {} : { ca: [...ca, ...usualCertificates(env)] }),
    ...(certFile === undefined ? {} : { cert: readPem('--cert', certFile) }),
    ...(certKeyFile === undefined
      ? {}
      : privateKey(certKeyFile, readPem('--key-pem', certKeyFile, 'secret'), options)),
  };
}

// PKCS #8 (RFC 5958 §3), and what OpenSSL wrote before that (RFC 1421 §4.6.1.1).
const ENCRYPTED = /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

function privateKey(
  file: string,
  key: Buffer,
  { certKeyPassphraseEnv: name, env }: RoutesOptions,
): Pick<TlsSettings, 'key' | 'passphrase'> {
  if (!ENCRYPTED.test(key.toString('latin1'))) return { key };
  const passphrase = name === undefined ? undefined : env[name];
  if (passphrase === undefined || passphrase === '') {
    const unset = name === undefined ? '' : `, but the variable ${name} is not set`;
    throw new UnusablePemFile(
      `the --key-pem file ${file} is encrypted${unset}`,
      'ERR_PEM_ENCRYPTED',
    );
  }
  try {
    process.getBuiltinModule('node:crypto').createPrivateKey({ key, passphrase });
  } catch {
    throw new UnusablePemFile(
      `the passphrase in ${name} does not open the --key-pem file ${file}`,
      'ERR_PEM_ENCRYPTED',
    );
  }
  return { key, passphrase };
}

/** The file of an option cannot be used for TLS. `message`: which and why, in words. */
class UnusablePemFile extends Error {
  readonly code: 'ERR_PEM_FILE' | 'ERR_PEM_ENCRYPTED';

  constructor(message: string, code: UnusablePemFile['code'] = 'ERR_PEM_FILE') {
    super(message);
    this.code = code;
  }
}

function pemIn(
  file: string,
  option: string,
  purpose: 'trusted' | 'secret',
  warn: (words: string) => void,
): Buffer {
  let pem: Buffer;
  try {
    pem = readPrivate(file, purpose, warn);
  } catch (error) {
    const { message, cause } = error as Error;
    const why = cause
      ? `could not be read: ${(cause as NodeJS.ErrnoException).code}`
      : `cannot be used: ${message}`;
    throw new UnusablePemFile(`the ${option} file ${file} ${why}`);
  }
  // Authorities in another format, as DER, Node.js takes for none.
  if (pem.includes('-----BEGIN ')) return pem;
  throw new UnusablePemFile(`the ${option} file ${file} is not a PEM file`);
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

function usualCertificates(env: NodeJS.ProcessEnv): (string | Buffer)[] {
  const { getCACertificates, rootCertificates } = tls();
  if (getCACertificates !== undefined) return getCACertificates('default');
  const extra = env.NODE_EXTRA_CA_CERTS;
  return [...rootCertificates, ...(extra && existsSync(extra) ? [readFileSync(extra)] : [])];
}
