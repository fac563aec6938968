import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { commandToPrint } from '../environment.ts';
import { startHttpSseGateway } from './http-sse-gateway.ts';
import { answer, type Received, type Respond, startGateway } from './loopback-gateway.ts';
import { modern } from './modern-messages.ts';
import { startOldGateway } from './old-gateway.ts';
import {
  type Json,
  program,
  type RunningProxy,
  runToEnd,
  secret,
  startProxy,
} from './running-proxy.ts';

let made = 0;

/** A key with characters that are written in many ways. No test may show it as it is. */
function newSecret(): string {
  made++;
  const random = Math.random().toString(36).slice(2).padEnd(12, '0');
  return secret(`sk-Live_${made}/${random}+Q=q~0`);
}

/** Fails when `text` has the secret in it, however it is written. */
function expectNoTrace(text: string, own: string): void {
  const forms = [own, encodeURIComponent(own), JSON.stringify(own).slice(1, -1)];
  for (const form of forms) expect(text.toLowerCase()).not.toContain(form.toLowerCase());
  for (const before of ['', 'u', 'us', 'user:']) {
    const encoded = Buffer.from(before + own).toString('base64');
    expect(text).not.toContain(encoded.slice(8, -4));
    expect(text).not.toContain(encoded.slice(8, -4).replaceAll('+', '-').replaceAll('/', '_'));
  }
}

/** What the client and the log got to see. */
async function shown(proxy: RunningProxy, own: string): Promise<string> {
  await proxy.end();
  const text = JSON.stringify(proxy.messages) + proxy.stderr;
  expectNoTrace(text, own);
  return text;
}

const rpcError =
  (own: string, status = 200): Respond =>
  ({ message }, response) => {
    const error = { code: -32000, message: `Invalid API key: Bearer ${own}`, data: { got: own } };
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, error }));
  };

const body =
  (status: number, type: string, text: string, headers: Json = {}): Respond =>
  (_, response) =>
    response.writeHead(status, { 'content-type': type, ...headers } as never).end(text);

/** How a gateway quotes the key, by what it is called. */
const QUOTES: Record<string, (own: string) => Respond> = {
  'a JSON-RPC error': (own) => rpcError(own),
  'a JSON-RPC error with HTTP 400': (own) => rpcError(own, 400),
  'a JSON-RPC error with HTTP 401': (own) => rpcError(own, 401),
  'a JSON-RPC error with HTTP 403': (own) => rpcError(own, 403),
  'a JSON-RPC error with HTTP 404': (own) => rpcError(own, 404),
  'a JSON-RPC error with HTTP 500': (own) => rpcError(own, 500),
  'a JSON-RPC error in upper case': (own) => rpcError(own.toUpperCase()),
  'a JSON-RPC error, percent-encoded': (own) => rpcError(encodeURIComponent(own)),
  'a JSON-RPC error in base64': (own) => rpcError(Buffer.from(`user:${own}`).toString('base64')),
  'a JSON-RPC error in escapes': (own) => (_, response) => {
    const escaped = [...own].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
    const error = `{"code":-32000,"message":"${escaped.join('')}","data":{"${escaped.join('')}":1}}`;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(`{"jsonrpc":"2.0","id":1,"error":${error}}`);
  },
  'a JSON-RPC error to no request': (own) =>
    body(
      400,
      'application/json',
      JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: 1, message: own } }),
    ),
  'an error in an event stream':
    (own) =>
    ({ message }, response) => {
      const error = { code: -32000, message: `bad key ${own}`, data: [{ [own]: own }] };
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`: ${own}\n\nevent: ${own}\ndata: ${own}\n\nevent: error\ndata: ${own}\n\n`);
      response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: message.id, error })}\n\n`);
    },
  'a redirect to elsewhere': (own) =>
    body(302, 'text/plain', '', {
      location: `https://login.example/?token=${encodeURIComponent(own)}&state=${own}`,
    }),
  'a challenge': (own) =>
    body(401, 'application/json', '{}', {
      'www-authenticate': `Bearer realm="${own}", error="invalid_token", error_description="The key ${own} is revoked", resource_metadata="https://127.0.0.1:1/${own}?key=${own}"`,
    }),
  'a challenge with a scope': (own) =>
    body(403, 'application/json', '{}', {
      'www-authenticate': `Bearer error="insufficient_scope", scope="read ${own}"`,
    }),
  'a long text that is cut off': (own) =>
    body(400, 'text/plain', `${'no '.repeat(160)}${own} and so on`),
  'a text with 401': (own) => body(401, 'text/plain', `no such key: ${own}`),
  'a JSON body with 403': (own) =>
    body(403, 'application/json', JSON.stringify({ error_description: `${own} may not` })),
  'a text with 500': (own) => body(500, 'text/plain', `panic: ${own}`),
  'a text with 418': (own) => body(418, 'text/plain', `tea for ${own.toUpperCase()}`),
  'a web page': (own) => body(200, 'text/html', `<title>Hello ${own}</title>${own}`),
  'a content type': (own) => body(200, `text/${own.replace(/[/=]/g, '.')}; x="${own}"`, own),
  'a content coding': (own) => body(200, 'application/json', '{}', { 'content-encoding': own }),
  'the status line and a session id': (own) => (_, response) => {
    response.writeHead(503, `No ${own}`, { 'mcp-session-id': own, 'retry-after': '9999' }).end(own);
  },
  'the metadata document': (own) => (received, response) => {
    if (received.target.startsWith('/.well-known/')) {
      const resource = `http://${received.headers.host}/v1/mcp`;
      const document = {
        resource,
        resource_name: own,
        resource_documentation: `https://x.example/${own}`,
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(document));
    } else response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
  },
  'a revision': (own) => (received, response) =>
    answer(received, response, {
      protocolVersion: own.replaceAll('=', ''),
      capabilities: {},
      serverInfo: {},
    }),
};

describe('a key that the gateway quotes', () => {
  it.each(Object.entries(QUOTES))(
    'in %s reaches neither the client nor the log',
    async (_, quote) => {
      const own = newSecret();
      const gateway = await startGateway(quote(own));
      const args = ['--start-patience', '0'];
      const proxy = startProxy(gateway.url, { args, env: { MCP_LATCHKEY_API_KEY: own } });
      await proxy.request(1, 'initialize', {
        protocolVersion: '2025-11-25',
        capabilities: {},
        clientInfo: { name: 'e2e', version: '1' },
      });
      await shown(proxy, own);
    },
  );

  it.each(Object.entries(QUOTES))('in %s is not in what doctor says', async (name, quote) => {
    const own = newSecret();
    const gateway = await startGateway(quote(own));
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-secrets-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'report.html');
    const env = { MCP_LATCHKEY_API_KEY: own };
    const args = ['doctor', gateway.url, '--timeout', '5', '--report', file, '--no-redact'];
    // The same findings, as text or as JSON.
    const format = name.length % 2 === 0 ? [] : ['--json'];
    const { stdout, stderr } = await runToEnd([...args, ...format], '', env);
    expectNoTrace(stdout + stderr + readFileSync(file, 'utf8'), own);
  });

  it.each(['error', 'warn', 'info', 'debug'])(
    'is in no log file at the level %s',
    async (level) => {
      const own = newSecret();
      const gateway = await startGateway((received, response) => {
        if (received.message.id === undefined) body(500, 'text/plain', own)(received, response);
        else (QUOTES['a revision'] as (own: string) => Respond)(own)(received, response);
      });
      const folder = mkdtempSync(join(tmpdir(), 'latchkey-secrets-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      const file = join(folder, 'log');
      writeFileSync(file, '');
      const proxy = startProxy(gateway.url, {
        args: ['--log-file', file, '--log-level', level],
        env: { MCP_LATCHKEY_API_KEY: own },
      });
      await proxy.initialize();
      await proxy.end();
      const text = readFileSync(file, 'utf8');
      if (level !== 'error') expect(text).toContain('could not deliver notifications/initialized');
      expectNoTrace(text + proxy.stderr, own);
    },
  );

  it('passes untouched in results and notifications, and so does an error without it', async () => {
    // Not marked as a secret: a tool's result may hold anything.
    const own = 'key-that-a-result-may-hold-0123';
    const result = `{"content":[{"type":"text","text":"${own}"}],"n":1.0}`;
    const error = `{"code":-32000,"message":"no \\u00e9 \\/","data":{"n":1.0, "a":[ ]}}`;
    const note = { jsonrpc: '2.0', method: 'notifications/message', params: { data: own } };
    const gateway = await startGateway(({ message }, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${JSON.stringify(note)}\n\n`);
      const member = message.id === 1 ? `"result":${result}` : `"error":${error}`;
      response.end(`data: {"jsonrpc":"2.0","id":${message.id},${member}}\n\n`);
    });
    const env = { MCP_LATCHKEY_API_KEY: own };
    const input = [1, 2].map((id) => JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call' }));
    const { stdout } = await runToEnd([gateway.url], `${input.join('\n')}\n`, env);
    const lines = stdout.trim().split('\n').sort();
    const notes = JSON.stringify(note);
    const expected = [
      `{"jsonrpc":"2.0","id":1,"result":${result}}`,
      `{"jsonrpc":"2.0","id":2,"error":${error}}`,
      notes,
      notes,
    ];
    expect(lines).toEqual(expected.sort());
  });

  it('is not offered in a link, and the hint goes without it', async () => {
    const own = newSecret();
    const gateway = await startGateway((received, response) => {
      if (received.message.method !== 'tools/call') return answer(received, response);
      const hint = `Reconnect at https://x.example/reconnect?token=${encodeURIComponent(own)}`;
      const error = {
        code: -32000,
        message: 'expired',
        data: { reason: 'credentials_unavailable', hint },
      };
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ jsonrpc: '2.0', id: received.message.id, error }));
    });
    const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_API_KEY: own } });
    await proxy.request(1, 'initialize', {
      protocolVersion: '2025-11-25',
      capabilities: { elicitation: { url: {} } },
    });
    expect(await proxy.request(2, 'tools/call', { name: 'x' })).toMatchObject({
      error: { code: -32000, message: expect.stringContaining('?token=[secret]') },
    });
    await shown(proxy, own);
  });

  it('is not shown when files of the program are gone, and the request is answered', async () => {
    const own = newSecret();
    const copy = mkdtempSync(join(tmpdir(), 'latchkey-gone-'));
    onTestFinished(() => rmSync(copy, { recursive: true }));
    for (const folder of ['bin', 'dist', 'package.json']) {
      cpSync(join(dirname(program), '..', folder), join(copy, folder), { recursive: true });
    }
    // As in its first moments, it does not keep in memory what it loads late.
    rmSync(join(copy, 'dist', 'late-files.js'));
    const gateway = await startGateway((received, response) => {
      if (received.message.id === 1) answer(received, response);
      else rpcError(own)(received, response);
    });
    const proxy = startProxy(gateway.url, {
      // At the level debug, the first line of the log would need the file.
      args: ['--log-level', 'error'],
      env: { MCP_LATCHKEY_API_KEY: own },
      script: join(copy, 'bin', 'mcp-latchkey.js'),
    });
    await proxy.request(1, 'tools/list');
    rmSync(join(copy, 'dist', 'configured-secrets.js'));
    expect(await proxy.request(2, 'tools/list')).toMatchObject({
      error: { code: -32004, message: expect.stringContaining("mcp-latchkey's files are missing") },
    });
    await shown(proxy, own);
  });

  it('that was replaced while it ran is still known', async () => {
    const [first, second] = [newSecret(), newSecret()];
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-secrets-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'key');
    writeFileSync(file, first, { mode: 0o600 });
    const gateway = await startGateway((received, response) => {
      if (received.headers.authorization === `Bearer ${first}` && received.message.id === 2) {
        writeFileSync(file, second);
        body(401, 'text/plain', first)(received, response);
      } else if (received.message.id === 2) rpcError(`${first} ${second}`)(received, response);
      else answer(received, response);
    });
    const proxy = startProxy(gateway.url, { args: ['--key-file', file] });
    await proxy.request(1, 'tools/list');
    expect(await proxy.request(2, 'tools/list')).toMatchObject({
      error: { message: 'Invalid API key: Bearer [secret] [secret]' },
    });
    await shown(proxy, first);
    await shown(proxy, second);
  });
});

describe('a secret', () => {
  const echo: Respond = (received, response) =>
    rpcError(`${received.target} ${JSON.stringify(received.headers)}`, 400)(received, response);

  const file = (text: string) => {
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-secrets-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'file'), text, { mode: 0o600 });
    return join(folder, 'file');
  };

  it.each<
    [string, (own: string) => { args?: string[]; env?: Record<string, string>; path?: string }]
  >([
    ['of the environment', (own) => ({ env: { MCP_LATCHKEY_API_KEY: own } })],
    ['of --key-env', (own) => ({ args: ['--key-env', 'MY_KEY'], env: { MY_KEY: own } })],
    ['of --key-file', (own) => ({ args: ['--key-file', file(`${own}\n`)] })],
    ['of --key-command', (own) => ({ args: ['--key-command', commandToPrint(file(own))] })],
    [
      'of --key-header',
      (own) => ({ args: ['--key-header', 'x-my-key'], env: { MCP_LATCHKEY_API_KEY: own } }),
    ],
    ['of --header', (own) => ({ args: ['-H', 'Authorization: Bearer ${K}'], env: { K: own } })],
    [
      'of --header with a scheme of its own',
      (own) => ({ args: ['-H', 'Authorization: Strange ${K}'], env: { K: own } }),
    ],
    [
      'of --header, a password in Basic',
      (own) => ({
        args: ['-H', 'Authorization: Basic ${K}'],
        env: { K: Buffer.from(`someone:${own}`).toString('base64') },
      }),
    ],
    ['of --header-file', (own) => ({ args: ['--header-file', file(`X-Api-Key: ${own}`)] })],
    ['in another header', (own) => ({ args: ['-H', 'X-Tenant: ${K}'], env: { K: own } })],
    ['in a cookie', (own) => ({ args: ['-H', 'Cookie: a=1; sid=${K}; b=2'], env: { K: own } })],
    [
      'in MCP_LATCHKEY_HEADER',
      (own) => ({ env: { MCP_LATCHKEY_HEADER: `X-Signature: v1 ${own}` } }),
    ],
    ['in the query of the URL', (own) => ({ path: `?x=1&api_key=${encodeURIComponent(own)}` })],
  ])('%s that the gateway quotes is not shown', async (_, settingsFor) => {
    const own = newSecret();
    const gateway = await startGateway(echo);
    const { args = [], env = {}, path = '' } = settingsFor(own);
    const proxy = startProxy(gateway.url + path, { args, env });
    await proxy.request(1, 'tools/list');
    const text = await shown(proxy, own);
    expect(text).toContain('[secret]');
    expect(text).toContain('127.0.0.1');
    const { stdout } = await runToEnd(['doctor', gateway.url + path, ...args], '', env);
    expectNoTrace(stdout, own);
  });

  it('in the path of the URL is in no error, log or report, and the remedy says so', async () => {
    const token = secret('NDUyZjAxYjctNGM5Zi00ZTk2LWI1ZTQ6MTIzNDU2Nzg');
    const gateway = await startGateway(body(401, 'text/plain', `no user ${token}`));
    const url = gateway.url.replace('/v1/mcp', `/api/mcp/s/${token}/mcp`);
    const proxy = startProxy(url, { env: { MCP_LATCHKEY_API_KEY: newSecret() } });
    const masked = url.replace(token, '[secret]');
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { data: { gateway: masked }, message: expect.stringContaining('no user [secret]') },
    });
    const closed = await startGateway(body(403, 'text/plain', ''));
    const closedUrl = closed.url.replace('/v1/mcp', `/api/mcp/s/${token}/mcp`);
    const keyless = startProxy(closedUrl, { env: { MCP_LATCHKEY_API_KEY: '' } });
    expect(await keyless.request(1, 'tools/list')).toMatchObject({
      error: { message: expect.stringContaining(' login YOUR_GATEWAY_URL`') },
    });
    await shown(proxy, token);
    expect(proxy.stderr).toContain(masked);
    const { stdout } = await runToEnd(['doctor', url, '--json']);
    expectNoTrace(stdout, token);
    expect(JSON.parse(stdout).gateways[0].url).toBe(masked);
    expectNoTrace((await runToEnd(['doctor', url])).stdout, token);
  });

  it('in the URL of the HTTP proxy is not shown when that quotes it', async () => {
    const password = secret('p@ss+Word/0123456789');
    const proxyServer = createServer((request, response) => {
      response.writeHead(407, 'No', { 'content-type': 'text/plain' });
      response.end(`wrong: ${request.headers['proxy-authorization']} ${password}`);
    });
    proxyServer.on('connect', (request, socket) => {
      const said = request.headers['proxy-authorization'];
      socket.end(`HTTP/1.1 502 ${said} ${password}\r\n\r\n`);
    });
    proxyServer.listen(0, '127.0.0.1');
    await once(proxyServer, 'listening');
    onTestFinished(() => void proxyServer.close());
    const { port } = proxyServer.address() as AddressInfo;
    const http_proxy = `http://user:${encodeURIComponent(password)}@127.0.0.1:${port}`;
    for (const url of ['http://gateway.test/v1/mcp', 'https://gateway.test/v1/mcp']) {
      const env = { http_proxy, https_proxy: http_proxy };
      const args = url.startsWith('http:') ? ['--allow-http'] : [];
      const proxy = startProxy(url, { args, env });
      await proxy.request(1, 'tools/list');
      await shown(proxy, password);
      const { stdout } = await runToEnd(['doctor', url, ...args], '', env);
      expectNoTrace(stdout, password);
    }
  });

  it('that is an ordinary value leaves the texts as they are', async () => {
    const gateway = await startGateway(rpcError('production is not for en'));
    const proxy = startProxy(gateway.url, {
      args: ['-H', 'X-Environment: production', '-H', 'Accept-Language: en', '-H', 'X-N: 32000'],
    });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { message: 'Invalid API key: Bearer production is not for en' },
    });
  });
});

describe('a key quoted through a translation', () => {
  it('from a gateway over HTTP+SSE reaches neither the client nor the log', async () => {
    const own = newSecret();
    const gateway = await startHttpSseGateway({
      take: ({ message }, stream, response) => {
        if (message.method === 'initialize' || message.id === undefined) return false;
        const error = { code: -32000, message: `bad ${own}`, data: { [own]: own } };
        if (message.id === 1) {
          response.writeHead(202).end();
          stream.write(
            `: ${own}\n\nevent: ${own}\ndata: ${own}\n\nevent: endpoint\ndata: ${own}\n\n`,
          );
          stream.message({ jsonrpc: '2.0', id: 1, error });
        } else if (message.id === 2) rpcError(own, 400)({ message } as Received, response);
        else response.writeHead(401).end(own);
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_API_KEY: own } });
    await proxy.initialize();
    for (const id of [1, 2, 3]) {
      expect(await proxy.request(id, 'tools/list')).toMatchObject({
        error: { message: expect.stringContaining('[secret]') },
      });
    }
    await shown(proxy, own);
  });

  it('from a gateway of the earlier era to a client of the modern one is masked', async () => {
    const own = newSecret();
    const gateway = await startOldGateway({
      respond: (received, response) => {
        if (received.message.method !== 'tools/call') return false;
        rpcError(own)(received, response);
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_API_KEY: own } });
    await proxy.request(1, 'tools/list', modern());
    expect(await proxy.request(2, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      error: { message: 'Invalid API key: Bearer [secret]', data: { got: '[secret]' } },
    });
    await shown(proxy, own);
  });

  it('in links of an older gateway is masked in the wish for input', async () => {
    const own = newSecret();
    const gateway = await startOldGateway({
      respond: ({ message }, response) => {
        if (message.method !== 'tools/call') return false;
        const url = `https://x.example/?k=${own}`;
        const link = { mode: 'url', elicitationId: '1', url, message: `for ${own}` };
        const error = { code: -32042, message: own, data: { elicitations: [link] } };
        response.writeHead(200, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, error }));
        return true;
      },
    });
    const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_API_KEY: own } });
    await proxy.request(1, 'tools/list', modern());
    expect(await proxy.request(2, 'tools/call', modern({ name: 'x' }))).toMatchObject({
      result: { resultType: 'input_required' },
    });
    expect(await shown(proxy, own)).toContain('?k=[secret]');
  });

  it('from a gateway of the modern era to an older client is masked', async () => {
    const own = newSecret();
    const gateway = await startGateway((received, response) => {
      const { method } = received.message;
      if (method === 'server/discover') {
        answer(received, response, {
          resultType: 'complete',
          supportedVersions: ['2026-07-28'],
          capabilities: { tools: {} },
        });
      } else if (method === 'initialize') {
        const error = { code: -32601, message: `no ${own}` };
        response.writeHead(404, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ jsonrpc: '2.0', id: received.message.id, error }));
      } else rpcError(own, 400)(received, response);
    });
    const proxy = startProxy(gateway.url, { env: { MCP_LATCHKEY_API_KEY: own } });
    expect(await proxy.initialize()).toHaveProperty('result');
    expect(await proxy.request(2, 'tools/list')).toMatchObject({
      error: { message: 'Invalid API key: Bearer [secret]' },
    });
    await shown(proxy, own);
  });
});
