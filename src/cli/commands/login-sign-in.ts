import { createInterface } from 'node:readline';
import { matcherFor } from '../../auth/configured-secrets.ts';
import type { Credential, CredentialProvider, Rejection } from '../../auth/credential.ts';
import { chosenOrigin, DEFAULT_ACCOUNT, keyHeaderNames } from '../../auth/key.ts';
import type { SignInContext } from '../../auth/oauth/sign-in-context.ts';
import type { StoredSignIn } from '../../auth/oauth/stored-sign-in.ts';
import type { SignInSurroundings, SignInTerminal } from '../../auth/oauth/user-sign-in.ts';
import { openGateway } from '../../bridge/open-gateway.ts';
import { type KeyTrial, tryKey } from '../../doctor/key-trial.ts';
import { toRpcError } from '../../failures/catalogue.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { Secrets } from '../../failures/secrets.ts';
import { createLog } from '../../log.ts';
import type { ProxySettings } from '../../settings/settings.ts';
import { promptHidden } from '../../terminal/hidden-prompt.ts';
import { Printer } from '../../terminal/printer.ts';

/** What came of a sign-in, as `--json` prints it. */
export interface SignInFinding {
  readonly method: 'sign-in';
  readonly gateway: string;
  readonly account: string;
  readonly stored: boolean;
  readonly outcome: KeyTrial['outcome'] | 'untried' | 'no-keychain' | 'no-sign-in' | 'cancelled';
  /** What was found, in sentences. */
  readonly message: string;
  readonly tools?: number;
  readonly issuer?: string;
  /** Who signed in, where the server says so. */
  readonly subject?: string;
  /** Separated by spaces. */
  readonly scopes?: string;
  /** When the access token expires, as an ISO date. */
  readonly expires?: string;
  /** Whether it is renewed without the user. */
  readonly refreshable?: boolean;
  /** The source of API keys that comes before it here, in words. */
  readonly shadowedBy?: string;
}

/** How the gateway is signed in to, or why it is not, in a sentence. */
export type SignInOffer = { readonly context: SignInContext } | { readonly words: string };

const CLOSE_LIMIT_MS = 1_000;

/** Asks the gateway without any credential. Never rejects. */
export async function findOffer(settings: ProxySettings): Promise<SignInOffer> {
  const surroundings = surroundingsOf(settings);
  let rejection: Rejection | undefined;
  const none: Credential = { kind: 'none', origin: { source: 'none', origin: 'no source' } };
  const asked = {
    current: async () => none,
    renew: async (_: Credential, rejected: Rejection) => {
      rejection ??= rejected;
      return undefined;
    },
  };
  const trial = await tryIt(settings, asked, surroundings);
  const { host } = settings.url;
  if (rejection === undefined) {
    if ('failure' in trial) return { words: toRpcError(trial.failure).message };
    return { words: `${host} does not require a sign-in.` };
  }
  const { findSignIn } = await import('../../auth/oauth/user-sign-in.ts');
  const found = await findSignIn(surroundings, rejection.headers);
  if (found === undefined) return { words: `${host} does not offer a sign-in.` };
  return 'words' in found ? found : { context: found };
}

/** Has the user sign in as `offer` says, stores it, and tries it unless `verify` is false. */
export async function loginBySignIn(
  settings: ProxySettings,
  offer: SignInOffer,
  verify: boolean,
): Promise<SignInFinding> {
  const { url, account = DEFAULT_ACCOUNT, oauth } = settings;
  const base = { method: 'sign-in', gateway: url.origin + url.pathname, account } as const;
  const stopped = (outcome: SignInFinding['outcome'], message: string): SignInFinding => ({
    ...{ ...base, stored: false, outcome, message },
  });
  if (oauth.grant !== 'authorization-code' && oauth.grant !== 'device-code') {
    const words = `--grant ${oauth.grant} needs no login: the proxy gets its tokens by itself.`;
    return stopped('no-sign-in', words);
  }
  if ('words' in offer) return stopped('no-sign-in', offer.words);
  const surroundings = surroundingsOf(settings);
  const { openSignIn, signIn, whyNotStored } = await import('../../auth/oauth/user-sign-in.ts');
  // Before anyone signs in for nothing.
  const trouble = await whyNotStored(surroundings);
  if (trouble !== undefined) {
    return stopped('no-keychain', `The sign-in cannot be stored: ${trouble}.`);
  }
  const terminal = new Terminal(offer.context, settings);
  const made = await signIn(surroundings, offer.context, terminal);
  terminal.end();
  if (terminal.isCancelled) return stopped('cancelled', 'Cancelled.');
  if ('words' in made) return stopped('failed', made.words);
  const { env, log, secrets } = surroundings;
  const asked = { ...settings, oauth: { ...oauth, signIn: 'error' } } as const;
  const tokens = openSignIn(asked, env, log, secrets);
  const trial = verify ? await tryIt(settings, tokens, surroundings) : undefined;
  const { source, origin } = chosenOrigin(settings, env);
  const isShadowed = source !== 'keychain' && oauth.auth !== 'oauth';
  return {
    ...base,
    stored: true,
    outcome: trial?.outcome ?? 'untried',
    message: trial === undefined ? '' : secrets.mask(trialInWords(trial, url.host)),
    ...(trial?.outcome === 'works' ? { tools: trial.tools } : {}),
    ...signInFacts(made),
    ...(isShadowed ? { shadowedBy: origin } : {}),
  };
}

/** What may be shown of a sign-in. */
export function signInFacts({ server, tokens, subject }: StoredSignIn) {
  const { scope, expiresAt, refreshToken } = tokens ?? {};
  return {
    issuer: cleanNetworkText(server.issuer, 200),
    ...(subject === undefined ? {} : { subject }),
    ...(scope === undefined ? {} : { scopes: cleanNetworkText(scope, 500) }),
    ...(expiresAt === undefined ? {} : { expires: new Date(expiresAt).toISOString() }),
    refreshable: refreshToken !== undefined,
  };
}

/** Prints what came of it. */
export function printSignIn(out: Printer, finding: SignInFinding): void {
  const { gateway, account, stored, outcome, message, subject, scopes, refreshable } = finding;
  if (!stored) {
    out.marked('fail', message);
    return;
  }
  const { host } = new URL(gateway);
  const name = account === DEFAULT_ACCOUNT ? '' : `, account "${account}"`;
  const as = subject === undefined ? '' : ` as ${subject}`;
  out.marked('ok', `Signed in to ${host}${as}${name}.`);
  if (scopes !== undefined) out.marked('ok', `Scopes: ${scopes}`);
  out.marked('ok', refreshable ? 'Stored, encrypted. It renews itself.' : 'Stored, encrypted.');
  if (message !== '') out.marked(outcome === 'works' ? 'ok' : 'warn', message);
  if (finding.shadowedBy !== undefined) {
    out.note(
      `${finding.shadowedBy} is set here and takes precedence over the sign-in. To use the sign-in, pass --auth oauth.`,
    );
  }
  out.line('A running client uses it with its next request.');
}

function trialInWords(trial: KeyTrial, host: string): string {
  switch (trial.outcome) {
    case 'works':
      return `${host} offers ${trial.tools} ${trial.tools === 1 ? 'tool' : 'tools'}.`;
    case 'error':
      return `Listing the tools failed: ${trial.said}.`;
    default:
      return toRpcError(trial.failure).message;
  }
}

/** The commands write no log but errors. */
export function surroundingsOf(settings: ProxySettings): SignInSurroundings {
  const { env } = process;
  const secrets = new Secrets((keys) => matcherFor(keys, env, settings));
  const log = createLog('error', (line) => void process.stderr.write(secrets.mask(line)));
  return { sources: settings, env, log, secrets };
}

async function tryIt(
  settings: ProxySettings,
  credentials: CredentialProvider,
  { log, secrets }: SignInSurroundings,
): Promise<KeyTrial> {
  // A key that a header gives would go along.
  const carriers = keyHeaderNames(settings.keyHeader);
  const headers = new Map([...settings.headers].filter(([name]) => !carriers.includes(name)));
  const quick = { retryLimitMs: 0 };
  const gateway = openGateway({ ...settings, headers }, credentials, log, secrets, quick);
  try {
    return await tryKey(gateway, __VERSION__);
  } finally {
    await gateway.close(CLOSE_LIMIT_MS);
  }
}

/** The user's terminal, or the program that started this one. All but the result goes to stderr. */
class Terminal implements SignInTerminal {
  /** By Ctrl-C. */
  isCancelled = false;
  readonly #out = new Printer(process.stderr);
  readonly #ended = new AbortController();
  readonly #context: SignInContext;
  readonly #settings: ProxySettings;
  /** Resolves when there is something to be pasted. */
  readonly #asked: Promise<void>;
  #ask!: () => void;
  #question = '';

  constructor(context: SignInContext, settings: ProxySettings) {
    this.#context = context;
    this.#settings = settings;
    this.#asked = new Promise((resolve) => {
      this.#ask = resolve;
    });
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  get lines(): AsyncIterable<string> {
    return this.#lines();
  }

  showLink({
    link,
    isAnywhere,
    notOpened,
    scopes,
  }: Parameters<SignInTerminal['showLink']>[0]): void {
    const out = this.#out;
    // After the first link, the cursor is behind its question.
    const isNext = this.#question !== '';
    if (isNext) out.line('');
    else this.#introduce(scopes);
    const { server } = this.#context.discovered;
    if (notOpened === undefined) {
      out.text('Your browser opens. If it does not, open this link on this computer:');
    } else {
      if (this.#settings.oauth.opensBrowser) out.text(`No browser was opened: ${notOpened}.`);
      out.text('Open this link in a browser, on this computer or another:');
    }
    out.line(`  ${out.paint('cyan', link)}`);
    if (isAnywhere && server.device_authorization_endpoint !== undefined) {
      out.text('Or run login with --device, and type a code in any browser.');
    }
    this.#question = isAnywhere
      ? 'Then paste the address that the browser ends on (hidden): '
      : 'Waiting for you there. Or paste the address that the browser ends on (hidden): ';
    if (isNext && process.stdin.isTTY) process.stderr.write(this.#question);
    this.#ask();
  }

  showCode({ userCode, verificationUri, scopes }: Parameters<SignInTerminal['showCode']>[0]): void {
    const out = this.#out;
    this.#introduce(scopes);
    out.text('Open this page on any device:');
    out.line(`  ${out.paint('cyan', verificationUri)}`);
    out.text('Enter this code there, and agree:');
    out.line(`  ${out.paint('bold', userCode)}`);
    out.text('Waiting for you there. To cancel, press Ctrl+C.');
  }

  onOtherLine(): void {
    this.#out.text('This is not the address of this sign-in. Copy the whole address.', 0, 'yellow');
  }

  /** Lets nothing more be pasted. */
  end(): void {
    this.#ended.abort();
    if (!process.stdin.isTTY) process.stdin.destroy();
  }

  #introduce(scopes: string | undefined): void {
    const { server } = this.#context.discovered;
    const issuer = cleanNetworkText(new URL(server.issuer).host, 200);
    this.#out.text(`Sign in to ${this.#settings.url.host} at ${issuer}.`);
    if (scopes !== undefined) this.#out.text(`Scopes: ${cleanNetworkText(scopes, 500)}`);
  }

  async *#lines(): AsyncGenerator<string> {
    await this.#asked;
    if (!process.stdin.isTTY) {
      yield* createInterface({ input: process.stdin });
      return;
    }
    while (!this.signal.aborted) {
      const terminal = { input: process.stdin, output: process.stderr, signal: this.signal };
      const line = await promptHidden(this.#question, terminal);
      if (line !== undefined) yield line;
      else if (!this.signal.aborted) {
        this.isCancelled = true;
        this.end();
      }
    }
  }
}
