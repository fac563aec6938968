// The side of the proxy: starts the process that has the user sign in, or waits for the one that
// another proxy has started.
import { statSync, writeFileSync } from 'node:fs';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { makePrivateFolder } from '../../private-path.ts';
import { type HelperOptions, runHelperProcess } from './helper-process.ts';
import { findBrowser } from './open-browser.ts';
import { attachToHolder, withLock } from './process-lock.ts';
import { attemptFile, lockFolder, signInFolder, signInLock } from './sign-in-file.ts';
import type { HelperMessage, HelperRequest } from './sign-in-helper.ts';
import type { StoreKeySources } from './store-key-sources.ts';
import type { SignInEntry, SignInOutcome, SignInRequest, SignInStore } from './stored-sign-in.ts';

export interface AskOptions extends HelperOptions {
  /** The user's data folder, and the store that is in it. */
  readonly data: string;
  readonly store: SignInStore;
  readonly keySources: StoreKeySources;
  /** Whether to open a browser; else only the link is there. */
  readonly opensBrowser: boolean;
  /** Gets the link that opens the sign-in in this computer's browser, once there is one. */
  readonly onLink?: (link: string) => void;
}

/** After a sign-in that was not finished, how long none is started without the user. */
const PAUSE_MS = 10 * 60_000;
/** How long other proxies may take to start a helper. */
const START_LIMIT_MS = 30_000;
/** How often it is tried, where the helpers of other proxies end just then. */
const TRIES = 5;
const MAX_WORDS_CHARACTERS = 300;

/**
 * Has the user sign in: in one browser tab for all processes that ask for the same entry. Resolves
 * once that ended, after at most 6 minutes; the helper goes on when this process ends. Never rejects.
 */
export async function askForSignIn(
  request: SignInRequest,
  options: AskOptions,
): Promise<SignInOutcome> {
  const { data, store } = options;
  const { entry, replaces = 0 } = request;
  const locks = lockFolder(data);
  const start = () => attach(entry, options).then((attached) => attached ?? begin());
  const begin = async (): Promise<Following> => {
    const found = await store.read(entry);
    if (found.kind === 'found' && found.signIn.tokens && found.signIn.signedInAt > replaces) {
      return follows({ kind: 'done' });
    }
    const until = pausedUntil(data, entry);
    if (until > Date.now()) return follows({ kind: 'paused', until });
    return startHelper(request, options);
  };
  try {
    for (let left = TRIES; left > 0; left--) {
      const limit = { limitMs: START_LIMIT_MS };
      // No other process starts a helper between the look for one and the start of another.
      const { outcome } = await withLock(locks, `start of ${signInLock(entry)}`, limit, start);
      const came = await outcome;
      if (came !== 'held') return came;
    }
    return {
      kind: 'failed',
      words: 'Other mcp-latchkey processes kept the sign-in from starting.',
    };
  } catch (error) {
    return {
      kind: 'failed',
      words: `The sign-in could not be started: ${(error as Error).message}.`,
    };
  }
}

/** Until when no sign-in is started without the user, in ms since 1970; 0 when one may be. */
function pausedUntil(data: string, entry: SignInEntry): number {
  const { mtimeMs } = statSync(attemptFile(data, entry), { throwIfNoEntry: false }) ?? {};
  // A clock that was set back must not make it last.
  return mtimeMs === undefined || mtimeMs > Date.now() + PAUSE_MS ? 0 : mtimeMs + PAUSE_MS;
}

/** From now on no sign-in is started without the user for 10 minutes, or until one is stored. */
export function markAttempt(data: string, entry: SignInEntry): void {
  try {
    makePrivateFolder(signInFolder(data));
    writeFileSync(attemptFile(data, entry), '', { mode: 0o600 });
  } catch {
    // Where nothing can be written, the processes that wait for the same sign-in still share its tab.
  }
}

/** `held`: another process has the lock by now. */
interface Following {
  readonly outcome: Promise<SignInOutcome | 'held'>;
}

const follows = (outcome: SignInOutcome): Following => ({ outcome: Promise.resolve(outcome) });

const INTERRUPTED: SignInOutcome = { kind: 'failed', words: 'The sign-in was interrupted.' };

/** Follows the helper that is there; undefined when there is none. */
async function attach(entry: SignInEntry, options: AskOptions): Promise<Following | undefined> {
  let outcome: SignInOutcome | undefined;
  const attached = await attachToHolder(lockFolder(options.data), signInLock(entry), (line) => {
    const message = messageIn(line);
    if (message?.kind === 'done' || message?.kind === 'failed') outcome = fromOther(message);
    // On Windows another user may have made the pipe.
    else if (message?.kind === 'link' && process.platform !== 'win32') {
      options.onLink?.(message.link);
    }
  });
  return attached && { outcome: attached.ended.then(() => outcome ?? INTERRUPTED) };
}

function fromOther(outcome: Extract<HelperMessage, { kind: 'done' | 'failed' }>): SignInOutcome {
  if (outcome.kind === 'failed') {
    return { kind: 'failed', words: cleanNetworkText(outcome.words, MAX_WORDS_CHARACTERS) };
  }
  return process.platform === 'win32' ? { kind: 'done' } : outcome;
}

/** Resolves once the helper has the lock, or has found that another has it. */
async function startHelper(request: SignInRequest, options: AskOptions): Promise<Following> {
  const { data, keySources, secretVariables, env, opensBrowser, onLink } = options;
  const browser = opensBrowser ? await findBrowser(process.platform, env) : undefined;
  if (browser !== undefined && 'words' in browser) {
    return follows({ kind: 'failed', words: `Cannot open a browser: ${browser.words}.` });
  }
  const handedOver: HelperRequest = {
    ...request,
    ...{ data, keySources, secretVariables },
    ...(browser === undefined ? {} : { browser }),
  };
  return new Promise((resolve) => {
    let came: SignInOutcome | 'held' | undefined;
    const ended = runHelperProcess<HelperMessage>(handedOver, options, (message) => {
      if (message.kind === 'holds') resolve({ outcome });
      else if (message.kind === 'held') came = message.kind;
      else if (message.kind === 'link') onLink?.(message.link);
      else came = message;
    });
    const outcome = ended.then(
      () => came ?? INTERRUPTED,
      ({ code, message }: NodeJS.ErrnoException): SignInOutcome => ({
        kind: 'failed',
        words: `The sign-in could not be started: ${code ?? message}.`,
      }),
    );
    void outcome.then(() => resolve({ outcome }));
  });
}

function messageIn(line: string): HelperMessage | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
