import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import {
  type AddressInfo,
  connect,
  createServer as createTcpServer,
  type Server,
  type Socket,
} from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { sandboxKeys } from '../../src/sandbox/accounts.ts';
import { type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { type Certificate, CertificateAuthority } from './certificates.ts';
import { diagnosis, finding, health } from './doctor-run.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, type Received, sendJson, startGateway } from './loopback-gateway.ts';
import { program } from './running-proxy.ts';

const GOOD = { MCP_LATCHKEY_API_KEY: sandboxKeys.good };

async function sandbox(options: SandboxOptions = {}) {
  const running = await startSandbox(options);
  onTestFinished(() => running.close());
  return running;
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** A port of 127.0.0.1 that nothing listens on. */
async function deadPort(): Promise<number> {
  const server = createTcpServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  return port;
}

const TOOLS = { tools: [{ name: 'linear_get_issue', inputSchema: { type: 'object' } }] };

/** As a plain MCP server, with a tool. */
function answerWithTool(received: Received, response: Parameters<typeof answer>[1]): void {
  answer(received, response, received.message.method === 'tools/list' ? TOOLS : undefined);
}

describe('a wrong path', () => {
  /** A gateway at /v2/tools/mcp, whose metadata names `resource`. */
  const gatewayNaming = (resource: (origin: string) => unknown) =>
    startGateway((received, response) => {
      const origin = `http://${received.headers.host}`;
      if (received.target === '/.well-known/oauth-protected-resource') {
        sendJson(response, { resource: resource(origin) });
      } else if (received.target === '/v2/tools/mcp') answerWithTool(received, response);
      else response.writeHead(404).end();
    });

  it('names the endpoint that the metadata of the gateway names; with it, everything works', async () => {
    const gateway = await gatewayNaming((origin) => `${origin}/v2/tools/mcp`);
    const { origin } = new URL(gateway.url);
    const lost = await diagnosis(`${origin}/mcp`, { env: GOOD });
    expect(lost.verdict).toMatchObject({ reason: 'wrong_path', finding: 'authorization' });
    expect(lost.verdict.remedy).toContain(`use ${origin}/v2/tools/mcp as the URL`);
    await health(`${origin}/v2/tools/mcp`, { env: GOOD });
  });

  it.each([
    ['at another origin', () => 'https://elsewhere.example/v2/mcp'],
    ['without a path', (origin: string) => origin],
    ['with a password', (origin: string) => `${origin.replace('//', '//a:b@')}/v2/tools/mcp`],
    ['that is not a URL', () => '\u001b[31m/v2/tools/mcp'],
  ])('guesses where the metadata names one %s', async (_, resource) => {
    const gateway = await gatewayNaming(resource);
    const { origin } = new URL(gateway.url);
    const lost = await diagnosis(`${origin}/mcp`, { env: GOOD });
    expect(lost.verdict.reason).toBe('wrong_path');
    expect(lost.verdict.remedy).toContain('/v1/mcp');
  });
});

describe('a connection that cannot be made', () => {
  it('names a dead port; with the gateway running there, everything works', async () => {
    const port = await deadPort();
    const url = `http://127.0.0.1:${port}/v1/mcp`;
    const dead = await diagnosis(url, { env: GOOD });
    expect(dead.verdict).toMatchObject({
      finding: 'tcp',
      reason: 'unreachable',
      cause: 'refused',
      sentence: expect.stringContaining('refused the connection'),
      remedy: expect.stringContaining('that the gateway is running'),
    });
    await sandbox({ port });
    await health(url, { env: GOOD });
  });

  it('names a host that does not exist; with the right one, everything works', async () => {
    const dead = await diagnosis('https://no-such-host.invalid/v1/mcp', { env: GOOD });
    expect(dead.verdict).toMatchObject({ finding: 'dns', reason: 'unreachable', cause: 'dns' });
    expect(dead.verdict.remedy).toMatch(/Check the host name|network connection/);
    await health((await sandbox()).url, { env: GOOD });
  });

  // Together, since each takes ten seconds.
  it('names a black hole and a gateway that says nothing, each within 15 s; awake, everything works', async () => {
    const { url, child } = await startSandboxProgram();
    child.kill('SIGSTOP');
    const sockets = await fillQueue(Number(new URL(url).port));
    const silent = createTcpServer(() => {});
    const silentUrl = `http://127.0.0.1:${await listen(silent)}/v1/mcp`;
    const start = performance.now();
    const [lost, mute] = await Promise.all([
      diagnosis(url, { env: GOOD }),
      diagnosis(silentUrl, { env: GOOD }),
    ]);
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(lost.verdict).toMatchObject({ finding: 'tcp', reason: 'unreachable', cause: 'timeout' });
    expect(lost.verdict.sentence).toContain('in 10 seconds');
    expect(lost.verdict.remedy).toMatch(/network, VPN and firewall/);
    expect(mute.verdict).toMatchObject({
      finding: 'authorization',
      reason: 'unreachable',
      cause: 'timeout',
    });
    expect(mute.verdict.sentence).toContain('connected, but no reply for 10 seconds');
    expect(mute.verdict.remedy).toContain('--timeout SECONDS');
    child.kill('SIGCONT');
    for (const socket of sockets) socket.destroy();
    await health(url, { env: GOOD });
  });

  it('waits longer with --timeout, as its remedy says', async () => {
    const { url } = await startGateway(async (received, response) => {
      if (received.message.method === 'initialize') await setTimeout(1_600);
      answerWithTool(received, response);
    });
    const impatient = await diagnosis(url, { env: GOOD, args: ['--timeout', '0.5'] });
    expect(impatient.verdict).toMatchObject({ reason: 'unreachable', cause: 'timeout' });
    await health(url, { env: GOOD, args: ['--timeout', '5'] });
  });
});

/** The built sandbox, in a process of its own. */
async function startSandboxProgram(): Promise<{ url: string; child: ChildProcess }> {
  const child = spawn(process.execPath, [program, 'sandbox', '--port', '0']);
  onTestFinished(() => void child.kill('SIGKILL'));
  let shown = '';
  const url = await new Promise<string>((resolve) => {
    child.stdout.setEncoding('utf8').on('data', (text) => {
      shown += text;
      const [found] = /http:\/\/127\.0\.0\.1:\d+\/v1\/mcp/.exec(shown) ?? [];
      if (found !== undefined) resolve(found);
    });
  });
  return { url, child };
}

/**
 * Connects to the port of a process that is stopped until its queue is full: all that come later
 * get no answer at all.
 */
async function fillQueue(port: number): Promise<Socket[]> {
  const sockets: Socket[] = [];
  onTestFinished(() => sockets.forEach((socket) => void socket.destroy()));
  for (;;) {
    const batch = Array.from({ length: 64 }, () =>
      connect(port, '127.0.0.1').on('error', () => {}),
    );
    sockets.push(...batch);
    const connected = Promise.all(batch.map((socket) => once(socket, 'connect')));
    const isFull = await Promise.race([connected.then(() => false), setTimeout(500, true)]);
    if (isFull) return sockets;
  }
}

describe('TLS', () => {
  let authority: CertificateAuthority;
  beforeAll(() => {
    authority = new CertificateAuthority();
  });
  afterAll(() => authority.remove());

  /** A gateway behind TLS, and a key for it. */
  async function secureGateway(certificate: Certificate, host = '127.0.0.1') {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const { port: inner } = new URL(gateway.url);
    const server = createTlsServer(certificate, (socket) => {
      const upstream = connect(Number(inner), '127.0.0.1');
      socket.pipe(upstream).pipe(socket);
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
    });
    const port = await listen(server);
    const env = { MCP_LATCHKEY_API_KEY: key };
    return { url: `https://${host}:${port}/v1/mcp`, port, env, server };
  }
  const trusted = () => ['--ca', authority.certFile];

  it('names an expired certificate; with a new one, everything works', async () => {
    const names = 'DNS:localhost,IP:127.0.0.1';
    const { url, env, server } = await secureGateway(authority.issue(names, { days: -1 }));
    const expired = await diagnosis(url, { env, args: trusted() });
    expect(expired.verdict).toMatchObject({ finding: 'tls', reason: 'unreachable', cause: 'tls' });
    expect(expired.verdict.sentence).toMatch(/its certificate for .* expired on 20\d\d-\d\d-\d\d/);
    expect(expired.verdict.remedy).toContain('renew the certificate');
    expect(finding(expired, 'tls')?.details).toMatchObject({ issuer: 'Test Authority' });
    server.setSecureContext(authority.issue(names));
    const mended = await health(url, { env, args: trusted() });
    expect(finding(mended, 'tls')).toMatchObject({
      status: 'warn',
      details: { protocol: 'TLSv1.3', daysLeft: 1 },
    });
  });

  it('names a self-signed certificate; with --ca, everything works', async () => {
    const certificate = authority.selfSigned();
    const { url, env } = await secureGateway(certificate);
    const { verdict } = await diagnosis(url, { env });
    expect(verdict).toMatchObject({ finding: 'tls', reason: 'unreachable', cause: 'tls' });
    expect(verdict.sentence).toContain('is self-signed');
    expect(verdict.remedy).toContain('--ca FILE');
    await health(url, { env, args: ['--ca', String(certificate.files[0])] });
  });

  it('names an issuer that is not trusted; with --ca, everything works', async () => {
    const { url, env } = await secureGateway(authority.issue('IP:127.0.0.1'));
    const { verdict } = await diagnosis(url, { env });
    expect(verdict).toMatchObject({ finding: 'tls', cause: 'tls' });
    expect(verdict.sentence).toContain('is from Test Authority');
    await health(url, { env, args: trusted() });
  });

  it('has no limit for a connection with --connect-timeout 0, and names what is wrong all the same', async () => {
    const certificate = authority.selfSigned();
    const { url, env } = await secureGateway(certificate);
    const args = ['--connect-timeout', '0'];
    const { verdict } = await diagnosis(url, { env, args });
    expect(verdict.sentence).toContain('is self-signed');
    const trusted = [...args, '--ca', String(certificate.files[0])];
    const healthy = await health(url, { env, args: trusted });
    expect(finding(healthy, 'tcp')).toMatchObject({
      status: 'ok',
      line: expect.stringMatching(/^connected over IPv4/),
    });
    expect(finding(healthy, 'tls')?.details).toHaveProperty('protocol', 'TLSv1.3');
  });

  it('names a certificate for another host; with that host in the URL, everything works', async () => {
    const { url, env } = await secureGateway(authority.issue('DNS:localhost'));
    const { verdict } = await diagnosis(url, { env, args: trusted() });
    expect(verdict).toMatchObject({ finding: 'tls', cause: 'tls' });
    expect(verdict.sentence).toContain('its certificate is for localhost, not for 127.0.0.1');
    expect(verdict.remedy).toContain('It must match the certificate');
    await health(url.replace('127.0.0.1', 'localhost'), { env, args: trusted() });
  });

  it('names a port that speaks plain http; with http://, everything works', async () => {
    const { url } = await sandbox();
    const { verdict } = await diagnosis(url.replace('http:', 'https:'), { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'tls', cause: 'tls' });
    expect(verdict.remedy).toContain('http://');
    await health(url, { env: GOOD });
  });

  it('names a certificate file that cannot be read; without it, everything works', async () => {
    const { url } = await sandbox();
    const { verdict } = await diagnosis(url, { env: GOOD, args: ['--ca', '/no/such.pem'] });
    expect(verdict).toMatchObject({ finding: 'tls', cause: 'tls' });
    expect(verdict.remedy).toContain('--ca');
    await health(url, { env: GOOD });
  });

  it.each([403, 407])(
    'names an HTTP proxy in the way that answers %i; with NO_PROXY, everything works',
    async (status) => {
      const proxy = createHttpServer();
      proxy.on('connect', (_, socket) => socket.end(`HTTP/1.1 ${status} No\r\n\r\n`));
      const HTTPS_PROXY = `http://127.0.0.1:${await listen(proxy)}`;
      const { url, env } = await secureGateway(authority.issue('IP:0.0.0.0'), '0.0.0.0');
      const args = trusted();
      const stopped = await diagnosis(url, { env: { ...env, HTTPS_PROXY }, args });
      expect(stopped.verdict).toMatchObject({ finding: 'proxy', cause: 'proxy' });
      expect(stopped.verdict.remedy).toContain(status === 407 ? 'HTTPS_PROXY' : 'NO_PROXY');
      expect(finding(stopped, 'dns')).toMatchObject({
        status: 'skipped',
        line: 'done by the HTTP proxy',
      });
      const NO_PROXY = '0.0.0.0';
      const mended = await health(url, { env: { ...env, HTTPS_PROXY, NO_PROXY }, args });
      expect(finding(mended, 'proxy')?.line).toContain('NO_PROXY excludes this host');
    },
  );

  it('says that certificates are not checked where NODE_TLS_REJECT_UNAUTHORIZED is 0', async () => {
    const { url, env } = await secureGateway(authority.selfSigned());
    const unchecked = { ...env, NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' };
    const report = await diagnosis(url, { env: unchecked });
    expect(report.verdict).toMatchObject({
      finding: 'tls',
      sentence: expect.stringContaining('others on the network could read the API key'),
      remedy: expect.stringContaining('Remove NODE_TLS_REJECT_UNAUTHORIZED'),
    });
    expect(finding(report, 'tls')).toMatchObject({ status: 'warn' });
  });

  it('goes through an HTTP proxy that lets it, and says so', async () => {
    const proxy = createHttpServer();
    proxy.on('connect', (request, socket) => {
      const upstream = connect(Number(request.url?.split(':')[1]), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.pipe(upstream).pipe(socket);
      });
      upstream.on('error', () => socket.destroy());
      socket.on('error', () => upstream.destroy());
    });
    const https_proxy = `127.0.0.1:${await listen(proxy)}`;
    const { url, env } = await secureGateway(authority.issue('DNS:gateway.test'), 'gateway.test');
    const well = await health(url, { env: { ...env, https_proxy }, args: trusted() });
    expect(finding(well, 'proxy')).toMatchObject({
      line: `via ${https_proxy} (from https_proxy)`,
    });
    expect(finding(well, 'tls')?.details).toMatchObject({ protocol: 'TLSv1.3' });
  });
});

it.each([
  ['HTTP_PROXY', '0.0.0.0'],
  ['ALL_PROXY', '0.0.0.0/8'],
])(
  'names an HTTP proxy of %s that is not there; with NO_PROXY=%s, everything works',
  async (variable, NO_PROXY) => {
    const { url } = await sandbox();
    const elsewhere = url.replace('127.0.0.1', '0.0.0.0');
    const args = ['--allow-http'];
    const env = { ...GOOD, [variable]: `http://127.0.0.1:${await deadPort()}` };
    const { verdict } = await diagnosis(elsewhere, { env, args });
    expect(verdict).toMatchObject({ finding: 'proxy', cause: 'proxy' });
    expect(verdict.sentence).toContain('the HTTP proxy 127.0.0.1:');
    await health(elsewhere, { env: { ...env, NO_PROXY }, args });
    const own = await health(url, { env });
    expect(finding(own, 'proxy')?.line).toContain('local gateway');
  },
);

describe('a server that is no gateway', () => {
  it('names a wrong path; with the path that it proposes, everything works', async () => {
    const { url, origin } = await sandbox();
    const { verdict } = await diagnosis(`${origin}/mcp`, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'wrong_path' });
    expect(verdict.remedy).toContain(url);
    await health(url, { env: GOOD });
  });

  it('names a web page in place of MCP; with the URL of the endpoint, everything works', async () => {
    const { url } = await startGateway((received, response) => {
      if (received.target === '/v1/mcp') return answerWithTool(received, response);
      response.writeHead(200, { 'content-type': 'text/html' });
      response.end('<html><title>Sign in to Acme</title></html>');
    });
    const { verdict } = await diagnosis(url.replace('/v1/mcp', '/app'), { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'invalid_response' });
    expect(verdict.sentence).toContain('a web page, "Sign in to Acme"');
    expect(verdict.remedy).toContain('Check that the URL is the MCP endpoint');
    await health(url, { env: GOOD });
  });

  it('names something that changes the Accept header; with that gone, everything works', async () => {
    let isChanged = true;
    const { url } = await startGateway((received, response) => {
      if (isChanged && received.method === 'POST') response.writeHead(406).end();
      else answerWithTool(received, response);
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'not_acceptable' });
    isChanged = false;
    await health(url, { env: GOOD });
  });
});

describe('the key', () => {
  it('names a missing key; with one in the environment, everything works', async () => {
    const { url } = await sandbox();
    const { verdict } = await diagnosis(url);
    expect(verdict).toMatchObject({ finding: 'key', reason: 'no_api_key' });
    // Windows always has a keychain.
    expect(verdict.remedy).toMatch(
      process.platform === 'win32' ? /mcp-latchkey\.js login http/ : /MCP_LATCHKEY_API_KEY/,
    );
    await health(url, { env: GOOD });
  });

  it('names the keychain that is missing, and proposes what works without it', async () => {
    const { url } = await sandbox();
    const without = await diagnosis(url, {
      env: { DBUS_SESSION_BUS_ADDRESS: 'unix:path=/no/such/bus' },
    });
    expect(without.verdict).toMatchObject({ finding: 'key', reason: 'no_api_key' });
    expect(without.verdict.sentence).toMatch(/The keychain needs a D-Bus session/);
    expect(without.verdict.remedy).toMatch(/^Set MCP_LATCHKEY_API_KEY/);
    expect(finding(without, 'key')?.details?.keychainError).toContain('D-Bus');
    await health(url, { env: GOOD });
  });

  it('names a revoked key by its source and end; with another, everything works', async () => {
    const { url, keys } = await sandbox();
    const { verdict } = await diagnosis(url, { env: { MCP_LATCHKEY_API_KEY: keys.revoked } });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'unauthorized' });
    expect(verdict.sentence).toContain('It is from MCP_LATCHKEY_API_KEY and ends in 0002');
    expect(verdict.remedy).toContain('Set a new key');
    await health(url, { env: GOOD });
  });

  it('names a malformed key, and sends nothing of it; copied whole, everything works', async () => {
    const { url, requests } = await sandbox();
    const malformed = `${sandboxKeys.good} and more`;
    const { verdict } = await diagnosis(url, { env: { MCP_LATCHKEY_API_KEY: malformed } });
    expect(verdict).toMatchObject({ finding: 'key', reason: 'malformed_api_key' });
    expect(verdict.remedy).toContain('Set only the key');
    expect(requests.every(({ headers }) => headers.authorization === undefined)).toBe(true);
    await health(url, { env: GOOD });
  });

  it('names an entitlement that is missing; once it is granted, everything works', async () => {
    let isEntitled = false;
    const { url } = await startGateway((received, response) => {
      if (isEntitled || received.headers.authorization === undefined) {
        return answerWithTool(received, response);
      }
      response.writeHead(403, { 'content-type': 'application/json' }).end('{"error":"Forbidden"}');
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'forbidden' });
    expect(verdict.remedy).toContain('Personal API Key Access');
    isEntitled = true;
    await health(url, { env: GOOD });
  });

  it('finds a placeholder where the key should be', async () => {
    const { url } = await sandbox();
    const env = { MCP_LATCHKEY_API_KEY: 'YOUR_API_KEY' };
    const report = await diagnosis(url, { env });
    expect(report.verdict).toMatchObject({ reason: 'unauthorized' });
    expect(finding(report, 'key')).toMatchObject({
      status: 'warn',
      line: expect.stringContaining('looks like a placeholder'),
    });
  });
});

describe('a gateway that answers', () => {
  it('names metadata that is about another resource; with that as URL, everything works', async () => {
    const { url: other } = await sandbox();
    const { url } = await startGateway((received, response) => {
      if (received.target.startsWith('/.well-known/')) sendJson(response, { resource: other });
      else answerWithTool(received, response);
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'metadata' });
    expect(verdict.sentence).toContain(`says that its MCP endpoint is ${other} and not ${url}`);
    expect(verdict.remedy).toContain('use it as the URL');
    await health(other, { env: GOOD });
  });

  it('names an account without tools; with the key of another, everything works', async () => {
    const { url, keys } = await sandbox();
    const { verdict } = await diagnosis(url, { env: { MCP_LATCHKEY_API_KEY: keys.emptyAccount } });
    expect(verdict).toMatchObject({ finding: 'tools' });
    expect(verdict.sentence).toContain('this account has no connected integrations');
    expect(verdict.remedy).toContain('the key of an account that has one');
    await health(url, { env: GOOD });
  });

  it('names a filter that matches no tool; without it, everything works', async () => {
    const { url } = await sandbox();
    const { verdict } = await diagnosis(url, { env: GOOD, args: ['--integrations', 'lineer'] });
    expect(verdict).toMatchObject({ finding: 'tools' });
    expect(verdict.sentence).toContain("no tools that match the integrations filter 'lineer'");
    expect(verdict.remedy).toContain('--integrations');
    const mended = await health(url, { env: GOOD, args: ['--integrations', 'linear'] });
    expect(finding(mended, 'tools')?.details).toEqual({ tools: 3, integrations: ['linear 3'] });
  });

  it('names a slow gateway, and that it is not the network; faster, everything works', async () => {
    let isSlow = true;
    const { url } = await startGateway(async (received, response) => {
      if (isSlow && received.message.method === 'ping') await setTimeout(1_050);
      answerWithTool(received, response);
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'speed', check: 'speed' });
    expect(verdict.sentence).toMatch(
      /It works, with one problem\. .* is slow: the median ping is 1\.\d+ s/,
    );
    expect(verdict.sentence).toContain('The network is fast, so the gateway is slow.');
    expect(verdict.remedy).toContain("Send this report to the gateway's operator");
    isSlow = false;
    await health(url, { env: GOOD });
  });

  it('names a clock that is off; once it is right, everything works', async () => {
    let offMs = 3 * 60 * 60_000;
    const { url } = await startGateway((received, response) => {
      response.setHeader('date', new Date(Date.now() - offMs).toUTCString());
      answerWithTool(received, response);
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'clock' });
    expect(verdict.sentence).toContain("This computer's clock is 3 hours ahead");
    expect(verdict.remedy).toContain('automatic date and time');
    offMs = 0;
    await health(url, { env: GOOD });
  });

  it('names an error of the gateway, with what it said', async () => {
    const { url } = await startGateway((received, response) => {
      if (received.message.method !== 'initialize') return answerWithTool(received, response);
      const error = { code: -32603, message: 'The vault is sealed.' };
      sendJson(response, { jsonrpc: '2.0', id: received.message.id, error });
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'initialize' });
    expect(verdict.sentence).toMatch(/returned an error for initialize: The vault is sealed\.$/);
  });

  it('tries again what may pass, and says how often it was tried where it does not', async () => {
    const { url, failNext } = await sandbox({ fail: { count: 2, status: 503 } });
    await health(url, { env: GOOD });
    failNext(1_000);
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'authorization', reason: 'gateway_error' });
    expect(verdict.sentence).toContain('failed 3 times');
  });

  it('names a list of tools that breaks off', async () => {
    const { url } = await startGateway((received, response) => {
      if (received.message.method !== 'tools/list') return answer(received, response);
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
      response.write('{"jsonrpc":"2.0",', () => response.destroy());
    });
    const { verdict } = await diagnosis(url, { env: GOOD });
    expect(verdict).toMatchObject({ finding: 'tools', reason: 'invalid_response' });
  });
});
