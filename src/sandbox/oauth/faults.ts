/** What can go wrong with a sign-in, and on purpose does; one at a time. */
export const oauthFaults = {
  expired: 'access tokens expire after 5 seconds',
  revoked: 'access tokens expire after 5 seconds, and cannot be refreshed',
  'invalid-client': 'the client is forgotten when it has its tokens',
  'insufficient-scope': 'mcp:write is never granted',
  'no-registration': 'clients cannot register by themselves',
  'no-refresh-token': 'there are no refresh tokens',
  'no-resource': 'the resource parameter is refused, as by Microsoft Entra ID',
  'wrong-iss': 'the redirect names another issuer (a mix-up attack)',
  'wrong-issuer': 'the metadata names another issuer',
  slow: 'each answer takes 10 seconds',
} as const;

export type OAuthFault = keyof typeof oauthFaults;
