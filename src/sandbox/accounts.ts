import type { IncomingHttpHeaders } from 'node:http';

/** Whose key it is, and what that holder may reach. */
export interface Account {
  holder: string;
  /** What the key is for, in one line; printed by `mcp-latchkey sandbox`. */
  purpose: string;
  standing: 'good' | 'revoked' | 'not entitled';
  /** Integration IDs, in the order in which their tools are listed. */
  integrations: readonly string[];
}

/** The sandbox's keys by name. They open nothing but a sandbox. */
export const sandboxKeys = {
  good: 'sandbox-good-key-0001',
  revoked: 'sandbox-revoked-key-0002',
  noEntitlement: 'sandbox-no-entitlement-key-0003',
  emptyAccount: 'sandbox-empty-account-key-0004',
  linearOnly: 'sandbox-linear-only-key-0005',
} as const;

const everything = ['linear', 'github', 'sap-s4hana-rfc', 'notion', 'platform'];

export const accounts: ReadonlyMap<string, Account> = new Map<string, Account>([
  [
    sandboxKeys.good,
    {
      holder: 'Ada Example',
      purpose: 'works: every tool',
      standing: 'good',
      integrations: everything,
    },
  ],
  [
    sandboxKeys.linearOnly,
    {
      holder: 'Grace Example',
      purpose: 'works: only the linear tools',
      standing: 'good',
      integrations: ['linear'],
    },
  ],
  [
    sandboxKeys.emptyAccount,
    {
      holder: 'Edsger Example',
      purpose: 'works: an empty tools/list',
      standing: 'good',
      integrations: [],
    },
  ],
  [
    sandboxKeys.revoked,
    {
      holder: 'Alan Example',
      purpose: '401: the key was revoked',
      standing: 'revoked',
      integrations: everything,
    },
  ],
  [
    sandboxKeys.noEntitlement,
    {
      holder: 'Barbara Example',
      purpose: '403: Personal API Key Access is missing',
      standing: 'not entitled',
      integrations: everything,
    },
  ],
]);

/** Integrations whose tools are listed but whose credentials were revoked upstream: -32000. */
export const revokedIntegrations: ReadonlySet<string> = new Set(['notion']);

/** Integrations that an admin switched off: not listed, and a call answers -32601. */
export const disabledIntegrations: ReadonlySet<string> = new Set(['salesforce']);

/** The account behind the request's key; undefined when the key is missing, malformed or unknown. */
export function authenticate(headers: IncomingHttpHeaders): Account | undefined {
  const { authorization, 'x-api-key': bare } = headers;
  if (authorization !== undefined) {
    const key = /^bearer +(\S+)$/i.exec(authorization)?.[1];
    return key === undefined ? undefined : accounts.get(key);
  }
  return typeof bare === 'string' ? accounts.get(bare) : undefined;
}
