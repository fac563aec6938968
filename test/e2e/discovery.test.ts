import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
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

async function unauthorized(
  gateway: LoopbackGateway,
): Promise<{ message: string; data: Record<string, unknown> }> {
  const proxy = startProxy(gateway.url);
  const { error } = await proxy.request(1, 'tools/list');
  expect(error).toMatchObject({ code: -32012, data: { reason: 'unauthorized' } });
  return error as never;
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
    const { data } = await unauthorized(gateway);
    expect(data.documentation).toBe(new URL('/docs/keys', gateway.url).href);
    for (const { method, headers } of gateway.received) {
      if (method === 'GET') expect(headers).not.toHaveProperty('authorization');
    }
  });

  it('names what else is offered: no key in the header, but OAuth', async () => {
    const gateway = await gatewayWith({
      [WELL_KNOWN]: (url) => ({
        resource: url,
        bearer_methods_supported: ['body'],
        authorization_servers: ['http://127.0.0.1:9/issuer'],
      }),
    });
    const { message, data } = await unauthorized(gateway);
    expect(message).toContain('It needs the key in another header. Pass --key-header NAME.');
    expect(data.authorizationServers).toEqual(['http://127.0.0.1:9/issuer']);
  });

  it('is asked for once a session, for all requests', async () => {
    const gateway = await gatewayWith({ [`${WELL_KNOWN}/v1/mcp`]: described });
    const proxy = startProxy(gateway.url);
    await Promise.all([1, 2, 3].map((id) => proxy.request(id, 'tools/list')));
    await proxy.request(4, 'tools/list');
    expect(gateway.received.filter(({ method }) => method === 'GET')).toHaveLength(1);
  });
});

it('what could not be found is asked for again after a while', async () => {
  const documents: Record<string, (url: string) => unknown> = {};
  const gateway = await gatewayWith(documents);
  const proxy = startProxy(gateway.url);
  const error = async (id: number) => JSON.stringify((await proxy.request(id, 'tools/list')).error);
  expect(await error(1)).not.toContain('/docs/keys');
  documents[WELL_KNOWN] = described;
  let id = 2;
  while (!(await error(id)).includes('/docs/keys')) id++;
});

describe('a 401 is explained all the same', () => {
  it('when the document is about another resource', async () => {
    const gateway = await gatewayWith({
      [WELL_KNOWN]: () => ({ ...described('https://evil.example/v1/mcp') }),
    });
    const { message, data } = await unauthorized(gateway);
    expect(data).not.toHaveProperty('documentation');
    expect(message).toMatch(/^API key rejected /);
  });

  it('when the document is not there, and when it is not JSON', async () => {
    expect((await unauthorized(await gatewayWith({}))).message).toMatch(/^API key rejected /);
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'POST') response.writeHead(401).end();
      else response.writeHead(200, { 'content-type': 'text/html' }).end('<html>');
    });
    expect((await unauthorized(gateway)).message).toMatch(/^API key rejected /);
  });

  it('within some 5 s when the document never comes', async () => {
    const gateway = await startGateway(({ method }, response) => {
      if (method === 'POST') response.writeHead(401).end();
    });
    const start = performance.now();
    expect((await unauthorized(gateway)).message).toMatch(/^API key rejected /);
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

describe('a gateway elsewhere', () => {
  /** Counts who comes, on every address of this computer. */
  async function service() {
    let visits = 0;
    const server = createTcpServer((socket) => {
      visits++;
      socket.on('error', () => {}).destroy();
    });
    server.listen(0);
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const { port } = server.address() as AddressInfo;
    return { port, visits: () => visits };
  }

  /**
   * A gateway whose 401 names this metadata, behind the HTTP proxy that alone can find it; the name
   * `rebound.test` resolves to this computer here. Resolves with what the proxy was asked for.
   */
  async function rejectedBy(metadata: string, noProxy = ''): Promise<string[]> {
    const asked: string[] = [];
    const proxy = createServer((request, response) => {
      asked.push(request.url ?? '');
      if (request.method === 'POST') {
        response.setHeader('www-authenticate', `Bearer resource_metadata="${metadata}"`);
      }
      response.writeHead(request.method === 'POST' ? 401 : 404).end();
    }).on('connect', (request, socket) => {
      asked.push(request.url ?? '');
      const port = Number(request.url?.split(':').at(-1));
      const far = connect(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        far.pipe(socket).pipe(far);
      });
      for (const end of [far, socket]) end.on('error', () => end.destroy());
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    onTestFinished(() => void proxy.close());
    const url = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-dns-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const names = join(folder, 'names.cjs');
    writeFileSync(
      names,
      `const dns = require('node:dns');
       const { lookup } = dns;
       dns.lookup = (name, ...rest) => lookup(name === 'rebound.test' ? '127.0.0.1' : name, ...rest);`,
    );
    const running = startProxy('http://gateway.test/v1/mcp', {
      args: ['--allow-http'],
      env: {
        HTTP_PROXY: url,
        HTTPS_PROXY: url,
        NO_PROXY: noProxy,
        NODE_OPTIONS: `--require ${JSON.stringify(names)}`,
      },
    });
    const { error } = await running.request(1, 'tools/list');
    expect(error).toMatchObject({ code: -32012 });
    return asked;
  }

  it.each([
    ...['0.0.0.0', '[::]', '[::ffff:127.0.0.1]', '[::127.0.0.1]', '127.0.0.1', 'a.localhost'],
    ...['10.0.0.5', '172.16.0.1', '192.168.0.1', '169.254.169.254', '100.64.0.1', '224.0.0.1'],
    ...['[fd00::1]', '[fe80::1]', '[64:ff9b::127.0.0.1]', '[2002:7f00:1::]', '0x7f.1'],
  ])('has no service at %s called, by its address', async (host) => {
    const { port, visits } = await service();
    const asked = await rejectedBy(`https://${host}:${port}/meta`);
    expect(asked.filter((target) => target !== 'http://gateway.test/v1/mcp')).toEqual([]);
    expect(visits()).toBe(0);
  });

  it('does not call a service of this computer by a name that resolves to it', async () => {
    const { port, visits } = await service();
    await rejectedBy(`https://rebound.test:${port}/meta`, 'rebound.test');
    expect(visits()).toBe(0);
  });

  it('has a name looked up by the HTTP proxy where one is used', async () => {
    const { port } = await service();
    const asked = await rejectedBy(`https://rebound.test:${port}/meta`);
    expect(asked).toContain(`rebound.test:${port}`);
  });
});

it('a gateway on this computer may name another service there, by any name', async () => {
  const other = await startGateway(answer);
  const gateway = await gatewayWith(
    {},
    () => `Bearer resource_metadata="${other.url.replace('127.0.0.1', 'localhost')}"`,
  );
  await unauthorized(gateway);
  expect(other.received.map(({ method }) => method)).toEqual(['GET']);
});
