import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { CertificateAuthority } from './certificates.ts';
import { runToEnd, startProxy } from './running-proxy.ts';

let authority: CertificateAuthority;
beforeAll(() => {
  authority = new CertificateAuthority();
});
afterAll(() => authority.remove());

interface Arrived {
  method: string;
  /** The values of each header, by its name in lower case. */
  headers: Map<string, string[]>;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A gateway with sessions and a GET stream, that keeps every header of every request. */
async function gateway(isSecure = false): Promise<{ port: number; arrived: Arrived[] }> {
  const arrived: Arrived[] = [];
  const server = isSecure ? createHttpsServer(authority.issue('DNS:gateway.test')) : createServer();
  server.on('request', async (request, response) => {
    const { method = '', rawHeaders } = request;
    const headers = new Map<string, string[]>();
    for (let at = 0; at < rawHeaders.length; at += 2) {
      const name = (rawHeaders[at] as string).toLowerCase();
      headers.set(name, [...(headers.get(name) ?? []), rawHeaders[at + 1] as string]);
    }
    arrived.push({ method, headers });
    let body = '';
    for await (const chunk of request.setEncoding('utf8')) body += chunk;
    const { id } = body === '' ? {} : JSON.parse(body);
    if (method === 'GET') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(':\n\n');
    } else if (id === undefined) response.writeHead(202).end();
    else {
      const serverInfo = { name: 's', version: '1' };
      const result = { protocolVersion: '2025-06-18', capabilities: {}, serverInfo };
      response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': 's1' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
    }
  });
  return { port: await listen(server), arrived };
}

/** An HTTP proxy that leads everything to `port` here. */
async function proxyTo(port: number): Promise<string> {
  const join = (from: Readable, to: Writable, head: string) => {
    const far = connect(port, '127.0.0.1', () => {
      far.write(head);
      from.pipe(far, { end: false });
      far.pipe(to);
    });
    for (const end of [far, from, to]) end.on('error', () => far.destroy());
  };
  const server = createServer();
  server.on('connect', (_, socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    join(socket, socket, '');
  });
  server.on('request', (request) => {
    const { method, url, rawHeaders, socket } = request;
    const fields = rawHeaders.flatMap((text, at) =>
      at % 2 ? [] : `${text}: ${rawHeaders[at + 1]}\r\n`,
    );
    const { pathname } = new URL(url as string);
    join(request, socket, `${method} ${pathname} HTTP/1.1\r\n${fields.join('')}\r\n`);
  });
  return `http://127.0.0.1:${await listen(server)}`;
}

type Way = [
  name: string,
  find: () => Promise<{
    url: string;
    args: string[];
    env?: Record<string, string>;
    arrived: Arrived[];
  }>,
];

const ways: Way[] = [
  [
    'straight',
    async () => {
      const { port, arrived } = await gateway();
      return { url: `http://127.0.0.1:${port}/mcp`, args: [], arrived };
    },
  ],
  [
    'by plain http through a proxy',
    async () => {
      const { port, arrived } = await gateway();
      const env = { HTTP_PROXY: await proxyTo(port) };
      return { url: 'http://gateway.test/mcp', args: ['--allow-http'], env, arrived };
    },
  ],
  [
    'in a tunnel through a proxy',
    async () => {
      const { port, arrived } = await gateway(true);
      const env = { HTTPS_PROXY: await proxyTo(port) };
      return { url: 'https://gateway.test/mcp', args: ['--ca', authority.certFile], env, arrived };
    },
  ],
];

/** A whole session: POSTs, the GET stream, the DELETE at the end. */
async function session([, find]: Way, headers: string[]): Promise<Arrived[]> {
  const { url, args, env = {}, arrived } = await find();
  const own = headers.flatMap((header) => ['-H', header]);
  const proxy = startProxy(url, { args: [...args, ...own], env });
  await proxy.initialize();
  await proxy.request(1, 'tools/list');
  await expect.poll(() => arrived.map(({ method }) => method)).toContain('GET');
  await proxy.end();
  expect(arrived.map(({ method }) => method)).toContain('DELETE');
  return arrived;
}

describe('Host', () => {
  describe.each(ways)('%s', (...way) => {
    it('is the one that the user gives, once, in every request', async () => {
      const arrived = await session(way, ['Host: first.example', 'hOST: virtual.example']);
      for (const { headers } of arrived) expect(headers.get('host')).toEqual(['virtual.example']);
    });

    it('is sent once, as is every other header, when the user gives others', async () => {
      for (const { headers } of await session(way, ['User-Agent: host', 'X-One: host'])) {
        for (const values of headers.values()) expect(values).toHaveLength(1);
        expect(headers.get('host')?.[0]).toMatch(/^(?:127\.0\.0\.1:\d+|gateway\.test)$/);
        expect(headers.get('user-agent')).toEqual(['host']);
      }
    });
  });
});

it.each([
  ...['Accept', 'CONNECTION', 'content-encoding', 'Content-Length', 'Content-Type', 'Expect'],
  ...['Keep-Alive', 'Last-Event-ID', 'Mcp-Method', 'MCP-NAME', 'Mcp-Param-Region'],
  ...['Mcp-Protocol-Version', 'Mcp-Session-Id', 'Proxy-Authorization', 'Proxy-Connection', 'TE'],
  ...['Trailer', 'Transfer-Encoding', 'Upgrade'],
])('%s is refused: it would be sent twice, or break the connection', async (name) => {
  const { code, stderr } = await runToEnd(['http://127.0.0.1:9/mcp', '-H', `${name}: x`]);
  expect(code).toBe(2);
  expect(stderr).toContain(`he header ${name.toLowerCase()} is set by mcp-latchkey itself`);
  const asKey = await runToEnd(['http://127.0.0.1:9/mcp', '--key-header', name]);
  expect(asKey.code).toBe(2);
  expect(asKey.stderr).toContain(`he header ${name.toLowerCase()} cannot carry the key`);
});

it.each(['Host', 'User-Agent'])('--key-header %s is refused', async (name) => {
  const { code, stderr } = await runToEnd(['http://127.0.0.1:9/mcp', '--key-header', name]);
  expect(code).toBe(2);
  expect(stderr).toContain(`he header ${name.toLowerCase()} cannot carry the key`);
});
