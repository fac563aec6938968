// The process that has the user sign in, apart from the proxy that needs it, which a client may kill at
// any time. It has the entry's lock for as long, so that all proxies of this user wait for the same
// browser tab, and tells them over the lock what comes of it.
import { statSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { createLog } from '../../log.ts';
import { markAttempt } from './ask-for-sign-in.ts';
import { openCallbackServer } from './callback-server.ts';
import type { Handed } from './helper-process.ts';
import { type Browser, openBrowser } from './open-browser.ts';
import { type HeldLock, tryLock } from './process-lock.ts';
import { type RefreshRequest, refreshInHelper } from './refresh-sign-in.ts';
import { lockFolder, signInFile, signInLock } from './sign-in-file.ts';
import { openSignInStore } from './sign-in-store.ts';
import type { StoreKeySources } from './store-key-sources.ts';
import {
  type PerformSignIn,
  type SignInEntry,
  SignInError,
  type SignInOutcome,
  type SignInRequest,
  type SignInStore,
  type StoredSignIn,
} from './stored-sign-in.ts';

/** What the process reads from stdin, in JSON. */
export interface HelperRequest extends SignInRequest {
  /** The user's data folder. */
  readonly data: string;
  readonly keySources: StoreKeySources;
  /** What opens the browser; undefined when the user is only told the link. */
  readonly browser?: Extract<Browser, { commands: unknown }> | undefined;
  /** Names of environment variables with secrets, kept from the browser. */
  readonly secretVariables: readonly string[];
}

/** What it tells, a line of JSON each. */
export type HelperMessage =
  /** It has the lock; or another process has. */
  | { readonly kind: 'holds' }
  | { readonly kind: 'held' }
  /** A link that opens the sign-in in this computer's browser, for as long as it goes on. */
  | { readonly kind: 'link'; readonly link: string }
  | Exclude<SignInOutcome, { kind: 'paused' }>;

/** How long the user has. */
const DEADLINE_MS = 5 * 60_000;
const TOO_LATE = 'You did not finish the sign-in within 5 minutes.';
/** How long the exchange may take after that. */
const GRACE_MS = 60_000;
/** How often the store is looked at, for a sign-in by the command `login`. */
const LOOK_MS = 1_000;

/** How long a refresh may take in all. */
const REFRESH_LIMIT_MS = 45_000;

/**
 * Reads a request from stdin, performs it, stores what comes of it, and exits. Tells the process that
 * started it, on stdout, and all that are attached to the lock. Whoever is gone is not missed.
 */
export async function runSignInHelper(perform: PerformSignIn): Promise<void> {
  process.stdout.on('error', () => {});
  const request: (HelperRequest | RefreshRequest) & Handed = JSON.parse(await text(process.stdin));
  Object.assign(process.env, request.variables);
  if ('refreshes' in request) {
    setTimeout(() => process.exit(1), REFRESH_LIMIT_MS).unref();
    const outcome = await refreshInHelper(request);
    process.stdout.write(`${JSON.stringify(outcome)}\n`, () => process.exit());
    return;
  }
  setTimeout(() => process.exit(1), DEADLINE_MS + GRACE_MS).unref();
  const lock = await tryLock(lockFolder(request.data), signInLock(request.entry));
  const tell = (message: HelperMessage) => {
    process.stdout.write(`${JSON.stringify(message)}\n`);
    lock?.tell(JSON.stringify(forOthers(message)));
  };
  tell(lock === undefined ? { kind: 'held' } : { kind: 'holds' });
  if (lock !== undefined) await signIn(request, lock, tell, perform);
  process.stdout.write('', () => process.exit());
}

/**
 * Others than the process that started this one may hear it too: a named pipe of Windows can be read
 * by every user.
 */
function forOthers(message: HelperMessage): HelperMessage {
  if (process.platform !== 'win32') return message;
  if (message.kind === 'link') return { kind: 'holds' };
  return message.kind === 'done' ? { kind: 'done' } : message;
}

async function signIn(
  request: HelperRequest,
  lock: HeldLock,
  tell: (message: HelperMessage) => void,
  perform: PerformSignIn,
): Promise<void> {
  const { entry, data, keySources, browser, secretVariables } = request;
  const store = openSignInStore(
    data,
    keySources,
    createLog('error', () => {}),
  );
  const ended = new AbortController();
  setTimeout(() => ended.abort(new SignInError(TOO_LATE)), DEADLINE_MS).unref();
  const stopLooking = lookForOther(request, store, () => ended.abort(new OtherSignIn()));
  try {
    const made = await perform(request, {
      store,
      listen: openCallbackServer,
      show: (url, server) => {
        const link = server.linkTo(url, false);
        // However this process ends, the next tab comes no sooner than it may.
        markAttempt(data, entry);
        tell({ kind: 'link', link });
        if (browser === undefined) return;
        void openBrowser(server.linkTo(url), browser, secretVariables).then((failure) => {
          if (failure === undefined) return;
          ended.abort(new SignInError(`Cannot open a browser: ${failure}.`));
        });
      },
      signal: ended.signal,
    });
    tell(await stored(store, entry, made));
  } catch (error) {
    tell(outcomeOf(ended.signal.aborted ? ended.signal.reason : error));
  }
  stopLooking();
  await lock.release();
}

/** The user has signed in by another process, as by `login`. */
class OtherSignIn extends Error {}

async function stored(
  store: SignInStore,
  entry: SignInEntry,
  signIn: StoredSignIn,
): Promise<HelperMessage> {
  const { isLasting } = await store.write(entry, signIn);
  return isLasting ? { kind: 'done' } : { kind: 'done', signIn };
}

function outcomeOf(error: unknown): HelperMessage {
  if (error instanceof OtherSignIn) return { kind: 'done' };
  if (error instanceof SignInError) return { kind: 'failed', words: error.message };
  // Its message may quote anything.
  const { name, code = name } = error as NodeJS.ErrnoException;
  return { kind: 'failed', words: `The sign-in failed because of an internal error: ${code}.` };
}

/** Calls `onFound` once there is a newer sign-in than the one that is to be replaced. */
function lookForOther(
  { data, entry, replaces = 0 }: HelperRequest,
  store: SignInStore,
  onFound: () => void,
): () => void {
  const path = signInFile(data, entry);
  const changedAt = () => statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  let seen = changedAt();
  const timer = setInterval(async () => {
    const now = changedAt();
    if (now === undefined || now === seen) return;
    seen = now;
    const found = await store.read(entry);
    if (found.kind !== 'found' || found.signIn.tokens === undefined) return;
    if (found.signIn.signedInAt > replaces) onFound();
  }, LOOK_MS);
  return () => clearInterval(timer);
}
