import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { agents } from 'add-mcp';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { stringify } from 'yaml';
import { dataIn, expectMode } from '../environment.ts';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { type Json, program, RunningProxy, runToEnd } from './running-proxy.ts';
import { type Keychain, missingForKeychain, startKeychain } from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const missing = await missingForKeychain();
const skipped = missing === undefined ? '' : ` (not here: ${missing})`;

/** A client's config with an entry that runs mcp-remote, one with a URL, and what is not to change. */
function configFor(client: ListedClient, url: string, key: string, env: Json) {
  // VS Code's other editions have the same entries.
  const known = client.client in agents ? client.client : 'vscode';
  const agent = agents[known as keyof typeof agents];
  const transform = agent.transformConfig ?? ((_name: string, config: object) => config);
  const args = ['-y', 'mcp-remote@latest', url, '9696', '--header', 'Authorization:${AUTH_HEADER}'];
  const bridge = transform('linear', {
    command: 'npx',
    args: [...args, '--header', 'X-Team: a b', '--transport', 'http-only'],
    env: { ...env, AUTH_HEADER: `Bearer ${key}` },
  });
  // fx keeps no keys in its config.
  const entries: Json = { linear: bridge };
  if (client.client !== 'fx') {
    const headers = { 'X-Team': 'a b', Authorization: `Bearer ${key}` };
    entries['with url'] = transform('with url', { type: 'http', url, headers });
  }
  const other = { command: 'gh-mcp', args: ['/a b'], env: { TOKEN: 'hunter2' } };
  if (agent.format === 'yaml') {
    const servers = stringify({ [agent.configKey]: entries }, { lineWidth: 0 });
    return `# Mine\nGOOSE_MODEL: o3   # the model\n${servers}  github:\n    cmd: gh-mcp # keep\n`;
  }
  if (agent.format === 'toml') {
    const table = (path: string, value: Json): string => {
      const inner = Object.entries(value).filter(([, own]) => isObject(own));
      const plain = Object.entries(value).filter(([, own]) => !isObject(own) && own !== undefined);
      const lines = plain.map(([name, own]) => `${name} = ${JSON.stringify(own)}\n`).join('');
      return [
        `[${path}]\n${lines}`,
        ...inner.map(([name, own]) => table(`${path}.${name}`, own as Json)),
      ].join('\n');
    };
    const tables = Object.entries(entries).map(([name, own]) =>
      table(`mcp_servers."${name}"`, own as Json),
    );
    return `# Mine\nmodel = "o3"   # the model\n\n${tables.join('\n')}\n[mcp_servers.github] # keep\ncommand = 'gh-mcp'\n`;
  }
  const projects = { '/my project': { allowedTools: [], mcpServers: { 'of project': bridge } } };
  const more = client.client === 'claude-code' ? { projects } : {};
  const servers = { [agent.configKey]: { ...entries, github: other } };
  const text = JSON.stringify({ ...servers, ...more }, null, 4);
  // With a mark, it loads no server.
  if (client.client === 'claude-desktop') return `\ufeff${text}\n`;
  // The others read plain JSON.
  const isLenient = ['vscode', 'vscodium', 'zed', 'opencode', 'cursor'].includes(client.client);
  return isLenient
    ? text.replace('{', '{ // mine').replace(/\}$/, '\t, "z" : 1.50 }\n')
    : `${text}\r\n`;
}

const isObject = (value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

interface ListedClient {
  readonly client: string;
  readonly file: string;
}

describe.skipIf(missing !== undefined)(`migrate${skipped}`, () => {
  let service: Keychain;
  beforeAll(async () => {
    service = await startKeychain();
  });
  afterAll(() => service?.stop());

  function makeHome(): string {
    const home = realpathSync(mkdtempSync(join(tmpdir(), 'höme of ')));
    onTestFinished(() => rmSync(home, { recursive: true, force: true }));
    return home;
  }

  const run = (home: string, ...args: string[]) =>
    runToEnd(args, '', { ...service.env, HOME: home, XDG_DATA_HOME: join(home, 'data') });

  async function listClients(home: string): Promise<ListedClient[]> {
    const { stdout } = await run(home, 'install', '--list', '--json');
    return JSON.parse(stdout);
  }

  /** Makes the configs of all clients in a home, and returns each with its text. */
  async function makeConfigs(home: string, url: string, key: string, only?: string[]) {
    const busEnv = { DBUS_SESSION_BUS_ADDRESS: String(service.env.DBUS_SESSION_BUS_ADDRESS) };
    const clients = (await listClients(home)).filter(
      ({ client }) => only === undefined || only.includes(client),
    );
    return clients.map((client) => {
      const text = configFor(client, url, key, busEnv);
      mkdirSync(dirname(client.file), { recursive: true });
      if (client.client === 'claude-code') mkdirSync(join(home, '.claude'));
      writeFileSync(client.file, text);
      return { ...client, text };
    });
  }

  it('moves the entries of every client, and puts each byte back', {
    timeout: 120_000,
  }, async () => {
    const home = makeHome();
    const key = newKey();
    const url = 'https://gateway.example/mcp';
    const configs = await makeConfigs(home, url, key);
    expect(configs.length).toBeGreaterThan(20);

    const shown = await run(home, 'migrate');
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('Nothing was changed.');
    expect(shown.stdout).toContain(`Its key (ends in ${key.slice(-4)}) moves into the keychain.`);
    for (const { file, text } of configs) expect(readFileSync(file, 'utf8')).toBe(text);

    const moved = await run(home, 'migrate', '--yes', '--no-verify');
    expect(moved.stdout).not.toContain('✗');
    expect(moved.code).toBe(0);
    for (const { client, file, text } of configs) {
      const now = readFileSync(file, 'utf8');
      expect(now, client).not.toContain(key);
      expect(now, client).not.toContain('mcp-remote');
      // A member that is the last one now has no comma.
      const others = (own: string) =>
        own.split('\n').filter((line) => /mine|gh-mcp|hunter2|model|keep|DBUS|1\.50/i.test(line));
      const bare = (line: string) => line.replace(/,$/, '');
      expect(others(now).map(bare), client).toEqual(others(text).map(bare));
    }
    const entries = JSON.parse((await run(home, 'status', '--json')).stdout);
    expect(JSON.stringify(entries)).toContain(url);
    const again = await run(home, 'migrate');
    expect(again.stdout).toBe('✓ Found no entry to move. Nothing to do.\n');

    const undone = await run(home, 'migrate', '--undo');
    expect(undone).toMatchObject({ code: 0, stderr: '' });
    for (const { client, file, text } of configs) {
      expect(readFileSync(file, 'utf8'), client).toBe(text);
    }
    expect((await run(home, 'migrate', '--undo')).stdout).toBe('Nothing to undo.\n');
  });

  it('tests each entry first, which then works as it is in the config', async () => {
    const home = makeHome();
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const [config] = await makeConfigs(home, gateway.url, key, ['cursor']);
    const file = config?.file as string;
    const { stdout } = await run(home, 'migrate', 'cursor', '--yes');
    expect(stdout).toContain('Cursor: linear runs mcp-latchkey now, and offers 2 tools.');
    const text = readFileSync(file, 'utf8').replace('{ // mine', '{');
    const { command, args, env } = JSON.parse(text).mcpServers.linear;
    expect(args.slice(1)).toEqual([
      ...[gateway.url, '--callback-port', '9696', '--transport', 'http'],
      ...['--header', 'X-Team: a b'],
    ]);
    expect(env).toEqual({ DBUS_SESSION_BUS_ADDRESS: String(service.env.DBUS_SESSION_BUS_ADDRESS) });
    expect(command).toBe(process.execPath);
    const proxy = new RunningProxy(args.slice(1), env, args[0]);
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result.tools.length', 2);
    await proxy.end();
    for (const name of readdirSync(dirname(file)).filter((name) => name.endsWith('.bak'))) {
      expectMode(join(dirname(file), name), 0o600);
    }
  });

  it('leaves an entry that does not work, and its key', async () => {
    const home = makeHome();
    const gateway = await startKeyedGateway();
    const [config] = await makeConfigs(home, gateway.url, newKey(), ['cursor']);
    const { code, stdout } = await run(home, 'migrate', '--yes');
    expect(code).toBe(1);
    expect(stdout).toContain('✗ Cursor: linear stays as it is:');
    expect(readFileSync(config?.file as string, 'utf8')).toBe(config?.text);
    expect((await run(home, 'status', gateway.url, '--json')).stdout).toContain('"stored": []');
  });

  it('puts back the entries alone where the config was changed since', async () => {
    const home = makeHome();
    const url = 'https://gateway.example/other';
    const [config] = await makeConfigs(home, url, newKey(), ['claude-desktop']);
    const { file, text } = config as { file: string; text: string };
    await run(home, 'migrate', '--yes', '--no-verify');
    writeFileSync(file, readFileSync(file, 'utf8').replace('hunter2', 'hunter3'));
    const { code, stdout } = await run(home, 'migrate', '--undo');
    expect(code).toBe(0);
    expect(stdout).toContain('was changed since');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(
      JSON.parse(text.slice(1).replace('hunter2', 'hunter3')),
    );
  });

  it('says so when it cannot note what it has changed, and keeps the key', async () => {
    const home = makeHome();
    const key = newKey();
    const url = 'https://gateway.example/damaged';
    const [config] = await makeConfigs(home, url, key, ['cursor']);
    const records = join(home, 'data/mcp-latchkey/migrations.json');
    mkdirSync(dirname(records), { recursive: true });
    writeFileSync(records, '{}');
    const { stdout } = await run(home, 'migrate', '--yes', '--no-verify');
    expect(stdout).toContain('runs mcp-latchkey now');
    expect(stdout.replace(/\s+/g, ' ')).toContain(
      `--undo cannot put ${join('~', '.cursor', 'mcp.json')} back:`,
    );
    expect((await run(home, 'status', url, '--json')).stdout).toContain('"account": "default"');
    const undone = await run(home, 'migrate', '--undo');
    expect(undone).toMatchObject({ code: 1, stdout: '' });
    expect(undone.stderr.replace(/\s+/g, ' ')).toContain('is damaged. The backups are beside');
    expect(readFileSync(config?.file as string, 'utf8')).not.toContain(key);
  });

  it.skipIf(process.platform === 'win32')('asks on a terminal', async () => {
    const home = makeHome();
    const url = 'https://gateway.example/asked';
    const [config] = await makeConfigs(home, url, newKey(), ['cursor']);
    const command = `'${process.execPath}' '${program}' migrate --no-verify`;
    const env = { ...service.env, HOME: home, XDG_DATA_HOME: join(home, 'data') };
    for (const [answer, isMoved] of [
      ['n', false],
      ['y', true],
    ] as const) {
      const terminal = startOnTerminal(command, env);
      await terminal.until('Move them now? [Y/n]');
      terminal.type(`${answer}\r`);
      expect(await terminal.exited).toBe(0);
      const text = readFileSync(config?.file as string, 'utf8');
      expect(text !== config?.text).toBe(isMoved);
    }
  });

  it('keeps two keys for one gateway apart', async () => {
    const home = makeHome();
    const url = 'https://gateway.example/tenants';
    const file = join(home, '.cursor/mcp.json');
    mkdirSync(dirname(file));
    const entry = () => ({ url, headers: { 'X-Api-Key': newKey() } });
    writeFileSync(file, JSON.stringify({ mcpServers: { one: entry(), two: entry() } }));
    await run(home, 'migrate', '--yes', '--no-verify');
    const { one, two } = JSON.parse(readFileSync(file, 'utf8')).mcpServers;
    expect(one.args.slice(1)).toEqual([url, '--key-header', 'X-Api-Key']);
    expect(two.args.slice(1)).toEqual([url, '--key-header', 'X-Api-Key', '--account', 'two']);
  });
});

it('moves no key where there is no keychain', async () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-migrate-')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const file = join(home, '.cursor/mcp.json');
  mkdirSync(dirname(file));
  const headers = { Authorization: `Bearer ${newKey()}` };
  const text = JSON.stringify({ mcpServers: { a: { url: 'https://gateway.example', headers } } });
  writeFileSync(file, text);
  const { code, stdout } = await runToEnd(['migrate', '--yes', '--no-verify'], '', { HOME: home });
  expect(code).toBe(1);
  expect(stdout.replace(/\s+/g, ' ')).toContain(
    'a stays as it is: the keychain needs a D-Bus session',
  );
  expect(readFileSync(file, 'utf8')).toBe(text);
  expect(existsSync(join(dataIn(home), 'mcp-latchkey/migrations.json'))).toBe(false);
  expect(readdirSync(dirname(file))).toEqual([basename(file)]);
});

it("names what is in a project's configs, and leaves it as it is", async () => {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-migrate-')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  const project = join(home, 'project');
  const key = newKey();
  const url = 'https://gateway.example/mcp';
  const bridge = { command: 'npx', args: ['-y', 'mcp-remote', url] };
  const remote = { type: 'http', url, headers: { Authorization: `Bearer ${key}` } };
  const texts = {
    '.mcp.json': JSON.stringify({ mcpServers: { 'a\u001b[2Jb': bridge } }),
    '.cursor/mcp.json': JSON.stringify({ mcpServers: { remote, other: { command: 'gh' } } }),
    '.vscode/mcp.json': '{ // mine\n "servers": { "linear": '.concat(JSON.stringify(bridge), '}}'),
    '.gemini/settings.json': '{',
    '.codex/config.toml': `x = "${'x'.repeat(2_000_000)}"`,
  };
  for (const [name, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(project, name)), { recursive: true });
    writeFileSync(join(project, name), text);
  }
  const migrate = (...words: string[]) =>
    runToEnd(['migrate', ...words], '', { HOME: home }, { cwd: project });
  const { code, stdout } = await migrate('--yes', '--no-verify');
  expect(code).toBe(0);
  for (const [name, text] of Object.entries(texts)) {
    expect(readFileSync(join(project, name), 'utf8')).toBe(text);
  }
  expect(stdout).not.toContain(key);
  expect(stdout).not.toContain('\u001b');
  const words = stdout.replace(/\s+/g, ' ');
  const remoteInCursor = `${join('.cursor', 'mcp.json')}: remote`;
  expect(words).toContain(`${remoteInCursor} (a URL)`);
  expect(words).toContain(`${join('.vscode', 'mcp.json')}: linear (mcp-remote)`);
  expect(words).toMatch(/\.mcp\.json: a\S*b \(mcp-remote\)/);
  expect(stdout).toContain(`install cursor ${url}\n`);
  expect(stdout).toContain(`install vscode ${url}\n`);
  expect(stdout).toContain(`install claude-code ${url}\n`);
  const { projects } = JSON.parse((await migrate('--json')).stdout);
  expect(projects).toHaveLength(3);
  // The user's own configs, when run in the home.
  const atHome = await runToEnd(['migrate'], '', { HOME: project }, { cwd: project });
  expect(atHome.stdout).not.toContain(remoteInCursor);
  expect(atHome.stdout).toContain('remote (the URL ');
});
