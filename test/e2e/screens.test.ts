import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { isWine } from '../environment.ts';
import { notPlainEnglish } from '../plain-english.ts';
import { RunningProxy, runToEnd } from './running-proxy.ts';
import { type Keychain, missingForKeychain, startKeychain } from './secret-service.ts';

const missing = await missingForKeychain();
const GOOD = 'sandbox-good-key-0001';
const REVOKED = 'sandbox-revoked-key-0002';
/** Where nothing listens. */
const NOWHERE = 'http://127.0.0.1:9/';

let home: string;
let service: Keychain;
let gateway: Sandbox;

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-screens-')));
  mkdirSync(join(home, '.cursor'));
  if (missing === undefined) service = await startKeychain();
  gateway = await startSandbox({ port: 0 });
});
afterAll(async () => {
  await gateway.close();
  if (missing === undefined) await service.stop();
  rmSync(home, { recursive: true, force: true });
});

/** Runs a command as a user of this home, and holds all that it prints to the rules for words. */
async function screen(args: string, input = ''): Promise<{ code: unknown; shown: string }> {
  const words = args.replaceAll('URL', gateway.url).replaceAll('~', home).split(' ');
  const env = { ...service.env, HOME: home, npm_config_registry: NOWHERE };
  const { code, stdout, stderr } = await runToEnd(words, input, env);
  const shown = stdout + stderr;
  expect(notPlainEnglish(shown), args).toEqual([]);
  for (const line of shown.split('\n')) {
    // A path, a URL or a command stays whole, and so does a line of a trace.
    if (!/[/\\"{}]/.test(line) && !args.startsWith('trace '))
      expect(line.length, line).toBeLessThanOrEqual(80);
    expect(line).not.toMatch(/\s$|`|^mcp-latchkey:/);
    // What follows a URL would be copied with it.
    expect(line).not.toMatch(/https?:\/\/\S+[.,;:](?:\s|$)/);
    expect(line).not.toMatch(/\bHttps?:/);
  }
  // A failure has its mark, whichever command it is of.
  if (stderr !== '') expect(stderr, args).toMatch(/^[✓!✗–] /);
  return { code, shown };
}

const inTurn: readonly (readonly [args: string, code: number, input?: string])[] = [
  ['install --list', 0],
  ['install', 2],
  ['install cursr URL', 2],
  ['install cursor URL --dry-run', 0],
  ['install cursor URL --print', 0],
  ['login URL', 1, REVOKED],
  ['login URL', 0, GOOD],
  ['status', 0],
  ['doctor URL', 0],
  ['doctor http://127.0.0.1:9/v1/mcp --timeout 2', 1],
  ['status URL', 0],
  ['install cursor URL', 0],
  ['install cursor URL', 0],
  // Cursor does not get this test's D-Bus session, and so reaches no keychain of Linux.
  ['doctor cursor --verbose', isWine ? 0 : 1],
  ['tools URL', 0],
  ['tools URL --deny-tool github_*', 0],
  ['tools http://127.0.0.1:9/v1/mcp --start-patience 0', 1],
  ['bundle URL --output ~/gateway.mcpb', 0],
  ['bundle URL --output ~/no/such/folder/gateway.mcpb', 1],
  ['update --check', 1],
  ['trace ~/nothing', 1],
  ['uninstall', 2],
  ['uninstall cursor', 0],
  ['uninstall cursor', 0],
  ['logout URL', 0],
  ['logout URL', 1],
  ['status URL', 1],
  ['migrate', 0],
];
/** Not under Wine, whose keychain has the keys of other tests too. */
const PURGE = ['uninstall --all --purge --yes', 0] as const;

it.skipIf(missing !== undefined)(
  `everything that the commands print is in plain English and fits${missing ? ` (skipped: ${missing})` : ''}`,
  async () => {
    const ended: (readonly [string, unknown])[] = [];
    const all = isWine ? inTurn : [...inTurn, PURGE];
    for (const [args, , input] of all) ended.push([args, (await screen(args, input)).code]);
    expect(ended).toEqual(all.map(([args, code]) => [args, code]));
  },
  120_000,
);

it.skipIf(missing !== undefined)(
  'so is what migrate prints',
  async () => {
    const entry = {
      command: 'npx',
      args: ['mcp-remote', gateway.url, '--header', 'Authorization: ${AUTH}'],
      env: { ...service.env, AUTH: `Bearer ${GOOD}` },
    };
    const config = JSON.stringify({ mcpServers: { old: entry } });
    writeFileSync(join(home, '.cursor/mcp.json'), config);
    for (const args of ['migrate', 'migrate --yes', 'migrate --undo', 'migrate --undo']) {
      const { code, shown } = await screen(args);
      expect(code, shown).toBe(0);
    }
  },
  60_000,
);

it.skipIf(missing !== undefined)(
  'so is a trace',
  async () => {
    const trace = join(home, 'trace.jsonl');
    const proxy = new RunningProxy([gateway.url, '--trace', trace], {
      HOME: home,
      MCP_LATCHKEY_API_KEY: GOOD,
    });
    await proxy.initialize();
    await proxy.request(2, 'tools/list');
    await proxy.end();
    expect((await screen(`trace ${trace}`)).shown).toContain('tools/list');
    expect(await screen(`trace ${trace} --failed`)).toEqual({
      code: 0,
      shown: '✓ Nothing failed.\n',
    });
    expect((await screen(`trace ${trace} --html ~/trace.html`)).code).toBe(0);
  },
  60_000,
);
