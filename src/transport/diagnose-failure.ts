import type { Credential } from '../auth/credential.ts';
import type * as Discovery from '../auth/discovery.ts';
import type { Failure } from '../failures/failure.ts';
import type { NetworkCause } from '../failures/network-causes.ts';
import { displayUrl } from '../failures/url-secrets.ts';
import type { Log } from '../log.ts';
import { classifyOutcome } from './classify-outcome.ts';
import type { EndpointOptions } from './endpoint.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { mayPass } from './retry-policy.ts';

type Refusal = Extract<ExchangeOutcome, { kind: 'http-error' }>;

interface ExplainerOptions extends EndpointOptions {
  readonly maxMessageBytes: number;
  readonly log: Log;
}

/** Those whose head and body say more than the status does. */
const TELLING_STATUSES: ReadonlySet<number> = new Set([401, 403, 426, 505, 511]);

/** How long it is remembered that there is no metadata. */
const NO_METADATA_MS = 5_000;

/** What is known of a message whose exchange failed. */
export interface RequestContext {
  readonly credential: Credential;
  /** Whether the same message twice would do no more than once. */
  mayRepeat(): boolean;
  readonly attempts: number;
  /** Whether it was sent in a session that the gateway itself had begun. */
  readonly isInSession?: boolean;
  /** Whether the gateway has accepted a message at this URL before. */
  readonly hasWorked?: boolean;
  /** Path and query of where it was sent. */
  readonly target?: string | undefined;
  /** Whether an event stream of the gateway has named that. */
  readonly isNamedByGateway?: boolean;
}

/** Judges exchanges that failed, and asks around for what explains them. */
export class FailureDiagnosis {
  readonly #options: ExplainerOptions;
  readonly #gateway: string;
  #discovery: ReturnType<typeof Discovery.discoverResource> | undefined;

  /** `gateway`: the endpoint without its query. */
  constructor(options: ExplainerOptions, gateway: string) {
    this.#options = options;
    this.#gateway = gateway;
  }

  /** Never rejects. Takes 5 s at most, for the metadata behind a 401. */
  async failureOf(end: ExchangeOutcome, attempted: RequestContext): Promise<Failure> {
    const { log, routes, timeoutMs, maxMessageBytes } = this.#options;
    if (end.kind === 'bug') log.error(`bug: ${end.error.stack}`);
    const failure = classifyOutcome(end, {
      ...attempted,
      gateway: this.#gateway,
      connectTimeoutMs: routes.connectTimeoutMs,
      timeoutMs,
      maxMessageBytes,
    });
    // Whoever answers three times with what is not HTTP is not down.
    const isTransient = mayPass(end) && failure.reason !== 'invalid_response';
    if (end.kind !== 'http-error') {
      return { ...failure, ...(await this.#certificate(failure)), isTransient };
    }
    const refused = await this.#refusal(end, failure, attempted);
    // Where a session was lost, it is not about the key.
    const challenged = failure.reason === 'gateway_error' ? {} : await this.#challenge(end);
    return { ...refused, ...challenged, ...this.#target(attempted), isTransient };
  }

  async #refusal(end: Refusal, failure: Failure, attempted: RequestContext): Promise<Failure> {
    const { url, routes } = this.#options;
    const isForwarded = url.protocol === 'http:' && routes.isProxied(url);
    if (!isForwarded && !TELLING_STATUSES.has(end.status)) return failure;
    const { explainRefusal } = await import('./explain-refusal.ts');
    return explainRefusal(end, failure, {
      url,
      isForwarded,
      credential: attempted.credential,
      mayRepeat: attempted.mayRepeat,
    });
  }

  /** Where the message was sent, if that is not what the user has named. */
  #target({ target, isNamedByGateway }: RequestContext): Partial<Failure> {
    if (target === undefined) return {};
    const asked = displayUrl(new URL(target, this.#options.url));
    if (asked === this.#gateway) return {};
    return { target: asked, ...(isNamedByGateway === true ? { isNamedByGateway } : {}) };
  }

  /** Whose certificate it is that was not trusted. */
  async #certificate({ networkCause, detail }: Failure): Promise<Partial<Failure>> {
    const { url, routes } = this.#options;
    const isNameless = networkCause?.startsWith('certificate-') && detail === undefined;
    if (!isNameless || routes.isProxied(url)) return {};
    const { describeCertificate } = await import('../http/certificate.ts');
    const described = await describeCertificate(
      url,
      networkCause as NetworkCause,
      routes.connectTimeoutMs,
    );
    return described === undefined ? {} : { detail: described };
  }

  /** What a 401 or 403 says in its challenge, and what the metadata behind a 401 adds. */
  async #challenge(end: Refusal): Promise<Partial<Failure>> {
    if (end.status !== 401 && end.status !== 403) return {};
    const { challengeIn, challengeInWords, discoverResource } = await import(
      '../auth/discovery.ts'
    );
    const challenge = challengeIn(end.headers['www-authenticate']);
    const detail = challengeInWords(challenge);
    const said = detail === undefined ? {} : { detail };
    if (end.status === 403) return said;
    const { url, routes } = this.#options;
    this.#discovery ??= discoverResource(url, challenge, routes);
    const discovery = this.#discovery;
    const resource = await discovery;
    if (!('why' in resource)) return { ...said, resource };
    this.#options.log.info(`no protected resource metadata: ${resource.why}`);
    this.#forgetLater(discovery);
    return said;
  }

  #forgetLater(discovery: ReturnType<typeof Discovery.discoverResource>): void {
    setTimeout(() => {
      if (this.#discovery === discovery) this.#discovery = undefined;
    }, NO_METADATA_MS).unref();
  }
}
