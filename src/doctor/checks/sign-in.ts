import { createServer } from 'node:net';
import { challengeIn } from '../../auth/discovery.ts';
import type { SignInFacts } from '../../auth/oauth/examine-sign-in.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { ownCommand } from '../../terminal/own-command.ts';
import { shellWord } from '../../terminal/shell-word.ts';
import type { DoctorRun } from '../doctor-run.ts';
import type { Finding } from '../finding.ts';

type Offered = Extract<SignInFacts, { kind: 'offered' }>;

/** Where there is no key: the authorization server, this program's identity there, and the sign-in. */
export async function checkSignIn(run: DoctorRun): Promise<Finding[]> {
  const { oauth } = run.settings;
  const [{ finding }, contact] = await Promise.all([run.key(), run.contact()]);
  const isKeyUsed = finding.kind !== 'none' && oauth.auth !== 'oauth';
  if (oauth.auth === 'key' || isKeyUsed || run.keyHolder !== undefined) return [];
  const posted = contact.requests.findLast(({ method }) => method === 'POST');
  if (posted?.status !== 401) return [];
  const start = run.trace.now();
  const { value: facts } = await run.trace.watch('sign-in', () =>
    run.signIn(challengeIn(posted.headers['www-authenticate'])),
  );
  const ms = run.trace.now() - start;
  if (facts.kind === 'none') return [];
  const server = { check: 'sign-in', name: 'server', ms } as const;
  if (facts.kind === 'unusable') {
    const [line = ''] = facts.words.split(/\.(?: |$)/, 1);
    const remedy = `Run \`${ownCommand()} explain sign_in_required\`, or ask the operator of ${run.settings.url.host}.`;
    return [{ ...server, status: 'fail', line, problem: { sentence: facts.words, remedy } }];
  }
  const issuer = cleanNetworkText(facts.issuer, 200);
  const found: Finding = { ...server, status: 'ok', line: `sign in at ${issuer}` };
  if (['client-credentials', 'jwt-bearer', 'enterprise'].includes(oauth.grant)) return [found];
  return [found, clientFinding(facts), await callbackFinding(facts), tokenFinding(facts, run)];
}

function clientFinding({ issuer, identity, canRegister }: Offered): Finding {
  const base = { check: 'sign-in', name: 'client' } as const;
  const { host } = new URL(issuer);
  if (identity !== undefined) {
    const { kind, clientId } = identity;
    const details = { kind, clientId: cleanNetworkText(clientId, 200) };
    return { ...base, status: 'ok', line: `${IDENTITIES[kind]} ${details.clientId}`, details };
  }
  if (canRegister) return { ...base, status: 'ok', line: `${host} lets it register by itself` };
  return {
    ...base,
    status: 'fail',
    line: `${host} does not let it register by itself`,
    problem: {
      sentence: `${host} does not register clients by itself, and no client ID is set.`,
      remedy: `Ask its administrator to register a native app without a secret: grants authorization_code and refresh_token, PKCE with S256, redirect URI http://127.0.0.1/callback with any port. Then set --client-id. Where the port must be fixed, set --callback-port too.`,
    },
  };
}

const IDENTITIES = {
  'by-hand': 'registered by hand:',
  'metadata-document': 'introduced by its metadata document:',
  dynamic: 'registered by itself:',
} as const;

/** Whether the redirect can come back to this computer. */
async function callbackFinding({ callbackPort, identity }: Offered): Promise<Finding> {
  const base = { check: 'sign-in', name: 'callback' } as const;
  if (callbackPort === undefined) return { ...base, status: 'ok', line: 'any free port will do' };
  const code = await portTrouble(callbackPort);
  const details = { port: callbackPort };
  if (code === undefined) {
    return { ...base, status: 'ok', line: `port ${callbackPort} is free`, details };
  }
  const line = `port ${callbackPort} cannot be used (${code})`;
  if (identity?.kind === 'dynamic') {
    return { ...base, status: 'warn', line: `${line}: another is registered`, details };
  }
  const sentence = `The browser cannot come back: port ${callbackPort} on 127.0.0.1 is not free (${code}).`;
  const remedy =
    'Close the program that uses it, or set --callback-port to another registered port.';
  return { ...base, status: 'fail', line, details, problem: { sentence, remedy } };
}

/** The error's code with which a port on 127.0.0.1 cannot be listened to; undefined when it can. */
function portTrouble(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', ({ code = 'unknown' }: NodeJS.ErrnoException) => resolve(code));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(undefined)));
  });
}

function tokenFinding({ stored }: Offered, { settings, displayUrl }: DoctorRun): Finding {
  const base = { check: 'sign-in', name: 'token' } as const;
  const login = `Run \`${ownCommand()} login ${shellWord(displayUrl)}\`. No restart needed.`;
  const signIn = stored.kind === 'found' ? stored.signIn : undefined;
  if (signIn?.tokens === undefined) {
    const why = stored.kind === 'unreadable' ? `: ${stored.words}` : '';
    const sentence = `You are not signed in to ${settings.url.host}${why}.`;
    const problem = { sentence, remedy: login, reason: 'sign_in_required' };
    return { ...base, status: 'fail', line: `not signed in${why}`, problem };
  }
  const { expiresAt, refreshToken, scope } = signIn.tokens;
  const details = {
    ...(scope === undefined ? {} : { scopes: cleanNetworkText(scope, 200) }),
    ...(expiresAt === undefined ? {} : { expires: new Date(expiresAt).toISOString() }),
    refreshable: refreshToken !== undefined,
  };
  const isExpired = expiresAt !== undefined && expiresAt <= Date.now();
  const until =
    expiresAt === undefined ? '' : `, ${isExpired ? 'expired' : 'expires'} at ${timeOf(expiresAt)}`;
  if (refreshToken !== undefined) {
    return { ...base, status: 'ok', line: `signed in${until}, renews itself`, details };
  }
  if (!isExpired)
    return { ...base, status: 'ok', line: `signed in${until}, cannot be renewed`, details };
  const sentence = `Your sign-in to ${settings.url.host} has expired, and the server gave nothing to renew it with.`;
  const problem = { sentence, remedy: login, reason: 'sign_in_required' };
  return {
    ...base,
    status: 'fail',
    line: `signed in${until}, cannot be renewed`,
    details,
    problem,
  };
}

/** To the minute, in UTC. */
const timeOf = (ms: number) => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** Whether a sign-in is what the gateway is used with, in place of a key. */
export function offersSignIn(earlier: readonly Finding[]): boolean {
  return earlier.some(({ check, name, status }) => {
    return check === 'sign-in' && name === 'server' && status === 'ok';
  });
}
