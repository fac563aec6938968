import { AuthorizationResponseError, ResponseBodyError } from 'oauth4webapi';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { SignInError } from './stored-sign-in.ts';

/** A refusal with one of OAuth's error codes (RFC 6749 §4.1.2.1, §5.2). */
export class OAuthRefusal extends SignInError {
  /** As it came: to compare, not to show. */
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** What went wrong with the authorization server `host`, as a sentence; a SignInError as it is. */
export function signInErrorFrom(error: unknown, host: string): SignInError {
  if (error instanceof SignInError) return error;
  if (error instanceof ResponseBodyError) {
    return refusal(host, error.error, error.error_description);
  }
  if (error instanceof AuthorizationResponseError) {
    return refusal(host, error.error, error.error_description);
  }
  const { code, message } = error as Error & { code?: unknown };
  // A bug of this program, and not what a server sent.
  if (typeof code !== 'string' || !code.startsWith('OAUTH_')) throw error;
  if (/"iss"/.test(message)) {
    return new SignInError(
      `The response is not from ${host}. If that happens again, ask your administrator.`,
    );
  }
  return new SignInError(`${host} sent an invalid response: ${cleanNetworkText(message, 100)}.`);
}

function refusal(host: string, code: string, description: string | undefined): OAuthRefusal {
  const clean = cleanNetworkText(code, 60);
  if (code === 'access_denied') return new OAuthRefusal(code, `${host} denied the sign-in.`);
  const said =
    description === undefined ? '' : `, ${cleanNetworkText(description, 150).replace(/\.$/, '')}`;
  // Microsoft Entra ID takes scopes only (AADSTS9010010, AADSTS901002).
  const hint = /AADSTS901(?:0010|002)/.test(description ?? '') ? ' Set --no-resource.' : '';
  return new OAuthRefusal(code, `${host} rejected the sign-in: ${clean}${said}.${hint}`);
}

/** Why a sign-in or a refresh failed, as a sentence. Throws what is not a SignInError: a bug of this program. */
export function wordsOf(error: unknown): string {
  if (error instanceof SignInError) return error.message;
  return signInErrorFrom(error, '').message;
}
