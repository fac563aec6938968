import type { Secrets } from '../failures/secrets.ts';
import type { Log } from '../log.ts';
import { monotonicMs } from '../monotonic-clock.ts';
import {
  type Credential,
  type CredentialProvider,
  isOtherCredential,
  type Rejection,
} from './credential.ts';
import { findKey, type KeyResult, type KeySources } from './key.ts';

/** How long the source is left alone after a renewal, and after it was slow to have no usable key. */
const PAUSE_MS = 2_000;
const SLOW_MS = 1_000;

/** Keeps the key that was found, and asks its source again when the gateway rejects it. */
export class CachedKeyProvider implements CredentialProvider {
  readonly #look: () => Promise<KeyResult>;
  #kept: KeyResult | undefined;
  /** The newest finding that is unusable, and until when it counts. */
  #failed: { readonly finding: KeyResult; readonly until: number } | undefined;
  #looking: Promise<KeyResult> | undefined;
  #renewedAt = Number.NEGATIVE_INFINITY;

  /** `secrets` learns each key that is found. */
  constructor(sources: KeySources, env: NodeJS.ProcessEnv, log: Log, secrets: Secrets) {
    this.#look = async () => {
      const finding = await findKey(sources, env, log);
      if (finding.kind === 'found') secrets.add(finding.key);
      log.debug(`key: ${finding.kind}, ${finding.origin.origin}`);
      return finding;
    };
  }

  /**
   * The key to send. Looked for at the first call and kept. After a slow look, an unusable one counts
   * for 2 s: a command that hangs is not started for each call, and a file that was just corrected is
   * read at once. Calls meanwhile share one look, which takes at most 10 s. Never rejects.
   */
  async current(): Promise<KeyResult> {
    if (this.#kept !== undefined) return this.#kept;
    const failed = this.#failed;
    if (failed !== undefined && monotonicMs() < failed.until) return failed.finding;
    return this.#find();
  }

  /**
   * Another key than the one that the gateway answered with 401: one that has been found since, or
   * that the source has by now. Undefined when there is none, after another status, and when the
   * message has had another key before. The source is asked once for all calls meanwhile, and at
   * most every 2 s. Never rejects.
   */
  async renew(rejected: Credential, rejection: Rejection): Promise<KeyResult | undefined> {
    if (rejection.status !== 401 || rejection.renewals > 0) return undefined;
    if (
      this.#looking === undefined &&
      this.#kept !== undefined &&
      isOtherCredential(this.#kept, rejected)
    ) {
      return this.#kept;
    }
    // A header is as the command line gave it, for as long as the program runs.
    if (rejected.kind === 'in-header') return undefined;
    const now = monotonicMs();
    if (this.#looking === undefined) {
      if (now - this.#renewedAt < PAUSE_MS) return undefined;
      this.#renewedAt = now;
    }
    const found = await this.#find();
    return found.kind === 'found' && isOtherCredential(found, rejected) ? found : undefined;
  }

  #find(): Promise<KeyResult> {
    const start = monotonicMs();
    this.#looking ??= this.#look()
      .then((finding) => {
        const now = monotonicMs();
        // A pipe has its key once; the old one may do again.
        if (finding.kind !== 'unusable') this.#kept = finding;
        else if (now - start > SLOW_MS) this.#failed = { finding, until: now + PAUSE_MS };
        return finding;
      })
      .finally(() => {
        this.#looking = undefined;
      });
    return this.#looking;
  }
}
