import { randomInt } from 'node:crypto';
import type { Reply } from '../replies.ts';
import { allowsRedirect, type Client, type Clients } from './clients.ts';
import type { OAuthFault } from './faults.ts';
import type { Form } from './form.ts';
import type { Grants } from './grants.ts';
import { consentPage, devicePage, messagePage } from './pages.ts';

/** What a client asked a user for. */
interface Wish {
  readonly client: Client;
  readonly scopes: readonly string[];
  /** The resource that the tokens are for (RFC 8707). */
  readonly audience: string | undefined;
}

/** A sign-in that the user has allowed. */
export interface Allowed extends Wish {
  readonly holder: string;
}

/** By redirect (RFC 6749 §4.1.1). */
interface Redirect extends Wish {
  readonly redirectUri: string;
  readonly state: string | undefined;
  readonly challenge: string;
  readonly jkt: string | undefined;
}

interface Code {
  readonly redirect: Redirect & Allowed;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** On another device (RFC 8628). */
export interface DeviceSignIn extends Wish {
  readonly userCode: string;
  readonly expiresAt: number;
  /** Seconds between polls. */
  interval: number;
  polledAt: number;
  state: 'pending' | 'denied' | Allowed;
}

export const DEVICE_LIMIT_S = 300;
const CODE_LIMIT_MS = 60_000;
/** As RFC 8628 §6.1 suggests: no vowels, nothing to mistake. */
const USER_CODE_LETTERS = 'BCDFGHJKLMNPQRSTVWXZ';
/** Whom a redirect names in place of the sandbox. */
export const OTHER_ISSUER = 'https://other-issuer.example';

interface Setting {
  issuer: string;
  clients: Clients;
  grants: Grants;
  fault: OAuthFault | undefined;
  /** Who can sign in. */
  holders: readonly string[];
  /** What of a request can be granted; a string says why nothing. */
  grantable(form: Form): Pick<Wish, 'scopes' | 'audience'> | { error: string; description: string };
}

/** Sign-ins under way, from the request to the code. */
export class SignIns {
  /** Codes that were given out, each good for one request. */
  readonly #codes = new Map<string, Code>();
  readonly #devices = new Map<string, DeviceSignIn>();
  /** What a consent page on the screen is about, by the ticket in its form. */
  readonly #asked = new Map<string, Redirect | DeviceSignIn>();
  readonly #setting: Setting;

  constructor(setting: Setting) {
    this.#setting = setting;
  }

  /** The authorization endpoint: a consent page, or the redirect with what is wrong. */
  async authorize(form: Form | undefined): Promise<Reply> {
    const { clients, grantable } = this.#setting;
    const title = 'This link does not work';
    if (form === undefined) return messagePage(400, title, 'A parameter comes twice.');
    const client = await clients.find(form.get('client_id') ?? '');
    if (client === undefined) return messagePage(400, title, 'The client is not registered here.');
    const redirectUri = form.get('redirect_uri') ?? '';
    // No redirect to an address that is not the client's (RFC 6749 §4.1.2.1).
    if (!allowsRedirect(client, redirectUri)) {
      return messagePage(400, title, "The redirect URI is not one of the client's.");
    }
    const state = form.get('state');
    const back = (error: string, description: string) =>
      this.#redirect({ redirectUri, state }, { error, error_description: description });
    if (form.get('response_type') !== 'code') {
      return back('unsupported_response_type', 'response_type must be code');
    }
    const challenge = form.get('code_challenge') ?? '';
    if (form.get('code_challenge_method') !== 'S256' || !/^[\w-]{43}$/.test(challenge)) {
      return back('invalid_request', 'PKCE with S256 is required');
    }
    const wish = grantable(form);
    if ('error' in wish) return back(wish.error, wish.description);
    const jkt = form.get('dpop_jkt');
    return this.#ask({ ...wish, client, redirectUri, state, challenge, jkt });
  }

  /** The device authorization endpoint (RFC 8628 §3.1). */
  startDevice(wish: Wish): { deviceCode: string; signIn: DeviceSignIn } {
    const letters = Array.from({ length: 8 }, () => USER_CODE_LETTERS[randomInt(20)]).join('');
    const signIn: DeviceSignIn = {
      ...wish,
      userCode: `${letters.slice(0, 4)}-${letters.slice(4)}`,
      expiresAt: Date.now() + DEVICE_LIMIT_S * 1000,
      interval: 1,
      polledAt: 0,
      state: 'pending',
    };
    const deviceCode = this.#setting.grants.secret('device-code');
    this.#devices.set(deviceCode, signIn);
    return { deviceCode, signIn };
  }

  /** Where the user types the device's code; with the right one, the consent page. */
  devicePage(userCode: string): Reply {
    if (userCode === '') return devicePage('');
    const letters = (text: string) => text.toUpperCase().replace(/[^A-Z]/g, '');
    const signIn = [...this.#devices.values()].find(
      ({ userCode: own, state, expiresAt }) =>
        state === 'pending' && expiresAt > Date.now() && letters(own) === letters(userCode),
    );
    return signIn === undefined ? devicePage(userCode, true) : this.#ask(signIn);
  }

  /** What the user has answered on the consent page. */
  decide(form: Form | undefined): Reply {
    const ticket = form?.get('ticket') ?? '';
    const asked = this.#asked.get(ticket);
    this.#asked.delete(ticket);
    const holder = form?.get('holder') ?? '';
    const decision = form?.get('decision');
    const isComplete =
      decision === 'deny' || (decision === 'allow' && this.#setting.holders.includes(holder));
    if (asked === undefined || !isComplete) {
      return messagePage(400, 'This page has expired', 'Start the sign-in again.');
    }
    if ('userCode' in asked) {
      asked.state = decision === 'allow' ? { ...asked, holder } : 'denied';
      const outcome = decision === 'allow' ? 'The device is signed in' : 'The device was refused';
      return messagePage(200, outcome, 'You can close this tab.');
    }
    if (decision === 'deny') {
      const description = 'the user refused';
      return this.#redirect(asked, { error: 'access_denied', error_description: description });
    }
    const code = this.#setting.grants.secret('code');
    this.#codes.set(code, {
      redirect: { ...asked, holder },
      expiresAt: Date.now() + CODE_LIMIT_MS,
    });
    return this.#redirect(asked, { code });
  }

  /** What a code stands for; it is good once, for a minute. */
  redeem(code: string): (Redirect & Allowed) | undefined {
    const found = this.#codes.get(code);
    this.#codes.delete(code);
    return found && found.expiresAt > Date.now() ? found.redirect : undefined;
  }

  /** A sign-in by its device code; forgotten once it has come to an end. */
  pollDevice(deviceCode: string): DeviceSignIn | undefined {
    const signIn = this.#devices.get(deviceCode);
    if (signIn !== undefined && signIn.state !== 'pending') this.#devices.delete(deviceCode);
    return signIn;
  }

  #ask(asked: Redirect | DeviceSignIn): Reply {
    const ticket = this.#setting.grants.secret('ticket');
    this.#asked.set(ticket, asked);
    return consentPage({
      ticket,
      clientName: asked.client.name,
      redirectHost: 'redirectUri' in asked ? new URL(asked.redirectUri).host : undefined,
      scopes: asked.scopes,
      holders: this.#setting.holders,
    });
  }

  /** Back to the client, with the issuer (RFC 9207). */
  #redirect(
    { redirectUri, state }: Pick<Redirect, 'redirectUri' | 'state'>,
    parameters: Record<string, string>,
  ): Reply {
    const { issuer, fault } = this.#setting;
    const url = new URL(redirectUri);
    const iss = fault === 'wrong-iss' ? OTHER_ISSUER : issuer;
    const all = { ...parameters, ...(state === undefined ? {} : { state }), iss };
    for (const [name, value] of Object.entries(all)) url.searchParams.append(name, value);
    return { status: 303, headers: { Location: url.href } };
  }
}
