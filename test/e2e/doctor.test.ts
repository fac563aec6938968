import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv';
import { describe, expect, it, onTestFinished } from 'vitest';
import { clientLogFile } from '../../src/doctor/client-log.ts';
import type { GatewayReport } from '../../src/doctor/report.ts';
import { sandboxKeys } from '../../src/sandbox/accounts.ts';
import { type SandboxOptions, startSandbox } from '../../src/sandbox/sandbox.ts';
import { expectMode } from '../environment.ts';
import { notPlainEnglish } from '../plain-english.ts';
import { diagnosis, doctorReport, finding, health } from './doctor-run.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, sendJson, startGateway } from './loopback-gateway.ts';
import { startModernGateway } from './modern-gateway.ts';
import { expectNoSecret, type Json, program, runToEnd, secret } from './running-proxy.ts';
import {
  missingForSecretService,
  type SecretService,
  startSecretService,
} from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const GOOD = { MCP_LATCHKEY_API_KEY: sandboxKeys.good };
const missing = await missingForSecretService();

async function sandbox(options: SandboxOptions = {}) {
  const running = await startSandbox(options);
  onTestFinished(() => running.close());
  return running;
}

function makeFolder(name: string): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), name)));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('a healthy gateway', () => {
  it('is found so by every check, within seconds', async () => {
    const { url } = await sandbox();
    const report = await health(url, { env: GOOD });
    expect(report.ms).toBeLessThan(8_000);
    expect(report.findings.map(({ name, status }) => `${name} ${status}`)).toEqual([
      ...['machine ok', 'clock ok', 'url ok', 'proxy ok', 'dns skipped', 'tcp ok', 'tls skipped'],
      ...['challenge ok', 'metadata ok', 'key ok', 'authorization ok', 'initialize ok', 'ping ok'],
      ...['tools ok', 'prompts ok', 'speed ok'],
    ]);
    expect(report.url).toBe(url);
    expect(finding(report, 'tools')?.details).toMatchObject({ tools: 10 });
    expect(finding(report, 'speed')?.details).toMatchObject({ pings: 10 });
    const [, pings] = [
      report.timeline,
      report.timeline.filter(({ label }) => /^ping \d/.test(label)),
    ];
    expect(pings).toHaveLength(10);
    for (const { startMs, firstByteMs = 0, endMs, connectedMs } of pings) {
      expect(startMs <= firstByteMs && firstByteMs <= endMs).toBe(true);
      // They are warm.
      expect(connectedMs).toBeUndefined();
    }
  });

  it('is described: revision, server, event streams, a session', async () => {
    const { url, requests } = await sandbox({ sessions: true, sse: true });
    const report = await health(url, { env: GOOD });
    expect(finding(report, 'initialize')).toMatchObject({
      line: 'MCP 2025-11-25, event-stream replies, with a session',
      details: { protocolVersion: '2025-11-25', server: 'mcp-latchkey sandbox 1.0.0' },
    });
    // Every id once, and the session is ended.
    const ids = requests.flatMap(({ body }) => (body as { id?: number } | undefined)?.id ?? []);
    expect(new Set(ids).size).toBe(ids.length);
    expect(requests.at(-1)?.method).toBe('DELETE');
  });

  it('is described with its own revision where older clients get it translated', async () => {
    const gateway = await startModernGateway();
    const report = await health(gateway.url);
    expect(finding(report, 'initialize')).toMatchObject({
      line: 'MCP 2026-07-28, translated for older clients, JSON replies',
      details: { protocolVersion: '2026-07-28', server: 'modern 3.2.1', translated: true },
    });
    expect(finding(report, 'tools')?.details).toMatchObject({ tools: 8 });
    // What the proxy answers itself is no measure of the gateway.
    expect(finding(report, 'ping')).toMatchObject({
      line: 'ok (server/discover, MCP 2026-07-28 has no ping)',
      ms: expect.any(Number),
    });
    expect(finding(report, 'speed')).toMatchObject({
      line: expect.stringMatching(/^median request .* \(10 requests\)$/),
      details: { pings: 10, pingedWith: 'server/discover' },
    });
    expect(report.verdict.sentence).toContain('offers 8 tools, median request ');
    expect(JSON.stringify(report.timeline)).not.toContain('"ping');
    // Once without and once with the key to find out the revision, then eleven times.
    expect(gateway.requests('server/discover')).toHaveLength(13);
    expect(gateway.refusals).toEqual([]);
  });

  it('needs no key where the gateway requires none', async () => {
    const { url } = await startGateway((received, response) =>
      answer(
        received,
        response,
        received.message.method === 'tools/list' ? { tools: [{ name: 'echo' }] } : undefined,
      ),
    );
    const report = await health(url);
    expect(finding(report, 'key')?.line).toMatch(/^not found, and not needed/);
  });

  it('is told in lines of 80 columns, without colors or movement where there is no terminal', async () => {
    // So that a ping shows beside a connection that took long.
    const { url } = await sandbox({ latencyMs: 20 });
    const { code, stdout, stderr } = await runToEnd(['doctor', url, '--verbose'], '', GOOD);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).not.toMatch(/\x1b|\r/);
    expect(notPlainEnglish(stdout)).toEqual([]);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(stdout).toMatch(/^✓ authorization {2}granted with the key: HTTP 200/m);
    expect(stdout).toMatch(/^ {2}ping: total +[█▉▊▋▌▍▎▏]/m);
    expect(stdout).toMatch(
      /\n\n✓ Everything works\. 127\.0\.0\.1:\d+ offers 10 tools, median ping/,
    );
  });
});

describe('what is fine', () => {
  it('is one line for each check; --verbose shows every finding', async () => {
    const { url } = await sandbox();
    const { stdout } = await runToEnd(['doctor', url], '', GOOD);
    const lines = stdout.split('\n').filter((line) => line.startsWith('✓ '));
    expect(lines).toHaveLength(9);
    expect(stdout).toMatch(/^✓ protocol +initialize, ping, tools, prompts +\d/m);
    expect(stdout).toMatch(/^✓ route +proxy, tcp +\d/m);
    expect(stdout).not.toMatch(/skipped|█/);
    const verbose = await runToEnd(['doctor', url, '--verbose'], '', GOOD);
    expect(verbose.stdout).toMatch(/^– tls +skipped: /m);
    expect(verbose.stdout).toMatch(/^✓ prompts /m);
  });

  it('does not hide what is wrong, with the reason and code that a client sees', async () => {
    const { url, keys } = await sandbox();
    const env = { MCP_LATCHKEY_API_KEY: keys.revoked };
    const { stdout } = await runToEnd(['doctor', url], '', env);
    expect(stdout).toMatch(/^✗ authorization /m);
    expect(stdout).toContain('Reason: unauthorized, -32012.');
    const { verdict } = await diagnosis(url, { env });
    expect(verdict).toMatchObject({ reason: 'unauthorized', code: -32012 });
  });
});

describe('on a terminal', () => {
  it('hides nothing that the remedy needs; what is for others hides it', async () => {
    const HOME = makeFolder('ada-lovelace-');
    const keyFile = join(HOME, 'the.key');
    const key = newKey();
    writeFileSync(keyFile, key, { mode: 0o644 });
    const report = join(HOME, 'report.html');
    const { url } = await startGateway((received, response) => {
      if (received.message.method !== 'initialize') return answer(received, response);
      response.writeHead(502).end(`db.corp.example refused ${received.headers.authorization}`);
    });
    const command = (...more: string[]) =>
      `'${process.execPath}' '${program}' doctor ${url} --key-file '${keyFile}' ${more.join(' ')}`;
    const screen = startOnTerminal(command(), { HOME });
    expect(await screen.exited).toBe(1);
    const shown = screen.shown.replace(/\x1b\[\d*m/g, '').replace(/\s+/g, '');
    expect(shown).toContain(`chmod600${keyFile}`);
    expect(shown).toContain('toanyoneelse:--report');
    chmodSync(keyFile, 0o600);
    const written = startOnTerminal(command('--report', `'${report}'`, '--verbose'), { HOME });
    expect(await written.exited).toBe(1);
    expect(written.shown).toContain('db.corp.example');
    const page = readFileSync(report, 'utf8');
    expect(page).toContain(JSON.stringify(`the file ~${sep}the.key`).slice(1, -1));
    for (const word of [HOME, 'db.corp.example']) expect(page).not.toContain(word);
    const redacted = startOnTerminal(command('--redact', '--verbose'), { HOME });
    expect(await redacted.exited).toBe(1);
    expect(redacted.shown).not.toContain('db.corp.example');
    for (const text of [screen.shown, written.shown, redacted.shown, page]) {
      expect(text.includes(key), 'a key is there').toBe(false);
    }
  });

  it('says what it is doing, and takes that away again', async () => {
    const { url } = await sandbox({ latencyMs: 50 });
    const terminal = startOnTerminal(`'${process.execPath}' '${program}' doctor ${url}`, GOOD);
    expect(await terminal.exited).toBe(0);
    expect(terminal.shown).toContain('Measuring speed …\r\x1b[K');
    expect(terminal.shown).toContain('\x1b[32m✓\x1b[39m authorization');
    const lines = terminal.shown.split('\n').map((line) => line.split('\x1b[K').at(-1) ?? '');
    expect(lines.filter((line) => /…$/.test(line.trim()))).toEqual([]);
  });

  it('uses no color under NO_COLOR', async () => {
    const { url } = await sandbox();
    const env = { ...GOOD, NO_COLOR: '1' };
    const terminal = startOnTerminal(`'${process.execPath}' '${program}' doctor ${url}`, env);
    expect(await terminal.exited).toBe(0);
    expect(terminal.shown).toContain('✓ authorization');
    expect(terminal.shown).not.toContain('\x1b[32m');
  });
});

describe('--json', () => {
  const schema = readFileSync(new URL('../../docs/doctor.schema.json', import.meta.url), 'utf8');
  const validate = new AjvJsonSchemaValidator().getValidator(JSON.parse(schema));

  it('keeps to docs/doctor.schema.json, healthy or not', async () => {
    const { url, origin, keys } = await sandbox();
    for (const [words, env] of [
      [[url], GOOD],
      [[url], { MCP_LATCHKEY_API_KEY: keys.revoked }],
      [[`${origin}/elsewhere`], GOOD],
      [['https://127.0.0.1:1/v1/mcp'], GOOD],
      [[], { HOME: makeFolder('home-') }],
    ] as const) {
      const { report } = await doctorReport([...words], { env });
      expect(validate(report)).toMatchObject({ valid: true });
      expect(validate({ ...report, healthy: 'yes' })).toMatchObject({ valid: false });
    }
  });
});

describe('a command line that cannot be followed', () => {
  it.each([
    [['http://gateway.example/v1/mcp'], /is unencrypted and would expose the API key/],
    [['gateway'], /Expected a URL that starts with https:/],
    [['https://gateway.example/v1/mcp', '--frob'], /Unknown option --frob/],
    [
      ['https://gateway.example/v1/mcp', '--timeout', 'soon'],
      /--timeout must be a number of seconds/,
    ],
  ])('ends with 2: %s', async (words, message) => {
    const { code, stdout, stderr } = await runToEnd(['doctor', ...words]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
  });
});

describe.skipIf(missing !== undefined)(
  `with a keychain${missing ? ` (no ${missing})` : ''}`,
  () => {
    it('takes the key from it; says that it is locked', async () => {
      const service: SecretService = await startSecretService();
      onTestFinished(() => service.stop());
      const gateway = await startKeyedGateway();
      const key = newKey();
      gateway.accepted.add(key);
      await runToEnd(['login', gateway.url], key, service.env);
      const report = await health(gateway.url, { env: service.env });
      expect(finding(report, 'key')).toMatchObject({ details: { source: 'keychain' } });
      await service.lock();
      const locked = await diagnosis(gateway.url, { env: service.env });
      expect(locked.verdict).toMatchObject({ finding: 'key', reason: 'no_api_key' });
      expect(locked.verdict.sentence).toContain('the keychain is locked');
      expect(finding(locked, 'authorization')).toMatchObject({ line: 'no key' });
    });
  },
);

describe('what is private', () => {
  it('keeps keys out of everything, also where the gateway repeats them', async () => {
    const key = secret('an-echoed-key-0123456789');
    const { url } = await startGateway((received, response) => {
      const said = received.headers.authorization ?? 'no key';
      if (received.message.method === 'initialize') {
        const serverInfo = { name: said, version: said };
        answer(received, response, { protocolVersion: said, capabilities: {}, serverInfo });
      } else if (received.message.method === 'tools/list') {
        answer(received, response, { tools: [{ name: `${said}_x` }] });
      } else if (received.message.id !== undefined) {
        const error = { code: -32603, message: said };
        sendJson(response, { jsonrpc: '2.0', id: received.message.id, error });
      } else answer(received, response);
    });
    const file = join(makeFolder('report-'), 'report.html');
    for (const words of [[], ['--no-redact'], ['--json'], ['--json', '--no-redact']]) {
      const env = { MCP_LATCHKEY_API_KEY: key };
      const { stdout } = await runToEnd(['doctor', url, ...words, '--report', file], '', env);
      expect(stdout).toContain('[secret]');
      expectNoSecret(readFileSync(file, 'utf8'));
    }
    await runToEnd(['doctor', url, '-H', `X-Api-Key: ${key}`]);
  });

  it('masks homes and other hosts than the gateway; --no-redact shows them', async () => {
    const HOME = makeFolder('ada-lovelace-');
    const keyFile = join(HOME, 'the.key');
    writeFileSync(keyFile, sandboxKeys.good, { mode: 0o600 });
    const { url } = await startGateway((received, response) => {
      if (received.target.startsWith('/.well-known/')) {
        sendJson(response, { resource: 'https://intranet-7.corp.example/mcp' });
      } else {
        response.writeHead(502, { 'content-type': 'application/json' });
        response.end('{"error":"db.corp.example at 10.11.12.13 or fd00::17 refused"}');
      }
    });
    const env = { HOME, HTTPS_PROXY: 'http://ada:hunter22@proxy.corp.example:3128' };
    const args = [url, '--key-file', keyFile];
    const masked = JSON.stringify(await diagnosis(url, { env, args: args.slice(1) }));
    expect(masked).toContain(JSON.stringify(`the file ~${sep}the.key`).slice(1, -1));
    expect(masked).toContain('https://[host-1]/mcp');
    expect(masked).toContain('[host-2] at [address-1] or [address-2] refused');
    for (const word of [basename(HOME), 'corp.example', '10.11.12.13', 'fd00::17', 'hunter22']) {
      expect(masked).not.toContain(word);
    }
    const text = await runToEnd(['doctor', ...args], '', env);
    expect(text.stdout).toContain('use --no-redact.');
    const shown = JSON.stringify(
      await diagnosis(url, { env, args: [...args.slice(1), '--no-redact'] }),
    );
    for (const word of [
      JSON.stringify(keyFile).slice(1, -1),
      'intranet-7.corp.example',
      '10.11.12.13',
      'fd00::17',
    ]) {
      expect(shown).toContain(word);
    }
    expect(shown).not.toContain('hunter22');
  });

  it('masks the HTTP proxy of this computer', async () => {
    const env = { ...GOOD, HTTPS_PROXY: 'http://proxy.no-such-corp.invalid:3128' };
    const report = await diagnosis('https://gateway.example/v1/mcp', { env });
    expect(report.verdict).toMatchObject({ finding: 'proxy', cause: 'proxy' });
    expect(report.verdict.sentence).toContain('the HTTP proxy [proxy] is not responding');
    expect(finding(report, 'proxy')?.line).toContain('the HTTP proxy [proxy]');
    expect(JSON.stringify(report)).not.toContain('no-such-corp');
  });
});

describe('--report', () => {
  it('writes a page for the user alone, with everything that the gateway said escaped', async () => {
    const hostile = `<img src=x onerror=alert(1)>"'&</style><script>alert(2)</script>`;
    const { url } = await startGateway((received, response) => {
      if (received.message.method !== 'initialize') return answer(received, response);
      const error = { code: -32603, message: hostile };
      sendJson(response, { jsonrpc: '2.0', id: received.message.id, error });
    });
    const file = join(makeFolder('report-'), 'report.html');
    await runToEnd(['doctor', '--report', file], '', { HOME: makeFolder('home-') });
    chmodSync(file, 0o644);
    const { code, stderr } = await runToEnd(['doctor', url, '--report', file], '', GOOD);
    expect({ code, stderr }).toEqual({ code: 1, stderr: `Report written to ${file}\n` });
    expectMode(file, 0o600);
    const page = readFileSync(file, 'utf8');
    expect(page).toContain('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;&lt;/style&gt;');
    expect(page).not.toMatch(/<script|<img|<link(?! rel="icon" href="data:,")|@import|url\(/i);
  });

  it.each([
    ['notes', 'mcp-latchkey doctor\n'],
    ['a page of trace', '<!doctype html>\n<html lang="en">\n<title>mcp-latchkey trace</title>'],
    ['a page that is cut off', '<!doctype html>\n<html lang="en">'],
  ])('leaves %s as it is', async (_, text) => {
    const HOME = makeFolder('home-');
    const file = join(HOME, 'mine.html');
    writeFileSync(file, text, { mode: 0o644 });
    const { code, stderr } = await runToEnd(['doctor', '--report', file], '', { HOME });
    expect(code).toBe(1);
    expect(stderr.replace(/\s+/g, ' ')).toBe(
      `✗ ${file} is already there, and is not an earlier report of doctor. Move it away, or use another file name. `,
    );
    expect(readFileSync(file, 'utf8')).toBe(text);
    expectMode(file, 0o644);
  });

  it('fills an empty file', async () => {
    const HOME = makeFolder('home-');
    const file = join(HOME, 'empty.html');
    writeFileSync(file, '');
    await runToEnd(['doctor', '--report', file], '', { HOME });
    expect(readFileSync(file, 'utf8')).toContain('<title>mcp-latchkey doctor</title>');
  });

  it('says that the file cannot be written, and fails', async () => {
    const { url } = await sandbox();
    const file = '/no/such/folder/report.html';
    const { code, stderr } = await runToEnd(['doctor', url, '--report', file], '', GOOD);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^✗ Cannot write /);
  });
});

describe('without a URL', () => {
  /** Where a client keeps its config below this home. */
  async function configOf(home: string, client: string): Promise<string> {
    const { stdout } = await runToEnd(['install', '--list', '--json'], '', { HOME: home });
    const file = String((JSON.parse(stdout) as Json[]).find((own) => own.client === client)?.file);
    expect(file.startsWith(home)).toBe(true);
    mkdirSync(client === 'claude-code' ? join(home, '.claude') : dirname(file), {
      recursive: true,
    });
    return file;
  }

  it('says that there is nothing to examine, and how to go on', async () => {
    const { code, stdout } = await runToEnd(['doctor'], '', { HOME: makeFolder('home-') });
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^No client on this computer uses mcp-latchkey\. .*:\n {2}.*install CLIENT URL$/m,
    );
    expect(stdout).toMatch(/^ {2}.*doctor URL$/m);
  });

  it.each(['claude-desktop', 'cursor', 'vscode', 'windsurf', 'claude-code', 'codex'])(
    'examines what `install` wrote for %s',
    async (client) => {
      const HOME = makeFolder('home-');
      const file = await configOf(HOME, client);
      const { url } = await sandbox();
      const keyFile = join(HOME, 'key');
      writeFileSync(keyFile, sandboxKeys.linearOnly, { mode: 0o600 });
      const words = ['install', client, url, '--key-file', keyFile, '--no-verify'];
      expect(await runToEnd(words, '', { HOME })).toMatchObject({ code: 0 });
      expect(existsSync(file)).toBe(true);
      const { code, report } = await doctorReport([], { env: { HOME } });
      expect(code).toBe(0);
      expect(report.gateways).toHaveLength(1);
      const [gateway] = report.gateways;
      expect(gateway).toMatchObject({
        url,
        verdict: { healthy: true },
        configuredIn: { entry: 'local-gateway', file: file.replace(HOME, '~') },
      });
      expect(finding(gateway as NonNullable<typeof gateway>, 'tools')?.line).toBe(
        '3 tools: linear 3',
      );
    },
  );

  it('examines several in turn, each by its own options and variables', async () => {
    const HOME = makeFolder('home-');
    const { url, keys } = await sandbox();
    const entry = (args: string[], env: Json = {}) => ({
      command: process.execPath,
      args: [program, ...args],
      env,
    });
    const cursor = {
      other: { command: 'npx', args: ['-y', 'some-server', url] },
      works: entry([url, '--key-env', 'MY_KEY'], { MY_KEY: keys.good }),
      'wrong-key': entry([url], { MCP_LATCHKEY_API_KEY: keys.revoked }),
      'wrong-option': entry([url, '--frobnicate']),
    };
    writeFileSync(await configOf(HOME, 'cursor'), JSON.stringify({ mcpServers: cursor }));
    const vscode = { asks: entry([url], { MCP_LATCHKEY_API_KEY: '${input:key}' }) };
    writeFileSync(await configOf(HOME, 'vscode'), JSON.stringify({ servers: vscode }));
    writeFileSync(await configOf(HOME, 'codex'), '[mcp_servers\n');

    const { code, report } = await doctorReport([], { env: { HOME } });
    expect(code).toBe(1);
    const verdicts = report.gateways.map(({ configuredIn, verdict }) => [
      configuredIn?.entry,
      verdict.healthy,
      verdict.reason,
    ]);
    expect(verdicts).toEqual([
      ['works', true, undefined],
      ['wrong-key', false, 'unauthorized'],
      ['wrong-option', false, 'misconfigured'],
      ['asks', true, undefined],
    ]);
    expect(report.gateways[3]?.verdict.sentence).toContain('The other checks need the key');
    expect(report.unread).toEqual([
      { client: 'Codex', file: `~${sep}${join('.codex', 'config.toml')}`, why: expect.any(String) },
    ]);

    const { stdout } = await runToEnd(['doctor'], '', { HOME });
    expect(stdout.split('\n').slice(0, 5)).toEqual([
      'Cursor: works',
      expect.stringMatching(/^http:/),
      `~${sep}${join('.cursor', 'mcp.json')}`,
      '',
      expect.stringMatching(/^✓ machine/),
    ]);
    expect(stdout).toContain('\nCursor: wrong-key\n');
    expect(stdout).toContain(`Codex: cannot read ~${sep}${join('.codex', 'config.toml')}`);
  });

  describe('sees what the client does, where everything works in this terminal', () => {
    /** A home with one entry in a client's config, which `change` may damage. */
    async function entryOf(client: string, entry: Json, change = (text: string) => text) {
      const HOME = makeFolder('home-');
      const file = await configOf(HOME, client);
      writeFileSync(file, change(JSON.stringify({ mcpServers: { acme: entry } }, null, 2)));
      return { HOME };
    }
    const started = (url: string, ...args: string[]) => ({
      command: process.execPath,
      args: [program, url, ...args],
    });

    it('a trailing comma in the config of Claude Desktop, and a byte order mark', async () => {
      const { url, keys } = await sandbox();
      const entry = { ...started(url), env: { MCP_LATCHKEY_API_KEY: keys.good } };
      for (const [change, why] of [
        [(text: string) => text.replace(/}\s*$/, ',}'), 'a trailing comma at line'],
        [(text: string) => `\ufeff${text}`, 'a byte order mark'],
      ] as const) {
        const env = await entryOf('claude-desktop', entry, change);
        const { code, report } = await doctorReport([], { env });
        expect(code).toBe(1);
        const { verdict } = report.gateways[0] as GatewayReport;
        expect(verdict).toMatchObject({ healthy: false, check: 'client', finding: 'config' });
        expect(verdict.sentence).toContain(why);
        expect(verdict.sentence).toContain('Claude Desktop loads no server');
      }
    });

    it.each([
      ['claude-code', ',}', 'Claude Code loads no server from its config: it has a trailing comma'],
      ['claude-code', '} // x', 'Claude Code loads no server from its config: it has a comment'],
      ['cline', '} // x', 'Cline'],
      ['github-copilot-cli', ',}', 'it has a trailing comma'],
      ['gemini-cli', ',}', 'Gemini CLI loads no server from its config: it has a trailing comma'],
      ['gemini-cli', '} // x', undefined],
      // Nothing says how strict it is.
      ['windsurf', ',}', undefined],
    ])('what the reader of %s makes of a config that ends in %s', async (client, end, why) => {
      const { url, keys } = await sandbox();
      const entry = { ...started(url), env: { MCP_LATCHKEY_API_KEY: keys.good } };
      const env = await entryOf(client, entry, (text) => text.replace(/}\s*$/, end));
      const { report } = await doctorReport([], { env });
      const { verdict } = report.gateways[0] as GatewayReport;
      expect(verdict.finding).toBe(why === undefined ? undefined : 'config');
      if (why !== undefined) expect(verdict.sentence).toContain(why);
    });

    it('a key in plain text, which is named and not shown', async () => {
      const { url, keys } = await sandbox();
      const [MCP_LATCHKEY_API_KEY, tenant] = [secret(keys.good), secret('tenant-7f3a9c51d2')];
      const entry = {
        ...started(url, '-H', `X-Tenant-Token: ${tenant}`, '--header=X-Trace-Token: @{TRACE}'),
        env: { MCP_LATCHKEY_API_KEY, OTHER_TOKEN: '${input:other}', TRACE: 'x' },
      };
      const { code, report } = await doctorReport([], { env: await entryOf('cursor', entry) });
      expect(code).toBe(0);
      const found = finding(report.gateways[0] as GatewayReport, 'plain-key');
      expect(found).toMatchObject({
        status: 'warn',
        details: { in: ['MCP_LATCHKEY_API_KEY', 'X-Tenant-Token'] },
      });
      expect(found?.line).toContain(`mcp-latchkey login ${url}`);
    });

    it('what Claude Desktop has logged about it, without what is private', async () => {
      const { url, keys } = await sandbox();
      const key = secret(keys.good);
      const entry = { ...started(url), env: { MCP_LATCHKEY_API_KEY: key } };
      const { HOME } = await entryOf('claude-desktop', entry);
      const own = { client: 'Claude Desktop', entry: 'acme' };
      const file = await configOf(HOME, 'claude-desktop');
      const { platform } = process;
      const log = String(clientLogFile({ ...own, file }, { platform, home: HOME }));
      mkdirSync(dirname(log), { recursive: true });
      writeFileSync(
        log,
        `[acme] spawn ${HOME}/node ENOENT\n[acme] key ${key} at db.corp.example\n`,
      );
      const page = join(HOME, 'report.html');
      const { report } = await doctorReport([], { env: { HOME } });
      expect(report.gateways[0]?.clientLog).toEqual([
        '[acme] spawn ~/node ENOENT',
        '[acme] key [secret] at [host-1]',
      ]);
      await runToEnd(['doctor', '--report', page], '', { HOME });
      const html = readFileSync(page, 'utf8');
      expect(html).toContain('<h3>Log of Claude Desktop</h3>');
      expect(html).toContain('[acme] spawn ~/node ENOENT');
      expectNoSecret(html);
    });

    it('a config that is damaged, beside an entry that works', async () => {
      const { url, keys } = await sandbox();
      const entry = { ...started(url), env: { MCP_LATCHKEY_API_KEY: keys.good } };
      const { HOME } = await entryOf('cursor', entry);
      const damaged = await configOf(HOME, 'windsurf');
      writeFileSync(damaged, JSON.stringify({ mcpServers: { acme: entry } }).slice(0, -2));
      const { code, report } = await doctorReport([], { env: { HOME } });
      expect({ code, healthy: report.healthy }).toEqual({ code: 1, healthy: false });
      expect(report.gateways.map(({ verdict }) => verdict.healthy)).toEqual([true]);
      expect(report.unread).toMatchObject([{ client: 'Windsurf', namesProgram: true }]);
      const { stdout } = await runToEnd(['doctor'], '', { HOME });
      expect(stdout.replace(/\s+/g, ' ')).toContain(
        `✗ Windsurf: ~${sep}${join('.codeium', 'windsurf', 'mcp_config.json')}`,
      );
      // One that has nothing to do with this program is only mentioned.
      writeFileSync(damaged, '{"mcpServers": {');
      expect(await doctorReport([], { env: { HOME } })).toMatchObject({ code: 0 });
    });

    it('a command that is not there', async () => {
      const { url, keys } = await sandbox();
      const env = { MCP_LATCHKEY_API_KEY: keys.good };
      const entry = { ...started(url), command: '/no/such/node', env };
      const { code, report } = await doctorReport([], { env: await entryOf('cursor', entry) });
      expect(code).toBe(1);
      const { verdict } = report.gateways[0] as GatewayReport;
      expect(verdict).toMatchObject({ healthy: false, check: 'client', finding: 'start' });
      expect(verdict.sentence).toContain('Cursor cannot start acme: could not start it');
      expect(verdict.sentence).toContain('/no/such/node');
    });

    it('a program that ends at once, as under an old Node.js', async () => {
      const { url, keys } = await sandbox();
      const program = `console.error('needs Node.js 20.19'); process.exit(1)`;
      const args = ['-e', program, 'mcp-latchkey.js', url];
      const entry = { ...started(url), args, env: { MCP_LATCHKEY_API_KEY: keys.good } };
      const { report } = await doctorReport([], { env: await entryOf('cursor', entry) });
      const { verdict } = report.gateways[0] as GatewayReport;
      expect(verdict.sentence).toContain('it exited immediately (1): needs Node.js 20.19');
    });

    it.skipIf(missing !== undefined)('a keychain that only the terminal reaches', async () => {
      const service = await startSecretService();
      onTestFinished(() => service.stop());
      const { url, keys } = await sandbox();
      const { HOME } = await entryOf('cursor', started(url));
      const env = { ...service.env, HOME };
      await runToEnd(['login', url], keys.good, env);
      const { report } = await doctorReport([], { env });
      const { verdict } = report.gateways[0] as GatewayReport;
      expect(verdict).toMatchObject({ healthy: false, reason: 'no_api_key', finding: 'start' });
      expect(verdict.sentence).toContain('Cursor cannot reach the keychain');
      expect(verdict.remedy).toContain('--key-command');
    });

    it('a key that only the terminal has', async () => {
      const { url, keys } = await sandbox();
      const { HOME } = await entryOf('cursor', started(url));
      const env = { HOME, MCP_LATCHKEY_API_KEY: keys.good };
      const { code, report } = await doctorReport([], { env });
      expect(code).toBe(1);
      const { verdict, findings } = report.gateways[0] as GatewayReport;
      expect(findings.find(({ name }) => name === 'authorization')?.status).toBe('ok');
      expect(verdict).toMatchObject({ healthy: false, reason: 'no_api_key', finding: 'start' });
      expect(verdict.sentence).toContain('set in this terminal only');
      expect(JSON.stringify(report)).not.toContain(keys.good);
    });
  });

  it('examines one client, by its name', async () => {
    const HOME = makeFolder('home-');
    const { url, keys } = await sandbox();
    const env = { MCP_LATCHKEY_API_KEY: keys.good };
    const mcpServers = { acme: { command: process.execPath, args: [program, url], env } };
    for (const client of ['cursor', 'windsurf']) {
      writeFileSync(await configOf(HOME, client), JSON.stringify({ mcpServers }));
    }
    const { code, report } = await doctorReport(['cursor'], { env: { HOME } });
    expect(code).toBe(0);
    expect(report.gateways.map(({ configuredIn }) => configuredIn?.client)).toEqual(['Cursor']);
    const unknown = await runToEnd(['doctor', 'curser'], '', { HOME });
    expect(unknown.code).toBe(2);
    expect(unknown.stderr.replace(/\s+/g, ' ')).toContain('Did you mean cursor?');
  });

  it('names the two of fourteen entries in ten clients that are broken', async () => {
    const HOME = makeFolder('home-');
    const { url, keys } = await sandbox();
    const env = { MCP_LATCHKEY_API_KEY: keys.good };
    const works = { command: process.execPath, args: [program, url], env };
    const clients = (
      JSON.parse((await runToEnd(['install', '--list', '--json'], '', { HOME })).stdout) as Json[]
    )
      .map(({ client }) => String(client))
      .filter((client) => TEN.includes(client));
    expect(clients).toHaveLength(10);
    for (const [index, client] of clients.entries()) {
      const entries = index < 4 ? { one: works, two: works } : { one: works };
      const broken = { ...works, command: '/no/such/node' };
      const all = index === 1 || index === 7 ? { ...entries, one: broken } : entries;
      writeFileSync(await configOf(HOME, client), JSON.stringify({ mcpServers: all }));
    }
    const { code, stdout } = await runToEnd(['doctor'], '', { HOME });
    expect(code).toBe(1);
    const table = stdout.slice(stdout.indexOf('2 of 14 entries have problems'));
    expect(table.match(/^✗ .*: one/gm)).toHaveLength(2);
    expect(table.match(/^✓ /gm)).toHaveLength(12);
  }, 90_000);
});

/** Clients whose configs are JSON with `mcpServers`. */
const TEN = [
  ...['antigravity', 'claude-code', 'claude-desktop', 'cline', 'cline-cli', 'cursor'],
  ...['gemini-cli', 'github-copilot-cli', 'mcporter', 'windsurf'],
];
