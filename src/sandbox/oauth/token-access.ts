import { type Account, accounts } from '../accounts.ts';
import type { SandboxRequest } from '../loopback-server.ts';
import { isObject } from '../methods.ts';
import type { Reply } from '../replies.ts';
import type { Tool } from '../tools.ts';
import type { AuthorizationServer } from './authorization-server.ts';
import { DpopChecker } from './dpop.ts';

/** Who a token lets in, and what for. */
interface Admitted {
  account: Account;
  scopes: readonly string[];
}

interface Gateway {
  url: string;
  origin: string;
  /** URL of the protected resource metadata. */
  metadataUrl: string;
}

/** Whom people can be when they sign in: the holders of the sandbox's good keys. */
export const holders: readonly string[] = [...accounts.values()]
  .filter(({ standing }) => standing === 'good')
  .map(({ holder }) => holder);

/** The gateway's side of OAuth: which tokens it accepts, and its challenges (RFC 6750, RFC 9449). */
export class TokenAccess {
  readonly #server: AuthorizationServer;
  readonly #gateway: Gateway;
  readonly #dpop: DpopChecker;

  constructor(server: AuthorizationServer, gateway: Gateway) {
    this.#server = server;
    this.#gateway = gateway;
    this.#dpop = new DpopChecker(() => gateway.origin);
  }

  /** Whom the request's token lets in, or the refusal. */
  admit(request: SandboxRequest): Admitted | { refusal: Reply } {
    const { authorization = '' } = request.headers;
    const [, scheme = '', token = ''] = /^(bearer|dpop) +(\S+)$/i.exec(authorization) ?? [];
    if (token === '') return this.#challenge(401, { scope: 'mcp:read' });
    const found = this.#server.findAccess(token);
    const wrong = (description: string) =>
      this.#challenge(401, { error: 'invalid_token', error_description: description });
    if (found === undefined) return wrong('The access token is expired, revoked or unknown');
    const { grant, scopes } = found;
    if (grant.audience !== this.#gateway.url) return wrong('The access token is not for this URL');
    if ((grant.jkt === undefined) !== (scheme.toLowerCase() === 'bearer')) {
      return wrong('The access token is of another type');
    }
    if (grant.jkt !== undefined) {
      const proof = this.#dpop.check(request, token);
      if ('error' in proof) {
        const { error, description } = proof;
        return this.#challenge(401, { error, error_description: description });
      }
      if (proof.jkt !== grant.jkt) return wrong('The access token is bound to another key');
    }
    const [ada] = accounts.values();
    const account = [...accounts.values()].find(({ holder }) => holder === grant.holder);
    return { account: account ?? { ...(ada as Account), holder: grant.holder }, scopes };
  }

  /** The refusal of a message for which the token has not the scopes: a step-up (RFC 6750 §3.1). */
  refuseMessage(
    { method, params }: { method?: unknown; params?: unknown },
    scopes: readonly string[],
    tools: ReadonlyMap<string, Tool>,
  ): Reply | undefined {
    const name = isObject(params) ? params.name : undefined;
    const tool = method === 'tools/call' ? tools.get(String(name)) : undefined;
    const changes = tool !== undefined && tool.annotations.readOnlyHint !== true;
    const needed = changes ? 'mcp:write' : 'mcp:read';
    if (scopes.includes(needed)) return undefined;
    return this.#challenge(403, {
      error: 'insufficient_scope',
      scope: needed,
      error_description: `${changes ? `The tool ${name}` : 'This'} requires the scope ${needed}`,
    }).refusal;
  }

  /** From now on DPoP proofs need another nonce. */
  rotateNonce(): void {
    this.#dpop.rotateNonce();
  }

  #challenge(status: number, parameters: Record<string, string>): { refusal: Reply } {
    const { requiresDpop } = this.#server;
    const all = {
      ...parameters,
      ...(requiresDpop ? { algs: 'ES256 RS256 PS256 EdDSA' } : {}),
      resource_metadata: this.#gateway.metadataUrl,
    };
    const words = Object.entries(all).map(([name, value]) => `${name}="${value}"`);
    const isNonce = parameters.error === 'use_dpop_nonce';
    return {
      refusal: {
        status,
        headers: {
          'WWW-Authenticate': `${requiresDpop ? 'DPoP' : 'Bearer'} ${words.join(', ')}`,
          ...(isNonce ? { 'DPoP-Nonce': this.#dpop.nonce } : {}),
        },
        body: { error: status === 401 ? 'Unauthorized' : 'Forbidden' },
      },
    };
  }
}
