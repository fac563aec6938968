import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startSandbox } from '../../src/sandbox/sandbox.ts';
import { ownCommand } from '../../src/terminal/own-command.ts';
import {
  copiesIn,
  environment,
  expectMode,
  hasLinks,
  npmCommand,
  startOfNpx,
} from '../environment.ts';
import { expectNoSecret, type Json, program, runToEnd, secret } from './running-proxy.ts';
import { missingForSecretService, startSecretService } from './secret-service.ts';
import { startOnTerminal } from './terminal.ts';

const root = resolve(import.meta.dirname, '../..');
const URL_OF_GATEWAY = 'https://acme.example/v1/mcp';

/** A home of its own, with white space and other letters in its path. */
function makeHome(): string {
  const home = realpathSync(mkdtempSync(join(tmpdir(), 'höme of 鍵 ')));
  onTestFinished(() => rmSync(home, { recursive: true, force: true }));
  return home;
}

/** Runs the program with this home and nothing else of the environment but the PATH. */
function run(home: string, ...args: string[]) {
  return runToEnd(args, '', { HOME: home });
}

async function runJson(home: string, ...args: string[]): Promise<Json> {
  const { stdout, stderr } = await run(home, ...args, '--json');
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

/** Paths of the clients' configs below a home, asked for once. */
let listed: Json[] | undefined;

/** Where the client keeps its config. With `installed`, its folder is made, as if it were here. */
async function configOf(home: string, client: string, { installed = true } = {}): Promise<string> {
  if (listed === undefined) {
    const report = JSON.stringify(await runJson(home, 'install', '--list'));
    const escaped = JSON.stringify(home).slice(1, -1);
    expect(report).toContain(escaped);
    listed = JSON.parse(report.replaceAll(escaped, '.')) as Json[];
  }
  const file = join(home, String(listed.find((own) => own.client === client)?.file));
  const folder = client === 'claude-code' ? join(home, '.claude') : dirname(file);
  if (installed) mkdirSync(folder, { recursive: true });
  return file;
}

const read = (file: string) => readFileSync(file, 'utf8');

/** What is kept of a config from before its changes. */
function backupsOf(file: string) {
  const names = readdirSync(dirname(file)).filter(
    (name) => name.startsWith(`${basename(file)}.`) && name.endsWith('.bak'),
  );
  return names.map((name) => {
    const path = join(dirname(file), name);
    return { path, text: read(path) };
  });
}

const jsonEntry = (args: string[], indent: string) =>
  `"acme": ${JSON.stringify(startOfNpx(args), null, 2).replaceAll('\n', `\n${indent}`)}`;

const jsonConfig = (servers: string) => `{
  // The servers of mine. "acme": {} comes later
  "${servers}": {
    "github": { "command": "gh-mcp", "env": { "TOKEN": "hunter2" } }, // keep
    "files":{"command":"files","args":["/a b", ], },  /* the last */
    // nothing below
  },
  "theme" : "dark", "zoom": 1.50
}
`;

const tomlConfig = `# Codex
model = "o3"            # the model
notify = ["a", 1]

[mcp_servers.github]    # keep
command = 'gh-mcp'
args = [
  "/a b", # one
]

[mcp_servers.github.env]
TOKEN = "hunter2"

[tui]
theme = "dark"
`;

const npxArgs = (...more: string[]) => [
  '-y',
  '--prefer-offline',
  `mcp-latchkey@${ownVersion()}`,
  URL_OF_GATEWAY,
  ...more,
];
const ownVersion = () => JSON.parse(read(join(root, 'package.json'))).version;

const clients = [
  ['claude-desktop', 'mcpServers'],
  ['claude-code', 'mcpServers'],
  ['cursor', 'mcpServers'],
  ['vscode', 'servers'],
  ['codex', undefined],
] as const;

describe.each(clients)('the config of %s', (client, servers) => {
  /** The config with an entry of these args, as it must come out. */
  const withEntry = (args: string[], { fresh = false } = {}) => {
    if (servers === undefined) {
      const start = startOfNpx(args);
      const words = start.args.map((word) => JSON.stringify(word)).join(', ');
      const table = `[mcp_servers.acme]\ncommand = "${start.command}"\nargs = [${words}]\n`;
      return fresh ? table : `${tomlConfig}\n${table}`;
    }
    if (fresh) return `{\n  "${servers}": {\n    ${jsonEntry(args, '    ')}\n  }\n}\n`;
    return jsonConfig(servers).replace(
      '// nothing below\n',
      `// nothing below\n    ${jsonEntry(args, '    ')},\n`,
    );
  };
  const existing = servers === undefined ? tomlConfig : jsonConfig(servers);
  const install = (home: string, ...options: string[]) =>
    run(home, 'install', client, URL_OF_GATEWAY, '--npx', '--no-verify', ...options);

  it('is made where there is none, and stays as it is the second time', async () => {
    const home = makeHome();
    const file = await configOf(home, client);
    expect(await install(home)).toMatchObject({ code: 0, stderr: '' });
    expect(read(file)).toBe(withEntry(npxArgs(), { fresh: true }));
    expectMode(file, 0o600);

    const before = statSync(file);
    const { code, stdout } = await install(home);
    expect(code).toBe(0);
    expect(stdout).toMatch(/is up to date|Nothing to do/);
    expect(statSync(file).ino).toBe(before.ino);
    expect(readdirSync(dirname(file)).filter((name) => name.includes(basename(file)))).toEqual([
      basename(file),
    ]);
  });

  it('keeps every byte of its comments and other servers, through install, update and uninstall', async () => {
    const home = makeHome();
    const file = await configOf(home, client);
    writeFileSync(file, existing, { mode: 0o640 });
    chmodSync(file, 0o640);

    expect(await install(home)).toMatchObject({ code: 0, stderr: '' });
    expect(read(file)).toBe(withEntry(npxArgs()));
    const { code, stdout } = await install(home, '--integrations', 'linear,github');
    expect(code).toBe(0);
    expect(stdout).toContain('Updating the existing entry');
    expect(read(file)).toBe(withEntry(npxArgs('--integrations', 'linear,github')));
    expectMode(file, 0o640);

    const removal = await run(home, 'uninstall', client);
    expect(removal).toMatchObject({ code: 0, stderr: '' });
    expect(read(file)).toBe(existing);
    const again = await run(home, 'uninstall', client, 'acme');
    expect(again.code).toBe(0);
    expect(again.stdout).toMatch(/is up to date|Nothing to do/);
    for (const text of [stdout, removal.stdout]) expect(text).not.toContain('hunter2');

    const backups = backupsOf(file);
    expect(backups.map(({ text }) => text).sort()).toEqual(
      [
        existing,
        withEntry(npxArgs()),
        withEntry(npxArgs('--integrations', 'linear,github')),
      ].sort(),
    );
    for (const { path } of backups) expectMode(path, 0o600);
  });

  it('is left alone when it is broken, with line and column', async () => {
    const home = makeHome();
    const file = await configOf(home, client);
    const broken = servers === undefined ? 'a = 1\n[b\n' : '{\n  "a": 1\n  "b": 2\n}\n';
    writeFileSync(file, broken);
    for (const command of [
      ['install', client, URL_OF_GATEWAY, '--no-verify'],
      ['uninstall', client],
    ]) {
      const { code, stderr } = await run(home, ...command);
      expect(code).toBe(1);
      expect(stderr.replace(/\s+/g, ' ')).toMatch(/was not changed: line 3, column \d+: /);
    }
    expect(read(file)).toBe(broken);
    expect(readdirSync(dirname(file)).filter((name) => /bak|tmp/.test(name))).toEqual([]);
  });

  it('is left alone when it is read-only', async () => {
    const home = makeHome();
    const file = await configOf(home, client);
    writeFileSync(file, existing, { mode: 0o444 });
    const { code, stderr } = await install(home);
    expect(code).toBe(1);
    expect(stderr).toContain('read-only');
    expect(read(file)).toBe(existing);
    expectMode(file, 0o444);
    expect(readdirSync(dirname(file)).filter((name) => /bak|tmp/.test(name))).toEqual([]);
  });

  it('is not made for a client that is not there, but with --force', async () => {
    const home = makeHome();
    const file = await configOf(home, client, { installed: false });
    const { code, stderr } = await install(home);
    expect(code).toBe(1);
    expect(stderr).toContain('does not seem to be installed');
    expect(existsSync(file)).toBe(false);
    expect(await install(home, '--force')).toMatchObject({ code: 0 });
    expect(read(file)).toBe(withEntry(npxArgs(), { fresh: true }));
  });
});

it('keeps line ends, the byte order mark and the link that leads to the file', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const target = hasLinks ? join(home, 'dotfiles.json') : file;
  const before = `\ufeff${jsonConfig('mcpServers').replaceAll('\n', '\r\n')}`;
  writeFileSync(target, before);
  if (hasLinks) symlinkSync(target, file);
  expect(await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify')).toMatchObject({
    code: 0,
  });
  expect(lstatSync(file).isSymbolicLink()).toBe(hasLinks);
  const after = read(target);
  expect(after).toContain('"acme": {\r\n');
  expect(after.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
  expect(await run(home, 'uninstall', 'cursor')).toMatchObject({ code: 0 });
  expect(read(target)).toBe(before);
});

it('leaves a file alone that is not in UTF-8', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const bytes = Buffer.from('\ufeff{"a": "ü"}', 'utf16le');
  writeFileSync(file, bytes);
  const { code, stderr } = await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
  expect(code).toBe(1);
  expect(stderr).toContain('UTF-8');
  expect(readFileSync(file).equals(bytes)).toBe(true);
});

it('keeps what the user has added to the entry, and says when that is a key', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const pasted = `{
  "mcpServers": {
    "mine": {
      "command": "npx",
      "args": ["-y", "mcp-latchkey", "${URL_OF_GATEWAY}"],
      "env": { "MCP_LATCHKEY_API_KEY": "hunter2", "MCP_LATCHKEY_KEY_FILE": "/k" },
      "disabled": false // for now
    }
  }
}
`;
  writeFileSync(file, pasted);
  const install = ['install', 'cursor', URL_OF_GATEWAY, '--npx', '--no-verify'];
  const { code, stdout } = await run(home, ...install);
  expect(code).toBe(0);
  expect(stdout).not.toContain('hunter2');
  expect(stdout).toContain('! mine contains MCP_LATCHKEY_API_KEY in plain text');
  const start = startOfNpx(npxArgs());
  expect(read(file)).toBe(
    pasted
      .replace('"npx"', JSON.stringify(start.command))
      .replace(/\["-y".*\]/, JSON.stringify(start.args, null, 2).replaceAll('\n', '\n      ')),
  );
});

it('overwrites or removes another server only with --force', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const before = '{\n  "mcpServers": {\n    "acme": { "url": "https://other.example" }\n  }\n}\n';
  writeFileSync(file, before);
  const install = ['install', 'cursor', URL_OF_GATEWAY, '--npx', '--no-verify'];
  for (const command of [install, ['uninstall', 'cursor', 'acme']]) {
    const { code, stderr } = await run(home, ...command);
    expect(code).toBe(1);
    expect(stderr).toContain('--force');
    expect(read(file)).toBe(before);
  }
  expect(await run(home, ...install, '--force')).toMatchObject({ code: 0 });
  expect(JSON.parse(read(file)).mcpServers.acme).toEqual(startOfNpx(npxArgs()));
});

it('keeps what the user has edited since the last change, before it takes a server out', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  writeFileSync(file, '{"mcpServers": {"other": {"command": "other"}}}');
  await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
  const edited = read(file).replace('"command": "other"', '"command": "other", "args": ["mine"]');
  writeFileSync(file, edited);
  const { code, stdout } = await run(home, 'uninstall', 'cursor', 'other', '--force');
  expect(code).toBe(0);
  expect(read(file)).not.toContain('mine');
  const [backup] = backupsOf(file).filter(({ text }) => text === edited);
  expect(stdout.replace(/\s+/g, ' ')).toContain(basename(backup?.path ?? 'none'));
});

it('writes the paths of the proxy’s options so that they hold in any folder', async () => {
  const home = makeHome();
  const options = {
    ...{ '--key-file': '~/my key', '--header-file': 'headers', '--ca': './ca.pem' },
    ...{ '--cert': './client.pem', '--key-pem': 'client.key', '--log-file': '~/logs/a.log' },
  };
  for (const [name, text] of Object.entries({ headers: 'X-A: b', 'ca.pem': '' })) {
    writeFileSync(join(home, name), text, { mode: 0o600 });
  }
  const words = Object.entries(options).flatMap(([name, value]) =>
    name === '--log-file' ? [`${name}=${value}`] : [name, value],
  );
  const install = [program, 'install', 'nonesuch', URL_OF_GATEWAY, '--print', ...words];
  const printed = execFileSync(process.execPath, install, {
    cwd: home,
    env: environment({ HOME: home }),
    encoding: 'utf8',
  });
  const { args } = JSON.parse(printed).mcpServers.acme;
  const written = Object.entries(options).flatMap(([name, value]) => [
    name,
    resolve(home, value.replace('~/', '')),
  ]);
  expect(args.slice(2)).toEqual(expect.arrayContaining(written));
  expect(args.slice(2)).toHaveLength(written.length);
});

it('shortens a path below the home, and no path beside it', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const install = ['install', 'cursor', URL_OF_GATEWAY, '--dry-run'];
  const first = async (own: string) => (await run(own, ...install)).stdout.split('\n')[0];
  const shown = `Cursor: ${join('~', '.cursor', 'mcp.json')} (new)`;
  expect(await first(home)).toBe(shown);
  expect(await first(`${home}/`)).toBe(shown);
  if (!hasLinks) return;
  const dotfiles = `${home}-dotfiles`;
  mkdirSync(dotfiles);
  onTestFinished(() => rmSync(dotfiles, { recursive: true }));
  writeFileSync(join(dotfiles, 'mcp.json'), '{}');
  symlinkSync(join(dotfiles, 'mcp.json'), file);
  expect(await first(home)).toBe(`Cursor: ${dotfiles}/mcp.json`);
});

it('asks which entry to remove when several run mcp-latchkey', async () => {
  const home = makeHome();
  const file = await configOf(home, 'codex');
  for (const name of ['one', 'mein Gerät']) {
    const done = await run(home, 'install', 'codex', URL_OF_GATEWAY, '--no-verify', '--name', name);
    expect(done).toMatchObject({ code: 0 });
  }
  const { code, stderr } = await run(home, 'uninstall', 'codex');
  expect(code).toBe(2);
  expect(stderr).toContain('one, mein Gerät');
  expect(await run(home, 'uninstall', 'codex', 'mein Gerät')).toMatchObject({ code: 0 });
  expect(read(file)).toContain('[mcp_servers.one]');
  expect(read(file)).not.toContain('Gerät');
});

it('warns that Claude Desktop reads no comments', async () => {
  const home = makeHome();
  const file = await configOf(home, 'claude-desktop');
  writeFileSync(file, '{\n  "mcpServers": {}, // none\n}\n');
  const { stdout } = await run(home, 'install', 'claude-desktop', URL_OF_GATEWAY, '--no-verify');
  expect(stdout.replace(/\s+/g, ' ')).toContain('its config has a trailing comma at line');
});

it('shows with --dry-run what it would do, and does not do it', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const { code, stdout } = await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--dry-run');
  expect(code).toBe(0);
  expect(stdout).toContain('+     "acme": {');
  expect(stdout).toContain('Nothing was written');
  expect(existsSync(file)).toBe(false);
  expect(existsSync(join(home, '.local'))).toBe(false);
});

it('reports as JSON', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  writeFileSync(file, '{}');
  const args = ['cursor', URL_OF_GATEWAY, '--npx', '--no-verify'];
  const report = await runJson(home, 'install', ...args);
  expect(report).toEqual({
    client: 'cursor',
    name: 'acme',
    file,
    change: 'added',
    written: true,
    backup: expect.stringMatching(/mcp\.json\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.bak$/),
    start: startOfNpx(npxArgs()),
    check: null,
    login: ['login', URL_OF_GATEWAY],
    notes: [],
    diff: expect.arrayContaining(['+     "acme": {']),
  });
  const unchanged = await runJson(home, 'install', ...args);
  expect(unchanged).toMatchObject({ change: 'unchanged', written: false, diff: [] });
  const clients = (await runJson(home, 'install', '--list')) as unknown as Json[];
  expect(clients.find(({ client }) => client === 'cursor')).toEqual({
    client: 'cursor',
    name: 'Cursor',
    installed: true,
    file,
    entries: ['acme'],
  });
  const removed = await runJson(home, 'uninstall', 'cursor');
  expect(removed).toMatchObject({ change: 'removed', written: true, name: 'acme' });
});

it.each([
  [['nonesuch', URL_OF_GATEWAY], 2, /Unknown client/],
  [['zedd', URL_OF_GATEWAY], 2, /Did you mean zed\?/],
  [['cursor'], 2, /needs a client and a URL/],
  [['cursor', 'acme.example'], 2, /Expected a URL that starts with https/],
  [['cursor', URL_OF_GATEWAY, '--timeout', 'soon'], 2, /must be a number of seconds/],
  [['cursor', URL_OF_GATEWAY, '--nonesuch'], 2, /nonesuch/],
  [['cursor', URL_OF_GATEWAY, '--name', '__proto__'], 2, /is not a valid name/],
  [['cursor', URL_OF_GATEWAY, '-H', 'Authorization: Bearer hunter2'], 2, /@\{VAR\}/],
  [['cursor', `${URL_OF_GATEWAY}?api_key=hunter2`], 2, /seems to contain a key/],
])('refuses %j with exit code %i', async (args, expected, message) => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const { code, stdout, stderr } = await run(home, 'install', ...args, '--no-verify');
  expect(code).toBe(expected);
  expect(stderr.replace(/\s+/g, ' ')).toMatch(message);
  expect(stdout + stderr).not.toContain('hunter2');
  expect(existsSync(file)).toBe(false);
});

it('takes options before and behind the client, and passes headers with variables on', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const header = 'Authorization: Bearer ${MY_KEY}';
  const args = [
    '-H',
    "X-Team: a 'b",
    'cursor',
    URL_OF_GATEWAY,
    '-H',
    header,
    '--npx',
    '--no-verify',
  ];
  const { code, stdout } = await run(home, 'install', ...args);
  expect(code).toBe(0);
  const quoted = process.platform === 'win32' ? `"X-Team: a 'b"` : `'X-Team: a '\\''b'`;
  expect(stdout).toContain(`login ${URL_OF_GATEWAY} --header ${quoted} --header`);
  expect(JSON.parse(read(file)).mcpServers.acme.args).toEqual(
    startOfNpx(npxArgs('--header', "X-Team: a 'b", '--header', 'Authorization: Bearer @{MY_KEY}'))
      .args,
  );
});

it('writes a header so that a client which expands ${VAR} puts no key on a command line', async () => {
  const home = makeHome();
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  const file = await configOf(home, 'claude-code');
  const headers = ['Authorization: Bearer ${MY_KEY}', 'X-Team: ${TEAM}'];
  const options = headers.flatMap((header) => ['--header', header]);
  await run(home, 'install', 'claude-code', sandbox.url, '--no-verify', ...options);
  const [entry] = Object.values<WrittenEntry>(JSON.parse(read(file)).mcpServers);
  const env = { MY_KEY: sandbox.keys.good, TEAM: 'blue' };
  const expanded = entry?.args.map((word) =>
    // As Claude Code does, and Gemini CLI.
    word.replace(/\$(?:(\w+)|\{(\w+)(?::-[^}]*)?\})/g, (whole, plain, braced) => {
      const value = env[(plain ?? braced) as keyof typeof env];
      return value ?? whole;
    }),
  );
  expect(expanded?.join(' ')).not.toContain(sandbox.keys.good);
  await completeSession(home, { ...entry, args: expanded, env } as WrittenEntry);
  expect(sandbox.requests.at(-1)?.headers['x-team']).toBe('blue');
});

it('takes the last of an option that is given twice, and does without a folder for temporary files', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const twice = [
    '--name',
    'one',
    '--name',
    'two',
    '--npx',
    '--npx',
    '--timeout',
    '5',
    '--timeout=6',
  ];
  const args = ['install', 'cursor', URL_OF_GATEWAY, '--no-verify', ...twice];
  const env = { HOME: home, TMPDIR: join(home, 'none') };
  expect(await runToEnd(args, '', env)).toMatchObject({ code: 0, stderr: '' });
  expect(JSON.parse(read(file)).mcpServers.two).toEqual(startOfNpx(npxArgs('--timeout', '6')));
  const status = await run(home, 'status', URL_OF_GATEWAY, '--account', 'a', '--account', 'b');
  expect(status.stderr).toBe('');
  expect(readdirSync(home).filter((name) => name.startsWith('.mcp-latchkey-'))).toEqual([]);
});

it('prints what to paste, in the format of the client', async () => {
  const home = makeHome();
  const print = async (client: string) =>
    (await run(home, 'install', client, URL_OF_GATEWAY, '--print')).stdout;
  const entry = {
    command: expect.stringMatching(/node(\.exe)?$/),
    args: [program, URL_OF_GATEWAY],
  };
  expect(JSON.parse(await print('nonesuch'))).toEqual({ mcpServers: { acme: entry } });
  expect(JSON.parse(await print('vscode'))).toEqual({ servers: { acme: entry } });
  expect(await print('codex')).toMatch(
    /^\[mcp_servers.acme\]\ncommand = ".*node.*"\nargs = \[".*"\]\n$/,
  );
  expect(readdirSync(home)).toEqual([]);
});

const pages = readdirSync(join(root, 'docs/clients')).filter((file) => file !== 'README.md');
const recipes = pages.map((page) => {
  const [, client = '', url = '', format, snippet = ''] =
    /^npx mcp-latchkey install (\S+) (\S+)\n```\n\nOr [^`]*(?:`[^`\n]+`[^`]*)*```(json|toml)\n(.*?)```/ms.exec(
      read(join(root, 'docs/clients', page)),
    ) ?? [];
  return { page, client, url, format, snippet };
});

/** An entry that starts npx as it is where npx needs no cmd.exe. */
const withoutCmd = (text: string) =>
  text.replace(/(command\S*\s.*)"cmd"/, '$1"npx"').replace(/"\/c",\s*"npx",\s*/, '');

it.each(recipes)(
  'writes what docs/clients/$page has',
  async ({ page, client, url, format, snippet }) => {
    expect(page).toBe(`${client}.md`);
    const { stdout } = await run(makeHome(), 'install', client, url, '--print', '--npx');
    const written = withoutCmd(stdout);
    if (format === 'json') expect(JSON.parse(written)).toEqual(JSON.parse(snippet));
    else expect(written).toBe(snippet);
  },
);

it('has a page for seven clients in docs/clients', () => {
  expect(recipes.map(({ client }) => client).sort()).toEqual(
    ['claude-desktop', 'claude-code', 'cursor', 'vscode', 'windsurf', 'codex', 'zed'].sort(),
  );
});

it('finds Zed’s settings on macOS in ~/.config, as Zed does', async () => {
  const home = makeHome();
  const macOS = "data:text/javascript,Object.defineProperty(process,'platform',{value:'darwin'})";
  const { stdout } = await runToEnd(['install', '--list', '--json'], '', {
    HOME: home,
    NODE_OPTIONS: `--import="${macOS}"`,
  });
  const clients = JSON.parse(stdout) as Json[];
  const fileOf = (id: string) => clients.find(({ client }) => client === id)?.file;
  expect(fileOf('zed')).toBe(join(home, '.config/zed/settings.json'));
  expect(fileOf('vscode')).toBe(join(home, 'Library/Application Support/Code/User/mcp.json'));
});

it('fits into 80 columns', async () => {
  const home = makeHome();
  await configOf(home, 'cursor');
  const { stdout } = await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
  const help = await run(home, 'install', '--help');
  expect(stdout).not.toContain('\x1b');
  const shown = (stdout + help.stdout).replaceAll(ownCommand(program), 'mcp-latchkey');
  for (const line of shown.split('\n')) {
    if (!line.includes(home)) expect(line.length, line).toBeLessThanOrEqual(80);
  }
});

/** A sandbox, and a file with a key for it. */
async function gatewayWithKey(home: string, key: 'good' | 'revoked' = 'good') {
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  const keyFile = join(home, 'my key.txt');
  writeFileSync(keyFile, sandbox.keys[key], { mode: 0o600 });
  return { url: sandbox.url, keyFile };
}

interface WrittenEntry {
  command: string;
  args: string[];
  env?: Record<string, string>;
}

/** A session of the SDK's client with what the entry starts. */
async function completeSession(home: string, { command, args, env = {} }: WrittenEntry) {
  const client = new Client({ name: 'e2e', version: '1' });
  const transport = new StdioClientTransport({
    command,
    args,
    env: { HOME: home, ...env },
    cwd: home,
    stderr: 'ignore',
  });
  onTestFinished(() => client.close());
  await client.connect(transport);
  const { tools } = await client.listTools();
  expect(tools.length).toBeGreaterThan(0);
  const result = await client.callTool({
    name: 'linear_get_issue',
    arguments: { id: 'ENG-42' },
  });
  expect(result.isError ?? false).toBe(false);
  await client.close();
  return tools.length;
}

it('writes an entry that needs no registry, and a client completes a session with it', async () => {
  const home = makeHome();
  const { url, keyFile } = await gatewayWithKey(home);
  const file = await configOf(home, 'claude-desktop');
  const args = ['claude-desktop', url, '--key-file', keyFile];
  const { code, stdout, stderr } = await run(home, 'install', ...args);
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' });
  const entry: WrittenEntry = JSON.parse(read(file)).mcpServers['local-gateway'];
  const copies = copiesIn(home);
  const [id = '', ...others] = readdirSync(copies);
  expect(others).toEqual([]);
  expect(id).toMatch(new RegExp(`^${ownVersion()}-[0-9a-f]{12}$`));
  const script = join(copies, id, 'bin/mcp-latchkey.js');
  expect(entry).toEqual({ command: process.execPath, args: [script, url, '--key-file', keyFile] });
  const tools = await completeSession(home, entry);
  expect(stdout).toMatch(new RegExp(`Connected: .* offers ${tools} tools`));

  // A damaged copy is replaced; the entry is as it should be.
  writeFileSync(script, 'throw new Error("damaged")');
  const again = await run(home, 'install', ...args, '--pin');
  expect(again).toMatchObject({ code: 0 });
  expect(again.stdout).toMatch(/is up to date|Nothing to do/);
  expect(readFileSync(script).equals(readFileSync(join(root, 'bin/mcp-latchkey.js')))).toBe(true);
  // Another client's entry starts the same copy, until no entry does.
  const other = await configOf(home, 'cursor');
  await run(home, 'install', 'cursor', url, '--key-file', keyFile, '--no-verify');
  expect(JSON.parse(read(other)).mcpServers['local-gateway']).toEqual(entry);
  expect(await run(home, 'uninstall', 'claude-desktop')).toMatchObject({ code: 0 });
  expect(readdirSync(copies)).toEqual([id]);
  expect(await run(home, 'uninstall', 'cursor')).toMatchObject({ code: 0 });
  // Wine does not list its processes, one of which could still run the copy.
  expect(readdirSync(copies)).toEqual(process.platform === 'win32' ? [id] : []);
});

it('writes an entry for npx with which a client completes a session, from the packed package', async () => {
  const home = makeHome();
  const { url, keyFile } = await gatewayWithKey(home);
  const registry = await startRegistry(home);
  const env = { ...registry.env, npm_config_cache: join(home, 'npm cache') };
  const file = await configOf(home, 'cursor');
  const args = ['install', 'cursor', url, '--npx', '--key-file', keyFile];
  expect(await run(home, ...args, '--no-verify')).toMatchObject({ code: 0 });
  const config = JSON.parse(read(file));
  const entry: WrittenEntry = config.mcpServers['local-gateway'];
  expect(entry.command).toBe(startOfNpx([]).command);

  // As a user with a registry of their own does.
  entry.env = env;
  writeFileSync(file, JSON.stringify(config, null, 2));
  const { code, stdout } = await run(home, ...args);
  expect(code, stdout).toBe(0);
  expect(stdout).toMatch(/is up to date|Nothing to do/);
  const tools = await completeSession(home, entry);
  expect(stdout).toMatch(new RegExp(`Connected: .* offers ${tools} tools`));
  // What npm has, it starts without asking the registry.
  registry.asked.length = 0;
  expect(await completeSession(home, entry)).toBe(tools);
  expect(registry.asked).toEqual([]);
  await registry.close();
  expect(await completeSession(home, entry)).toBe(tools);
}, 180_000);

/**
 * A registry on loopback that has the packed package, and a newer release that does not work, with
 * the environment to use it.
 */
async function startRegistry(folder: string) {
  // Without scripts: the package is built, and other tests run it meanwhile.
  const [npm, ...words] = npmCommand();
  const packed = execFileSync(
    npm,
    [...words, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder],
    { cwd: root, encoding: 'utf8', env: { ...process.env, npm_config_cache: join(folder, 'c') } },
  );
  const [{ filename }] = JSON.parse(packed);
  const tarball = readFileSync(join(folder, filename));
  const manifest = JSON.parse(read(join(root, 'package.json')));
  const asked: string[] = [];
  const server = createServer(({ url: path = '' }, response) => {
    asked.push(path);
    const { port } = server.address() as AddressInfo;
    const dist = {
      tarball: `http://127.0.0.1:${port}/${filename}`,
      integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
    };
    const [newer, broken] = ['0.999.0', { tarball: `${dist.tarball}.gone`, shasum: '0' }];
    const packument = {
      name: manifest.name,
      'dist-tags': { latest: newer },
      versions: {
        [manifest.version]: { ...manifest, dist },
        [newer]: { ...manifest, version: newer, dist: broken },
      },
    };
    if (path === `/${filename}`) response.end(tarball);
    else if (path === `/${manifest.name}`) response.end(JSON.stringify(packument));
    else response.writeHead(404).end('{}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  const env = { npm_config_registry: `http://127.0.0.1:${port}/`, npm_config_audit: 'false' };
  return { env, asked, close };
}

it('says so when npx cannot fetch the package, and does not fail', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  const args = ['install', 'cursor', URL_OF_GATEWAY, '--npx'];
  await run(home, ...args, '--no-verify');
  const config = JSON.parse(read(file));
  const server = createServer((_, response) => response.writeHead(404).end('{}'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  config.mcpServers.acme.env = {
    npm_config_registry: `http://127.0.0.1:${port}/`,
    npm_config_cache: join(home, 'cache'),
  };
  writeFileSync(file, JSON.stringify(config));
  const unknown = await run(home, ...args);
  expect(unknown.code).toBe(0);
  expect(unknown.stdout).toContain('does not have this version of');
  expect(unknown.stdout).toContain(`${ownCommand(program)} login ${URL_OF_GATEWAY}`);
  await new Promise((resolve) => server.close(resolve));
  const offline = await run(home, ...args);
  expect(offline.code).toBe(0);
  expect(offline.stdout).toContain('ECONNREFUSED');
});

it('says how to pass a key where the gateway requires one and the client reaches no keychain', async () => {
  const home = makeHome();
  const sandbox = await startSandbox();
  onTestFinished(() => sandbox.close());
  await configOf(home, 'cursor');
  const { code, stdout } = await run(home, 'install', 'cursor', sandbox.url);
  expect(code).toBe(0);
  expect(stdout).toContain('MCP_LATCHKEY_API_KEY');
  expect(stdout).not.toContain('mcp-latchkey login');
  expect(stdout).not.toContain('[Y/n]');
  const report = await runJson(home, 'install', 'cursor', sandbox.url);
  expect(report.check).toMatchObject({ outcome: 'refused', reason: 'no_api_key' });
});

const missing = await missingForSecretService();
const skipped = missing === undefined ? '' : ` (skipped: ${missing} is not here)`;

describe.skipIf(missing !== undefined)(`on a terminal, without a key${skipped}`, () => {
  /** `install` on a terminal, for an entry that reaches the keychain. */
  async function start() {
    const service = await startSecretService();
    onTestFinished(() => service.stop());
    const { HOME: home = '', ...env } = service.env;
    const sandbox = await startSandbox();
    onTestFinished(() => sandbox.close());
    const file = await configOf(home, 'cursor');
    const install = ['install', 'cursor', sandbox.url];
    await runToEnd([...install, '--no-verify'], '', service.env);
    const config = JSON.parse(read(file));
    config.mcpServers['local-gateway'].env = env;
    writeFileSync(file, JSON.stringify(config));
    const command = [process.execPath, program, ...install].map((word) => `'${word}'`).join(' ');
    const terminal = (...more: string[]) =>
      startOnTerminal([command, ...more].join(' '), service.env);
    return { sandbox, file, install, service, terminal };
  }

  it('prints the login command where there is no terminal, and with --yes', async () => {
    const { sandbox, install, service, terminal } = await start();
    const { code, stdout } = await runToEnd(install, '', service.env);
    expect(code).toBe(0);
    expect(stdout).toContain(`  ${ownCommand(program)} login ${sandbox.url}\n`);
    expect(stdout).not.toContain('[Y/n]');
    const asking = terminal('--yes');
    expect(await asking.exited).toBe(0);
    expect(asking.shown).toContain(`${ownCommand(program)} login ${sandbox.url}`);
    expect(asking.shown).not.toContain('[Y/n]');
  });

  it('offers login, and shows that the key works', async () => {
    const { sandbox, file, terminal: open } = await start();
    const terminal = open();
    await terminal.until('Store your API key now? [Y/n]');
    terminal.type('\r');
    await terminal.until('(hidden)');
    terminal.type(`${secret(sandbox.keys.good)}\r`);
    expect(await terminal.exited).toBe(0);
    expect(terminal.shown).toContain('Stored in the keychain');
    expect(terminal.shown).toContain('Connected: ');
    expectNoSecret(read(file));
  });

  it.each(['n\r', '\x03', '\x04'])('prints the command to whom answers %j', async (keys) => {
    const { sandbox, terminal: open } = await start();
    const terminal = open();
    await terminal.until('Store your API key now? [Y/n]');
    terminal.type(keys);
    expect(await terminal.exited).toBe(0);
    expect(terminal.shown).toContain(`${ownCommand(program)} login ${sandbox.url}`);
  });
});

it('shows the proxy’s own words when it does not work, with exit code 1', async () => {
  const home = makeHome();
  const { url, keyFile } = await gatewayWithKey(home, 'revoked');
  const file = await configOf(home, 'cursor');
  const args = ['install', 'cursor', url, '--key-file', keyFile];
  const { code, stdout } = await run(home, ...args);
  expect(code).toBe(1);
  expect(stdout.replace(/\s+/g, ' ')).toContain('API key rejected (HTTP 401)');
  expect(existsSync(file)).toBe(true);
  const report = await runJson(home, ...args);
  expect(report.check).toMatchObject({ outcome: 'refused', reason: 'unauthorized' });
});

it('prints links that install the entry in Cursor and VS Code', async () => {
  const home = makeHome();
  const args = [
    '-y',
    '--prefer-offline',
    `mcp-latchkey@${ownVersion()}`,
    'https://acme.example/v1/mcp?a=b',
  ];
  const gateway = args[3] as string;
  const cursor = await run(home, 'install', 'cursor', gateway, '--link', '--name', 'a & b');
  expect(cursor).toMatchObject({ code: 0, stderr: '' });
  const link = new URL(cursor.stdout.trim());
  expect(link.href).toMatch(/^cursor:\/\/anysphere\.cursor-deeplink\/mcp\/install\?/);
  expect(link.searchParams.get('name')).toBe('a & b');
  const config = Buffer.from(link.searchParams.get('config') ?? '', 'base64').toString();
  expect(JSON.parse(config)).toEqual({ command: 'npx', args });
  const vscode = await run(home, 'install', '--link', 'vscode', gateway);
  const [, json = ''] = /^vscode:mcp\/install\?(\S+)\n$/.exec(vscode.stdout) ?? [];
  expect(JSON.parse(decodeURIComponent(json))).toEqual({ name: 'acme', command: 'npx', args });
  expect(await run(home, 'install', '--link', 'zed', gateway)).toMatchObject({
    code: 2,
    stdout: '',
  });
  expect(readdirSync(home)).toEqual([]);
});

it('removes a byte order mark that keeps Claude Desktop from loading its servers', async () => {
  const home = makeHome();
  const file = await configOf(home, 'claude-desktop');
  const text = '{\n  "mcpServers": {}\n}\n';
  const install = ['install', 'claude-desktop', URL_OF_GATEWAY, '--no-verify'];
  writeFileSync(file, `\ufeff${text}`);
  const { code, stdout } = await run(home, ...install);
  expect(code).toBe(0);
  expect(stdout).toContain('byte order mark');
  expect(JSON.parse(read(file)).mcpServers).toHaveProperty('acme');
  expect(backupsOf(file).map((backup) => backup.text)).toEqual([`\ufeff${text}`]);
  writeFileSync(file, `\ufeff${read(file)}`);
  expect((await run(home, ...install)).code).toBe(0);
  expect(read(file)).toMatch(/^\{/);
  const again = await run(home, ...install);
  expect(again.stdout).not.toContain('byte order mark');
  expect(again.stdout).toContain('acme is up to date.');
});

it('writes through a link that leads to nothing yet', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  symlinkSync('../dotfiles/cursor.json', file);
  const { code } = await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
  expect(code).toBe(0);
  expect(lstatSync(file).isSymbolicLink()).toBe(true);
  expect(JSON.parse(read(join(home, 'dotfiles/cursor.json'))).mcpServers).toHaveProperty('acme');
});

it('leaves a link alone that leads to itself', async () => {
  const home = makeHome();
  const file = await configOf(home, 'cursor');
  symlinkSync('mcp.json', file);
  const { code, stderr } = await run(home, 'install', 'cursor', URL_OF_GATEWAY, '--no-verify');
  expect(code).toBe(1);
  expect(stderr.replaceAll('\n', ' ')).toContain('was not changed: it');
  expect(lstatSync(file).isSymbolicLink()).toBe(true);
});

it('finds the configs that CLAUDE_CONFIG_DIR and CODEX_HOME move', async () => {
  const home = makeHome();
  const env = { HOME: home, CLAUDE_CONFIG_DIR: join(home, 'c'), CODEX_HOME: join(home, 'x') };
  const { stdout } = await runToEnd(['install', '--list', '--json'], '', env);
  const files = (JSON.parse(stdout) as Json[]).map((client) => client.file);
  expect(files).toContain(join(home, 'c/.claude.json'));
  expect(files).toContain(join(home, 'x/config.toml'));
});
