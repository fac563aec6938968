import type { BearerChallenge } from '../auth/challenge.ts';
import { Credentials } from '../auth/credentials.ts';
import { type KeyResult, keyHeaderNames } from '../auth/key.ts';
import { CachedKeyProvider } from '../auth/key-ring.ts';
import type { SignInFacts } from '../auth/oauth/examine-sign-in.ts';
import type { EraBridge } from '../bridge/era-bridge.ts';
import { openGateway } from '../bridge/open-gateway.ts';
import type { Failure } from '../failures/failure.ts';
import type { Secrets } from '../failures/secrets.ts';
import { displayUrl } from '../failures/url-secrets.ts';
import type { Response } from '../jsonrpc/message.ts';
import { createLog, type Log } from '../log.ts';
import type { ProxySettings } from '../settings/settings.ts';
import type { Transport } from '../transport/transport.ts';
import { HttpTrace, type TracedRequest } from './http-trace.ts';
import { exchange } from './key-trial.ts';
import { probeRoute, type RouteProbe } from './probe.ts';

/**
 * After the first attempt no other begins later than this: enough for what recovers by itself, and a
 * gateway that is dead is said to be so soon.
 */
const RETRY_LIMIT_MS = 3_000;
const CLOSE_LIMIT_MS = 1_000;

/** What came of a request, and the HTTP requests that it took. */
export type Answer = (
  | { readonly failure: Failure; readonly reply?: undefined }
  | { readonly reply: Response; readonly failure?: undefined }
) & { readonly requests: readonly TracedRequest[] };

/** A key, or the reason for its absence, and when its source was asked: milliseconds of the trace's clock. */
export interface FoundKey {
  readonly finding: KeyResult;
  readonly startMs: number;
  readonly endMs: number;
}

/** What came of the first request with the key; `skipped`: why none was sent. */
export type Authorization = Answer | { readonly skipped: string };

/** What the probe found; `skipped`: why none was sent. */
export type Probe = RouteProbe | { readonly skipped: string };

/**
 * The proxy's own parts at work on one gateway. What takes its time is begun by `begin`, at once
 * and side by side; each check waits for what it needs.
 */
export class DoctorRun {
  readonly settings: ProxySettings;
  readonly env: NodeJS.ProcessEnv;
  /** Who has the key, where it is not known here. */
  readonly keyHolder: string | undefined;
  readonly startedAt = new Date();
  readonly trace = new HttpTrace(performance.now());
  /** What the proxy's parts have logged, oldest first. */
  readonly logged: { readonly level: string; readonly line: string }[] = [];
  /** With the key. */
  readonly gateway: EraBridge;
  readonly #keyless: Transport;
  readonly #keys: CachedKeyProvider;
  readonly #credentials: Credentials;
  readonly #secrets: Secrets;
  readonly #log: Log;
  #contact: Promise<Answer> | undefined;
  #key: Promise<FoundKey> | undefined;
  #authorization: Promise<Authorization> | undefined;
  #probe: Promise<Probe> | undefined;

  /** `secrets` learns the keys that are found. */
  constructor(
    settings: ProxySettings,
    env: NodeJS.ProcessEnv,
    secrets: Secrets,
    keyHolder?: string,
  ) {
    this.settings = settings;
    this.env = env;
    this.keyHolder = keyHolder;
    this.#log = this.#createLog();
    this.#keys = new CachedKeyProvider(settings, env, this.#log, secrets);
    const carriers = keyHeaderNames(settings.keyHeader);
    const headers = new Map([...settings.headers].filter(([name]) => !carriers.includes(name)));
    const limits = { retryLimitMs: RETRY_LIMIT_MS };
    this.#keyless = openGateway({ ...settings, headers }, NO_KEYS, this.#log, secrets, limits);
    this.#secrets = secrets;
    // It examines: no browser is opened.
    const quiet = { ...settings, oauth: { ...settings.oauth, signIn: 'error' as const } };
    this.#credentials = new Credentials(quiet, env, this.#log, secrets, this.#keys);
    this.gateway = openGateway(settings, this.#credentials, this.#log, secrets, limits);
  }

  /** The endpoint without what may be secret in it. */
  get displayUrl(): string {
    return displayUrl(this.settings.url);
  }

  /** The request that costs the gateway least. `ping` is none where the proxy answers it itself. */
  get pingMethod(): 'ping' | 'server/discover' {
    return this.gateway.translatedRevision === undefined ? 'ping' : 'server/discover';
  }

  begin(): void {
    void this.contact();
    void this.key();
    void this.authorize();
    void this.probe();
  }

  /** `initialize` without a key: whether the gateway can be reached, and what it asks for. */
  contact(): Promise<Answer> {
    this.#contact ??= this.ask(
      this.#keyless,
      'initialize',
      INITIALIZE_PARAMS,
      'initialize without a key',
    );
    return this.#contact;
  }

  /** The key that the proxy would send. */
  key(): Promise<FoundKey> {
    const startMs = this.trace.now();
    this.#key ??= this.#keys
      .current()
      .then((finding) => ({ finding, startMs, endMs: this.trace.now() }));
    return this.#key;
  }

  /** How the gateway is signed in to. `challenge`: of its 401. */
  async signIn(challenge: BearerChallenge | undefined): Promise<SignInFacts> {
    const { examineSignIn, openStore } = await import('../auth/oauth/user-sign-in.ts');
    const store = openStore(this.settings, this.env, this.#log);
    const own = { env: this.env, log: this.#log, secrets: this.#secrets };
    return examineSignIn(this.settings, store, challenge, own);
  }

  /** Whether an access token is sent in place of a key. */
  async isSignedIn(): Promise<boolean> {
    return (await this.#credentials.current()).kind === 'token';
  }

  /** `initialize` with the key, or with the access token. */
  authorize(): Promise<Authorization> {
    this.#authorization ??= this.#sendKey();
    return this.#authorization;
  }

  /** The connection to the gateway, step by step, where no HTTP proxy makes it. */
  probe(): Promise<Probe> {
    this.#probe ??= this.#probeUnlessProxied();
    return this.#probe;
  }

  /** Sends a request through the proxy's own gateway. */
  async ask(gateway: Transport, method: string, params: object, label = method): Promise<Answer> {
    const { value, requests } = await this.trace.watch(label, () =>
      exchange(gateway, method, params),
    );
    return { ...value, requests };
  }

  async close(): Promise<void> {
    await Promise.all([this.#keyless.close(CLOSE_LIMIT_MS), this.gateway.close(CLOSE_LIMIT_MS)]);
    this.trace.close();
  }

  async #sendKey(): Promise<Authorization> {
    const [contact, { finding }] = await Promise.all([this.contact(), this.key()]);
    const { failure } = contact;
    if (failure?.reason === 'unreachable') {
      return hasConnected(contact) ? contact : { skipped: 'no connection' };
    }
    if (this.keyHolder !== undefined) return { skipped: 'key not known here' };
    if (finding.kind === 'unusable') return { skipped: 'no key' };
    const isMachine = this.settings.oauth.grant !== 'authorization-code';
    const isKeyless = finding.kind === 'none' && !isMachine && !(await this.isSignedIn());
    if (isKeyless && failure !== undefined) {
      return failure.status === 401 ? { skipped: 'no key' } : contact;
    }
    return this.ask(this.gateway, 'initialize', INITIALIZE_PARAMS, 'initialize');
  }

  async #probeUnlessProxied(): Promise<Probe> {
    const { url, routes } = this.settings;
    await Promise.race([this.trace.firstConnection, this.contact()]);
    if (this.trace.connections.length === 0) return { skipped: 'no connection attempted' };
    if (routes.isProxied(url)) return { skipped: 'done by the HTTP proxy' };
    return probeRoute(url, routes.connectTimeoutMs, () => this.trace.now());
  }

  #createLog(): Log {
    const at = (level: string) => (line: string) => void this.logged.push({ level, line });
    return {
      ...createLog('error', () => {}),
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
    };
  }
}

/** Whether a connection came about, whatever was answered on it. */
export function hasConnected({ requests }: Answer): boolean {
  return requests.some(({ sentMs }) => sentMs !== undefined);
}

/**
 * Whether the key has a source that takes its time: a command, or the keychain, which has been asked
 * as well where there is no key.
 */
export function isWaitedFor({ finding }: FoundKey): boolean {
  return ['none', 'keychain', 'key-command'].includes(finding.origin.source);
}

const INITIALIZE_PARAMS = {
  protocolVersion: '2025-11-25',
  capabilities: {},
  clientInfo: { name: 'mcp-latchkey doctor', version: __VERSION__ },
};

const NO_KEYS = {
  current: async () => ({ kind: 'none', origin: { source: 'none', origin: 'no source' } }) as const,
  renew: async () => undefined,
};
