import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, type Respond, sendJson, startGateway } from './loopback-gateway.ts';
import { program, runToEnd } from './running-proxy.ts';
import {
  type Keychain,
  missingForKeychain,
  startKeychain,
  statusInJson,
} from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const missing = await missingForKeychain();
const skipped = missing === undefined ? '' : ` (skipped: ${missing} is not here)`;

describe.skipIf(missing !== undefined)(`login${skipped}`, () => {
  let service: Keychain;
  beforeAll(async () => {
    service = await startKeychain();
  });
  afterAll(() => service.stop());

  const run = (args: string[], input: string, env: Record<string, string> = {}) =>
    runToEnd(args, input, { ...service.env, ...env });

  /** The accounts stored for a URL, as `status` says. */
  async function storedFor(url: string): Promise<string[]> {
    const json = await statusInJson(() => run(['status', url, '--json'], ''));
    return (json.stored as { account: string }[]).map(({ account }) => account);
  }

  const status =
    (code: number, body = '{}'): Respond =>
    (_, response) =>
      response.writeHead(code, { 'content-type': 'application/json' }).end(body);

  const trials: {
    name: string;
    respond: Respond;
    outcome: string;
    stores: boolean;
    says: RegExp;
  }[] = [
    {
      name: 'a key that works',
      respond: answer,
      outcome: 'works',
      stores: true,
      says: /The key works\. 127\.0\.0\.1:\d+ offers 0 tools\./,
    },
    {
      name: 'a key that is rejected',
      respond: status(401, '{"error":"Unauthorized"}'),
      outcome: 'rejected',
      stores: false,
      says: /127\.0\.0\.1:\d+ rejected this key \(HTTP 401\)\. Check that you copied all of it/,
    },
    {
      name: 'a key that lacks the entitlement',
      respond: status(403),
      outcome: 'forbidden',
      stores: true,
      says: /HTTP 403.*is valid.*Personal API Key Access/,
    },
    {
      name: 'a gateway that fails',
      respond: status(404),
      outcome: 'failed',
      stores: false,
      says: /HTTP 404.*is not an MCP endpoint.*The key was not tested\. Pass --force to store it/,
    },
    {
      name: 'a gateway that answers with an error of its own',
      respond: (received, response) => {
        if (received.message.method !== 'tools/list') return answer(received, response);
        const error = { code: -32000, message: 'out of \u001b[31mtools' };
        sendJson(response, { jsonrpc: '2.0', id: received.message.id, error });
      },
      outcome: 'error',
      stores: true,
      says: /The key was accepted, but listing the tools failed: out of tools/,
    },
  ];

  it.each(trials)('says what it found of $name', async ({ respond, outcome, stores, says }) => {
    const gateway = await startGateway(respond);
    const [{ code, stdout, stderr }, json] = await Promise.all([
      run(['login', gateway.url], newKey()),
      run(['login', gateway.url, '--account', 'j', '--json'], newKey()),
    ]);
    const [said, silent] = stores ? [stdout, stderr] : [stderr, stdout];
    expect(said.replace(/\s+/g, ' ')).toMatch(says);
    expect(said).toContain(stores ? 'Stored in the keychain' : 'Nothing was stored.');
    expect(silent).toBe('');
    for (const line of said.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    expect(said).not.toMatch(/[^\n\P{Cc}]/u);
    expect(code).toBe(stores ? 0 : 1);
    expect(json).toMatchObject({ code, stderr: '' });
    expect(JSON.parse(json.stdout)).toMatchObject({
      gateway: gateway.url,
      account: 'j',
      stored: stores,
      outcome,
      message: expect.stringMatching(says),
      tail: 'cret',
    });
    expect(await storedFor(gateway.url)).toEqual(stores ? ['default', 'j'] : []);
  });

  it.each<[string, (key: string) => Respond]>([
    [
      'a challenge',
      (key) => (_, response) => {
        const said = `Bearer error="invalid_token", error_description="The key ${key} is revoked"`;
        response.writeHead(401, { 'www-authenticate': said }).end();
      },
    ],
    ['the body of a 401', (key) => status(401, `{"message":"no key ${key.toUpperCase()}"}`)],
    ['the body of a 500', (key) => status(500, `{"message":"no key ${encodeURIComponent(key)}"}`)],
    [
      'an error of its own',
      (key) => (received, response) => {
        if (received.message.method !== 'tools/list') return answer(received, response);
        const error = { code: -32000, message: `no tools for ${key}` };
        sendJson(response, { jsonrpc: '2.0', id: received.message.id, error });
      },
    ],
  ])('does not show the key that the gateway quotes in %s', async (_, quote) => {
    const key = newKey();
    const gateway = await startGateway(quote(key));
    const { stdout, stderr } = await run(['login', gateway.url], key);
    const said = `${stdout}${stderr}`.replaceAll('\n', ' ');
    expect(said).toContain('[secret]');
    expect(said.toLowerCase()).not.toContain(key);
    const after = await run(['status', gateway.url], '');
    expect(after.stdout + after.stderr).not.toContain(key);
  });

  it('counts the tools of every page', async () => {
    const gateway = await startGateway((received, response) => {
      const { method, params } = received.message as { method?: string; params?: object };
      const isFirst = method === 'tools/list' && !(params && 'cursor' in params);
      const tools = [{ name: 'a', inputSchema: {} }];
      answer(received, response, isFirst ? { tools, nextCursor: '2' } : { tools });
    });
    const { stdout } = await run(['login', gateway.url, '--json'], newKey());
    expect(JSON.parse(stdout)).toMatchObject({ outcome: 'works', tools: 2 });
  });

  it('stores a key that could not be tested with --force only, and says that it was not', async () => {
    const gateway = await startGateway(answer);
    await gateway.close();
    const { code, stderr } = await run(['login', gateway.url], newKey());
    expect(stderr).toMatch(/^. Cannot reach the gateway: /);
    expect(stderr.replaceAll('\n', ' ')).toContain('The key was not tested. Pass --force to store');
    expect(code).toBe(1);
    expect(await storedFor(gateway.url)).toEqual([]);
    const forced = await run(['login', gateway.url, '--force'], newKey());
    expect(forced.stdout.replaceAll('\n', ' ')).toMatch(
      /^. Cannot reach the gateway: .*The key was not tested/,
    );
    expect(forced.stdout).toContain('Stored');
    expect(forced.code).toBe(0);
    expect(await storedFor(gateway.url)).toEqual(['default']);
  });

  it('says when it replaces a key, and which', async () => {
    const gateway = await startGateway(answer);
    const login = (key: string, ...more: string[]) =>
      run(['login', gateway.url, '--no-verify', ...more], key);
    const first = await login(newKey());
    expect(first.stdout).not.toContain('replace');
    const second = await login(newKey());
    expect(second.stdout).toMatch(/It replaces the previous key \(ends in cret\)\./);
    const json = JSON.parse((await login('short-key-of-mine', '--json')).stdout);
    expect(json).toMatchObject({ stored: true, replaced: { tail: 'cret' }, tail: 'mine' });
    const same = await login('short-key-of-mine');
    expect(same.stdout).toContain('This key was already stored.');
    const other = await login(newKey(), '--account', 'other');
    expect(other.stdout).not.toContain('replace');
  });

  it('stores a rejected key with --force, and tries none with --no-verify', async () => {
    const gateway = await startKeyedGateway();
    const forced = await run(['login', gateway.url, '--force', '--account', 'a'], newKey());
    expect(forced.code).toBe(0);
    expect(forced.stdout).toContain('rejected this key');
    const requests = gateway.received.length;
    const untried = await run(['login', gateway.url, '--no-verify', '--account', 'b'], newKey());
    expect(untried.code).toBe(0);
    expect(untried.stdout).toContain('The key was not tested.');
    expect(gateway.received).toHaveLength(requests);
    expect(await storedFor(gateway.url)).toEqual(['a', 'b']);
  });

  it('keeps the key that was there when the new one is rejected', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    await run(['login', gateway.url], key);
    expect((await run(['login', gateway.url], newKey())).code).toBe(1);
    expect((await run(['status', gateway.url], '')).code).toBe(0);
    expect(await storedFor(gateway.url)).toEqual(['default']);
  });

  it.each([
    ['nothing', '', 'no-key'],
    ['white space', ' \n\t ', 'no-key'],
    ['two words', 'two words of a key', 'malformed'],
    ['two lines', 'line-one\nline-two', 'malformed'],
    ['quotes that an editor made', '“curly-quoted-key”', 'malformed'],
    ['a control character', 'some\u0007key', 'malformed'],
  ])('refuses %s', async (_, input, outcome) => {
    const gateway = await startGateway(answer);
    const { code, stdout } = await run(['login', gateway.url, '--json'], input);
    expect(JSON.parse(stdout)).toMatchObject({ stored: false, outcome });
    expect(code).toBe(1);
    // But for the question whether it offers sign-in.
    expect(gateway.received.some(({ headers }) => headers.authorization)).toBe(false);
  });

  it('sends the key bare in the header of --key-header, and no key of --header with it', async () => {
    const key = newKey();
    const gateway = await startGateway(answer);
    const { code } = await run(
      ['login', '--key-header', 'X-Api-Key', '-H', 'X-Tenant: t', gateway.url],
      key,
      { MCP_LATCHKEY_HEADER: 'X-Api-Key: another' },
    );
    expect(code).toBe(0);
    expect(gateway.received.length).toBeGreaterThan(1);
    for (const { headers } of gateway.received) {
      expect(headers).toMatchObject({ 'x-api-key': key, 'x-tenant': 't' });
      expect(headers).not.toHaveProperty('authorization');
    }
  });

  it('needs --allow-http beyond this computer, and accepts no key on the command line', async () => {
    const plain = await run(['login', 'http://gateway.example/v1/mcp'], newKey());
    expect(plain).toMatchObject({ code: 2, stdout: '' });
    expect(plain.stderr).toContain('--allow-http');
    for (const args of [
      ['login', 'https://gateway.example/v1/mcp', newKey()],
      ['logout', 'https://gateway.example/v1/mcp', newKey()],
      ['status', 'https://gateway.example/v1/mcp', newKey()],
      ['https://gateway.example/v1/mcp', newKey()],
    ]) {
      const { code, stderr } = await run(args, '');
      expect(code).toBe(2);
      expect(stderr).toMatch(/key/);
    }
    const typo = await run(['login', 'https://gateway.example/', '--acount', 'x'], newKey());
    expect(typo.stderr).toContain('Unknown option --acount');
  });

  describe.skipIf(process.platform === 'win32')('on a terminal', () => {
    const login = (url: string, ...more: string[]) =>
      startOnTerminal(
        `stty -a >$HOME/before; '${process.execPath}' '${program}' login ${url} ${more.join(' ')}; code=$?; stty -a >$HOME/after; cmp $HOME/before $HOME/after && echo same terminal; exit $code`,
        service.env,
      );

    it('asks without showing what is typed, and takes a pasted line end', async () => {
      const gateway = await startKeyedGateway();
      const key = newKey();
      gateway.accepted.add(key);
      const terminal = login(gateway.url);
      await terminal.until('(hidden): ');
      terminal.type('mistyped\x15\x1b[A');
      terminal.type(`Bearer ${key}x\x7f`);
      terminal.type('\r');
      expect(await terminal.exited).toBe(0);
      expect(terminal.shown).toContain('The key works');
      expect(terminal.shown).toContain('same terminal');
      expect(terminal.shown).not.toContain('mistyped');
      expect(terminal.shown).not.toContain('*');
      expect(await storedFor(gateway.url)).toEqual(['default']);
    });

    it('shows how many characters have arrived, before Enter', async () => {
      const gateway = await startKeyedGateway();
      const key = newKey();
      gateway.accepted.add(key);
      const terminal = login(gateway.url);
      await terminal.until('(hidden): ');
      terminal.type(`\x1b[200~${key}\x1b[201~`);
      await terminal.until(`${key.length} characters`);
      terminal.type('\x7f');
      await terminal.until(`${key.length - 1} characters`);
      terminal.type(`\x15`);
      await terminal.until(' '.repeat(`${key.length - 1} characters`.length));
      terminal.type(`${key}\r`);
      expect(await terminal.exited).toBe(0);
      expect(terminal.shown).toContain('The key works');
      expect(terminal.shown).toContain('same terminal');
    });

    it.each([
      ['y\r', ['default'], 0],
      ['\r', [], 1],
      ['\x03', [], 1],
    ])('asks whether to store a key that could not be tested: %j', async (keys, stored, code) => {
      const gateway = await startGateway(status(404));
      const terminal = login(gateway.url);
      await terminal.until('(hidden): ');
      terminal.type(`${newKey()}\r`);
      await terminal.until('Store it without a test? [y/N] ');
      terminal.type(keys);
      expect(await terminal.exited).toBe(code);
      expect(terminal.shown).toContain('same terminal');
      expect(await storedFor(gateway.url)).toEqual(stored);
    });

    it.each([
      ['Ctrl-C', '\x03'],
      ['Ctrl-D', '\x04'],
    ])('leaves nothing behind after %s', async (_, keys) => {
      const gateway = await startGateway(answer);
      const terminal = login(gateway.url);
      await terminal.until('(hidden): ');
      if (keys === '\x03') terminal.type(newKey());
      terminal.type(keys);
      expect(await terminal.exited).toBe(130);
      expect(terminal.shown).toContain('Nothing was stored.');
      expect(terminal.shown).toContain('same terminal');
      // But for the question whether it offers sign-in.
      expect(gateway.received.some(({ headers }) => headers.authorization)).toBe(false);
      expect(await storedFor(gateway.url)).toEqual([]);
    });

    it('uses color, but not under NO_COLOR', async () => {
      const gateway = await startGateway(answer);
      const shown = [];
      for (const noColor of ['', '1']) {
        const terminal = startOnTerminal(
          `${noColor && 'NO_COLOR=1 '}'${process.execPath}' '${program}' login ${gateway.url}`,
          service.env,
        );
        await terminal.until('(hidden): ');
        terminal.type(`${newKey()}\n`);
        await terminal.exited;
        shown.push(terminal.shown.includes('\x1b['));
      }
      expect(shown).toEqual([true, false]);
    });
  });
});
