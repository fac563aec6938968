import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it, onTestFinished } from 'vitest';
import { answer, type Respond, sendJson, startGateway } from './loopback-gateway.ts';
import { runToEnd, startProxy } from './running-proxy.ts';

function ownFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bug-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What makes Node.js run this before the program, whose parts it makes fail. */
function planted(code: string): Record<string, string> {
  const file = join(ownFolder(), 'planted.cjs');
  writeFileSync(file, `const fail = () => { throw new Error('planted'); };\n${code}`);
  return { NODE_OPTIONS: `--require ${JSON.stringify(file)}` };
}

const INTERNAL_ERROR = { code: -32004, data: { reason: 'internal_error' } };

const zipped: Respond = ({ message: { id } }, response) => {
  const fields = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
  response.writeHead(200, fields);
  response.end(gzipSync(JSON.stringify({ jsonrpc: '2.0', id, result: {} })));
};

describe('a bug in what watches a session', () => {
  it.each([
    ['a trace', () => ['--trace', join(ownFolder(), 'trace.jsonl')]],
    ['a log of each request', () => ['--log-level', 'info']],
  ])('is logged, and the session goes on: %s', async (_, args) => {
    const gateway = await startGateway(answer);
    // Every step of the watch asks for the time, rounded.
    const code = `const { round } = Math;
      Math.round = (number) => /session-watch/.test(new Error().stack) ? fail() : round(number);`;
    const proxy = startProxy(gateway.url, { args: args(), env: planted(code) });
    expect((await proxy.request(1, 'tools/list')).result).toBeDefined();
    expect((await proxy.request(2, 'tools/call', { name: 'x' })).result).toBeDefined();
    expect(proxy.stderr).toMatch(/error: bug: Error: planted\n\s+at /);
    expect(gateway.received).toHaveLength(2);
    expect(await proxy.end()).toBe(0);
  });
});

it('starts the session without its watch where that cannot be loaded', async () => {
  const gateway = await startGateway(answer);
  const code = `const fs = require('node:fs');
    const { readFileSync } = fs;
    fs.readFileSync = (file, ...rest) => /session-watch/.test(file) ? fail() : readFileSync(file, ...rest);`;
  const proxy = startProxy(gateway.url, { env: planted(code) });
  expect((await proxy.request(1, 'tools/list')).result).toBeDefined();
  expect(proxy.stderr).toContain('mcp-latchkey: this session is not recorded: planted\n');
  expect(await proxy.end()).toBe(0);
});

describe('a bug at an event of the network ends its request with an internal error, at once', () => {
  it.each([
    [
      'when a body is to be decompressed',
      `Object.defineProperty(require('node:zlib'), 'createGunzip', { value: fail });`,
      zipped,
    ],
    [
      'in a decompressed body',
      `const { on } = require('node:zlib').Gunzip.prototype;
       require('node:zlib').Gunzip.prototype.on = function (event, listener) {
         const { subarray } = Buffer.prototype;
         const plant = () => {
           Buffer.prototype.subarray = () => { Buffer.prototype.subarray = subarray; fail(); };
         };
         return on.call(this, event, event === 'end' ? () => { plant(); listener(); } : listener);
       };`,
      ((received, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' });
        const { id } = received.message;
        const text = JSON.stringify({ jsonrpc: '2.0', id, result: 'x'.repeat(100_000) });
        response.end(gzipSync(text));
      }) satisfies Respond,
    ],
    [
      'at the head of a response',
      `const { IncomingMessage } = require('node:http');
       Object.defineProperty(IncomingMessage.prototype, 'rawHeaders', { get: fail, set() {} });`,
      answer as Respond,
    ],
  ])('%s', async (_, code, respond) => {
    const gateway = await startGateway(respond);
    const proxy = startProxy(gateway.url, { args: ['--timeout', '0'], env: planted(code) });
    expect((await proxy.request(1, 'tools/list')).error).toMatchObject(INTERNAL_ERROR);
    expect(proxy.stderr).toMatch(/error: bug: Error: planted\n\s+at /);
    expect(gateway.received).toHaveLength(1);
    expect(await proxy.end()).toBe(0);
  });

  it.each([
    [
      'when a key command is started',
      `require('node:child_process').spawn = fail;`,
      { args: ['--key-command', 'echo a-key-of-nobody'], env: {} },
    ],
    [
      'when a key command has ended',
      `process.off = fail;`,
      { args: ['--key-command', 'exit 3; true'], env: {} },
    ],
    [
      'when the keychain is asked',
      `require('node:child_process').spawn = fail;`,
      {
        args: [],
        env: { MCP_LATCHKEY_API_KEY: '', DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nowhere' },
      },
    ],
  ])('%s', async (_, code, { args, env }) => {
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, { args, env: { ...planted(code), ...env } });
    const { error } = await proxy.request(1, 'tools/list');
    // What cannot be started is a source without a key, in words.
    expect((error as { code: number }).code).toBe(-32010);
    expect(gateway.received).toHaveLength(0);
  });

  it('in an HTTP proxy’s answer to CONNECT', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\nearly'));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => void server.close());
    const proxy = startProxy('https://gateway.test/v1/mcp', {
      args: ['--connect-timeout', '0'],
      env: {
        ...planted(`require('node:net').Socket.prototype.unshift = fail;`),
        HTTPS_PROXY: `127.0.0.1:${(server.address() as AddressInfo).port}`,
      },
    });
    expect((await proxy.request(1, 'tools/list')).error).toMatchObject(INTERNAL_ERROR);
  });
});

const PROTOTYPE_NAMES = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf'];

describe.each(PROTOTYPE_NAMES)('the name %s, which every object has', (name) => {
  it('as the coding of a body, is one that was not asked for', async () => {
    const gateway = await startGateway(({ message: { id } }, response) => {
      sendJson(response, { jsonrpc: '2.0', id, result: {} }, { 'content-encoding': name });
    });
    const proxy = startProxy(gateway.url, { args: ['--timeout', '0'] });
    expect((await proxy.request(1, 'tools/list')).error).toMatchObject({
      message: expect.stringContaining(`encoded as ${name.toLowerCase()}`),
      data: { reason: 'invalid_response' },
    });
    expect(proxy.stderr).not.toContain('error: bug:');
  });

  it('as a type, an event, an id, a header or a member, does no harm', async () => {
    const gateway = await startGateway((received, response) => {
      const { id, method } = received.message;
      const text = `{"jsonrpc":"2.0","${name}":1,"id":${JSON.stringify(id)},"result":{"${name}":{},"protocolVersion":"2025-06-18","capabilities":{"${name}":{}},"serverInfo":{"name":"${name}","version":"1"}}}`;
      response.setHeader('x-other', '1').setHeader(name, name);
      response.setHeader('mcp-session-id', name);
      if (received.method !== 'POST') response.writeHead(405).end();
      else if (id === undefined) response.writeHead(202).end();
      else if (method === 'tools/list') {
        response.writeHead(200, { 'content-type': name }).end(text);
      } else {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.end(
          `event: ${name}\nid: ${name}\ndata: {}\n\nid: ${name}\n${name}: 1\ndata: ${text}\n\n`,
        );
      }
    });
    const proxy = startProxy(gateway.url);
    expect(await proxy.initialize()).toHaveProperty('result');
    for (const reply of [
      await proxy.request(1, 'tools/list'),
      await proxy.request(name, name, { [name]: 1 }),
    ]) {
      expect(Object.keys(reply.result as object)).toContain(name);
    }
    expect(await proxy.request(2, 'tools/call', { name })).toHaveProperty('result');
    expect(proxy.stderr).not.toContain('error: bug:');
    const { headers } = await gateway.request(({ message }) => message.method === 'tools/call');
    expect(headers['mcp-session-id']).toBe(name);
  });

  it('as a method or an error’s code at a gateway of 2026-07-28, does no harm', async () => {
    const gateway = await startGateway(({ message: { id, method } }, response) => {
      if (method !== name) {
        const result = { resultType: 'complete', supportedVersions: ['2026-07-28'] };
        sendJson(response, { jsonrpc: '2.0', id, result });
        return;
      }
      response.writeHead(400, { 'content-type': 'application/json' });
      response.end(
        JSON.stringify({
          jsonrpc: '2.0',
          id,
          error: { code: name, message: name, data: { reason: name } },
        }),
      );
    });
    const proxy = startProxy(gateway.url);
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
      'io.modelcontextprotocol/clientInfo': { name, version: '1' },
    };
    expect(await proxy.request(1, name, { _meta })).toMatchObject({ error: { code: name } });
    const { headers } = await gateway.request(({ message }) => message.method === name);
    expect(headers).toMatchObject({ 'mcp-method': name });
    expect(headers).not.toHaveProperty('mcp-name');
    expect(proxy.stderr).not.toContain('error: bug:');
  });

  it('as a variable, is one that is not set', async () => {
    const { code, stderr } = await runToEnd(['http://127.0.0.1:9/mcp', '-H', `X: \${${name}}`]);
    expect(code).toBe(2);
    expect(stderr).toContain(`uses the variable ${name}, which is not set`);
    const gateway = await startGateway(answer);
    const proxy = startProxy(gateway.url, {
      args: ['--key-env', name],
      env: { MCP_LATCHKEY_API_KEY: '' },
    });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    expect(gateway.received[0]?.headers).not.toHaveProperty('authorization');
  });

  it('in the place of the URL, is not a built-in gateway', async () => {
    const { code, stderr } = await runToEnd([name]);
    expect(code).toBe(2);
    expect(stderr).toContain('Expected a URL');
  });
});
