import { describe, expect, it } from 'vitest';
import { answer, type LoopbackGateway, startGateway } from './loopback-gateway.ts';
import { startProxy, TEST_KEY } from './running-proxy.ts';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** A gateway that answers 401 with a challenge, and these documents by their path. */
async function gatewayWith(
  documents: Record<string, (url: string) => unknown>,
  challenge?: (origin: string) => string,
): Promise<LoopbackGateway> {
  const gateway: LoopbackGateway = await startGateway((received, response) => {
    const { origin } = new URL(gateway.url);
    if (received.method === 'POST') {
      const header = challenge?.(origin) ?? 'Bearer';
      response.writeHead(401, { 'www-authenticate': header }).end('{"error":"Unauthorized"}');
      return;
    }
    const document = documents[received.target];
    if (document === undefined) response.writeHead(404).end();
    else {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(document(gateway.url)));
    }
  });
  return gateway;
}

const described = (url: string) => ({
  resource: url,
  resource_name: 'Acme MCP',
  resource_documentation: new URL('/docs/keys', url).href,
});

async function unauthorized(gateway: LoopbackGateway): Promise<string> {
  const proxy = startProxy(gateway.url);
  const { error } = await proxy.request(1, 'tools/list');
  expect(error).toMatchObject({ code: -32012, data: { reason: 'unauthorized' } });
  return (error as { message: string }).message;
}

describe('what the metadata says goes into the 401', () => {
  it.each([
    [
      'the address in the challenge',
      '/meta',
      (origin: string) => `Bearer resource_metadata="${origin}/meta"`,
    ],
    ['the well-known path with the endpoint’s path', `${WELL_KNOWN}/v1/mcp`, undefined],
    ['the well-known path of the origin', WELL_KNOWN, undefined],
  ])('from %s', async (_, path, challenge) => {
    const gateway = await gatewayWith({ [path]: described }, challenge);
    const message = await unauthorized(gateway);
    expect(message).toContain(
      `Acme MCP explains its keys at ${new URL('/docs/keys', gateway.url)}`,
    );
    for (const { method, headers } of gateway.received) {
      if (method === 'GET') expect(headers).not.toHaveProperty('authorization');
    }
  });

  it('names what it cannot do: no key in the header, OAuth offered', async () => {
    const gateway = await gatewayWith({
      [WELL_KNOWN]: (url) => ({
        resource: url,
        bearer_methods_supported: ['body'],
        authorization_servers: ['http://127.0.0.1:9/issuer'],
      }),
    });
    const message = await unauthorized(gateway);
    expect(message).toContain('It says that it takes no key in the Authorization header.');
    expect(message).toContain('offers OAuth sign-in (127.0.0.1:9), which mcp-latchkey does not do');
  });

  it('is asked for once a session, for all requests', async () => {
    const gateway = await gatewayWith({ [`${WELL_KNOWN}/v1/mcp`]: described });
    const proxy = startProxy(gateway.url);
    await Promise.all([1, 2, 3].map((id) => proxy.request(id, 'tools/list')));
    await proxy.request(4, 'tools/list');
    expect(gateway.received.filter(({ method }) => method === 'GET')).toHaveLength(1);
  });
});

describe('a 401 is explained all the same', () => {
  it('when the document is about another resource', async () => {
    const gateway = await gatewayWith({
      [WELL_KNOWN]: () => ({ ...described('https://evil.example/v1/mcp') }),
    });
    const message = await unauthorized(gateway);
    expect(message).not.toContain('Acme');
    expect(message).toContain('rejected the API key');
  });

  it('when the document is not there, and when it is no JSON', async () => {
    expect(await unauthorized(await gatewayWith({}))).toContain('rejected the API key');
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'POST') response.writeHead(401).end();
      else response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    });
    expect(await unauthorized(gateway)).toContain('rejected the API key');
  });

  it('within some 5 s when the document never comes', async () => {
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'POST') response.writeHead(401).end();
    });
    const start = performance.now();
    expect(await unauthorized(gateway)).toContain('rejected the API key');
    expect(performance.now() - start).toBeLessThan(20_000);
  });
});

it('sends the key to no other origin than the gateway’s', async () => {
  const other = await startGateway(answer);
  const gateway = await gatewayWith(
    { [WELL_KNOWN]: described },
    () => `Bearer resource_metadata="${new URL('/meta', other.url)}"`,
  );
  await unauthorized(gateway);
  expect(other.received.map(({ target }) => target)).toEqual(['/meta']);
  expect(JSON.stringify(other.received)).not.toContain(TEST_KEY);
});
