import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { onTestFinished } from 'vitest';
import { DpopChecker } from '../../src/sandbox/oauth/dpop.ts';
import { type OidcProvider, resourceServerClient } from './oidc-provider.ts';

export interface ProtectedServer {
  /** Its Streamable HTTP endpoint on 127.0.0.1. */
  url: string;
  /** `client_id` and `scope` of the tokens that were accepted, as the authorization server has them. */
  accepted: { client_id: string; scope: string; token_type: string; aud: string }[];
  /** Statuses of the refusals. */
  refused: number[];
}

/**
 * An MCP server of the SDK's behind tokens of an authorization server, which it asks about each
 * (RFC 7662). The tool `write` needs the scope `mcp:write`.
 */
export async function startProtectedServer(
  { issuer }: OidcProvider,
  requiresDpop = false,
): Promise<ProtectedServer> {
  const started: ProtectedServer = { url: '', accepted: [], refused: [] };
  const dpop = new DpopChecker(() => new URL(started.url).origin);

  async function introspect(token: string) {
    const { client_id, client_secret } = resourceServerClient;
    const response = await fetch(`${issuer}/token/introspection`, {
      method: 'POST',
      headers: {
        authorization: `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`,
      },
      body: new URLSearchParams({ token }),
    });
    return (await response.json()) as ProtectedServer['accepted'][number] & {
      active: boolean;
      cnf?: { jkt: string };
    };
  }

  const server = createServer(async (request, response) => {
    const metadataUrl = `${new URL(started.url).origin}/.well-known/oauth-protected-resource/mcp`;
    const refuse = (status: number, parameters: Record<string, string>, nonce?: string) => {
      const all = { ...parameters, resource_metadata: metadataUrl };
      const words = Object.entries(all).map(([name, value]) => `${name}="${value}"`);
      started.refused.push(status);
      if (nonce !== undefined) response.setHeader('dpop-nonce', nonce);
      const scheme = requiresDpop ? 'DPoP' : 'Bearer';
      response.writeHead(status, { 'www-authenticate': `${scheme} ${words.join(', ')}` }).end();
    };
    if (request.url === new URL(metadataUrl).pathname) {
      response.setHeader('content-type', 'application/json').end(
        JSON.stringify({
          resource: started.url,
          authorization_servers: [issuer],
          scopes_supported: ['mcp:read', 'mcp:write'],
          dpop_bound_access_tokens_required: requiresDpop,
        }),
      );
      return;
    }
    const body = await text(request);
    const [, token] = /^(?:bearer|dpop) (\S+)$/i.exec(request.headers.authorization ?? '') ?? [];
    if (token === undefined) return refuse(401, { scope: 'mcp:read' });
    const found = await introspect(token);
    if (!found.active || found.aud !== started.url) return refuse(401, { error: 'invalid_token' });
    if (requiresDpop) {
      const { method = '', url = '', headers } = request;
      const proof = dpop.check({ method, url, headers, text: '', body: undefined }, token);
      if ('error' in proof) return refuse(401, { error: proof.error }, dpop.nonce);
      if (proof.jkt !== found.cnf?.jkt) return refuse(401, { error: 'invalid_token' });
    }
    const message = body === '' ? undefined : JSON.parse(body);
    const isWrite = message?.method === 'tools/call' && message.params.name === 'write';
    if (isWrite && !found.scope.split(' ').includes('mcp:write')) {
      return refuse(403, { error: 'insufficient_scope', scope: 'mcp:write' });
    }
    started.accepted.push(found);
    const mcp = new McpServer({ name: 'protected', version: '1' });
    for (const name of ['read', 'write']) {
      mcp.registerTool(name, { description: name }, () => ({
        content: [{ type: 'text', text: `${name} by ${found.client_id}` }],
      }));
    }
    // Without a session: it ends with the response.
    const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
    response.once('close', () => void mcp.close());
    await mcp.connect(transport as Parameters<typeof mcp.connect>[0]);
    await transport.handleRequest(request, response, message);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  started.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  return started;
}
