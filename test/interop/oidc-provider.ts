import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { pathOf } from './installed-peers.ts';

export interface OidcProviderSettings {
  /** Preregistered clients, in the notation of RFC 7591. */
  clients?: readonly object[];
  /** How long access tokens are good, in seconds. */
  accessSeconds?: number;
  /** How long refresh tokens are good, in seconds. */
  refreshSeconds?: number;
  /** Bind the tokens of clients to a key, with a nonce in each proof. */
  requiresDpop?: boolean;
}

/** Something that has happened at the server: a registration, a grant by its type, an error. */
interface ProviderEvent {
  event: string;
  error?: string;
  detail?: string;
  grant?: string;
}

export interface OidcProvider {
  issuer: string;
  /** In the order in which they happened. */
  events: ProviderEvent[];
  /** Every token, code, verifier and secret that went to and fro. */
  secrets: Set<string>;
  /** How many events of that name there are. */
  count(event: string): number;
}

/** The client as which the resource server asks about tokens. */
export const resourceServerClient = {
  client_id: 'resource-server',
  client_secret: 'a-secret-of-the-resource-server-only',
  redirect_uris: [],
  response_types: [],
  grant_types: [],
};

/** Starts oidc-provider, which ends with the test. Rejects with what it wrote when it does not start. */
export async function startOidcProvider({
  clients = [],
  accessSeconds = 300,
  refreshSeconds = 600,
  requiresDpop = false,
}: OidcProviderSettings = {}): Promise<OidcProvider> {
  const settings = {
    clients: [...clients, { ...resourceServerClient, dpop_bound_access_tokens: false }],
    accessSeconds,
    refreshSeconds,
    requiresDpop,
  };
  const script = fileURLToPath(new URL('oidc-provider.mjs', import.meta.url));
  const child = spawn(
    pathOf('recentNode'),
    [script, pathOf('oidcProvider'), JSON.stringify(settings)],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  onTestFinished(async () => {
    const closed = once(child, 'close');
    child.kill('SIGKILL');
    await closed;
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  const provider: OidcProvider = {
    issuer: '',
    events: [],
    secrets: new Set(),
    count: (event) => provider.events.filter((own) => own.event === event).length,
  };
  const lines = createInterface(child.stdout);
  lines.on('line', (line) => {
    const { issuer, secrets = [], ...event } = JSON.parse(line);
    if (issuer !== undefined) {
      provider.issuer = issuer;
      return;
    }
    provider.events.push(event);
    for (const secret of secrets) if (secret) provider.secrets.add(secret);
  });
  await Promise.race([once(lines, 'line'), once(child, 'exit')]);
  if (provider.issuer === '') throw new Error(`oidc-provider did not start:\n${log}`);
  return provider;
}
