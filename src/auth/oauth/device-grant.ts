import { setTimeout as sleep } from 'node:timers/promises';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { knownIdentity, registerClient } from './client-registration.ts';
import { DpopProver, newDpopKey } from './dpop.ts';
import { privateKeyFrom } from './jwt.ts';
import { UnavailableServer } from './oauth-http.ts';
import { scopesToRequest } from './scopes.ts';
import type { SignInContext } from './sign-in-context.ts';
import { factsOf, httpFor } from './sign-in-facts.ts';
import { OAuthRefusal } from './sign-in-words.ts';
import {
  SignInError,
  type SignInRequest,
  type SignInStore,
  type StoredSignIn,
} from './stored-sign-in.ts';
import { TokenEndpoint } from './token-endpoint.ts';

/** What the user types where (RFC 8628 §3.2). Fit to show. */
export interface DeviceCode {
  readonly userCode: string;
  /** http only on this computer, else https. */
  readonly verificationUri: string;
  /** Those that are asked for, separated by spaces. */
  readonly scopes?: string;
}

export interface DeviceTools {
  readonly store: SignInStore;
  show(code: DeviceCode): void;
  readonly signal: AbortSignal;
}

const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
/** RFC 8628 §3.2, where the server does not say, and §3.5, after `slow_down`. */
const INTERVAL_MS = 5_000;
const LONGEST_INTERVAL_MS = 60_000;
/** However long the server would wait for the user. */
const DEADLINE_MS = 30 * 60_000;

/**
 * Signs the user in on another device, by a code (RFC 8628). Does not store. Rejects with SignInError
 * when the user, the server, the deadline or `signal` ended it.
 */
export async function signInByDevice(
  { entry, context: unknown }: SignInRequest,
  { store, show, signal }: DeviceTools,
): Promise<StoredSignIn> {
  const context = unknown as SignInContext;
  const { discovered, settings, clientSecret } = context;
  const { server, resource } = discovered;
  const { host } = new URL(server.issuer);
  const { device_authorization_endpoint: deviceEndpoint } = server;
  if (deviceEndpoint === undefined) {
    throw new SignInError(`${host} does not offer device codes. Leave out --device.`);
  }
  const http = httpFor(context, signal);
  const found = await store.read(entry);
  const stored = found.kind === 'found' ? found.signIn : undefined;
  const known = knownIdentity({ server, settings, clientSecret, stored });
  // One that was registered with a redirect URI was not registered for this grant.
  const fits = known !== undefined && known.redirectUris.length === 0;
  const registration = fits
    ? known
    : await registerClient(server, [], undefined, [DEVICE_CODE, 'refresh_token'], http);
  const scope = scopesToRequest({
    given: settings.scope,
    challenged: context.challengedScope,
    isStepUp: false,
    ofResource: discovered.scopesSupported,
    ofServer: server.scopes_supported,
    before: stored?.server.issuer === server.issuer ? stored.requestedScopes : undefined,
  });
  const asResource: Record<string, string> = settings.sendsResource ? { resource } : {};
  const dpopKey = context.needsDpop ? (stored?.dpopKey ?? newDpopKey()) : undefined;
  const facts = factsOf(server);
  const endpoint = new TokenEndpoint({
    server: facts,
    registration,
    http,
    clientKey: context.clientKey === undefined ? undefined : privateKeyFrom(context.clientKey),
    dpop: dpopKey === undefined ? undefined : new DpopProver(dpopKey),
  });
  const asked = { ...(scope === undefined ? {} : { scope }), ...asResource };
  const device = await endpoint.authorizeDevice(deviceEndpoint, asked);
  if (!http.isAllowed(device.verification_uri)) {
    throw new SignInError(`The page of ${host} must use https.`);
  }
  show({
    userCode: cleanNetworkText(device.user_code, 60),
    verificationUri: device.verification_uri,
    ...(scope === undefined ? {} : { scopes: scope }),
  });
  const { tokens, subject } = await poll(endpoint, device, asResource, signal);
  return {
    server: facts,
    registration,
    tokens,
    ...(scope === undefined ? {} : { requestedScopes: scope }),
    ...asResource,
    ...(dpopKey === undefined ? {} : { dpopKey }),
    ...(subject === undefined ? {} : { subject }),
    signedInAt: Date.now(),
  };
}

type Device = Awaited<ReturnType<TokenEndpoint['authorizeDevice']>>;

/** Asks whether the user has decided, as often as the server allows (RFC 8628 §3.4, §3.5). */
async function poll(
  endpoint: TokenEndpoint,
  { device_code, expires_in, interval }: Device,
  parameters: Readonly<Record<string, string>>,
  signal: AbortSignal,
): ReturnType<TokenEndpoint['grant']> {
  const deadline = Date.now() + Math.min(expires_in * 1000, DEADLINE_MS);
  let intervalMs = interval === undefined ? INTERVAL_MS : interval * 1000;
  while (Date.now() < deadline) {
    intervalMs = Math.min(intervalMs, LONGEST_INTERVAL_MS);
    await sleep(intervalMs, undefined, { signal }).catch(() => {
      throw new SignInError('The sign-in was cancelled.');
    });
    try {
      return await endpoint.grant(DEVICE_CODE, { device_code, ...parameters });
    } catch (error) {
      const code = error instanceof OAuthRefusal ? error.code : undefined;
      if (error instanceof UnavailableServer) intervalMs *= 2;
      else if (code === 'slow_down') intervalMs += INTERVAL_MS;
      else if (code === 'expired_token') break;
      else if (code !== 'authorization_pending') throw error;
    }
  }
  throw new SignInError('You did not enter the code in time. Run the command again for a new one.');
}
