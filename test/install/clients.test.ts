import { expect, it } from 'vitest';
import {
  allClients,
  entriesIn,
  entryFor,
  findClient,
  launchOf,
  runsLatchkey,
} from '../../src/install/clients.ts';
import { configText } from '../../src/install/config-format.ts';
import { UneditableError } from '../../src/install/config-text.ts';

const launch = { command: 'npx', args: ['-y', 'mcp-latchkey@1', 'https://api.kindo.ai/v1/mcp'] };

it('knows more than twenty clients', () => {
  expect(allClients().length).toBeGreaterThanOrEqual(22);
});

it.each(allClients().map((client) => [client.id, client] as const))(
  'writes an entry for %s that can be read again, and starts the same',
  async (_, client) => {
    const edit = configText(client.format);
    const { path, value } = await entryFor(client, 'mein Gerät', launch, {});
    const text = edit.set('', path, value);
    const [entry, ...more] = entriesIn(client, edit.read(text));
    expect(more).toEqual([]);
    expect(entry?.path).toEqual([...client.serversPath, 'mein Gerät']);
    expect(launchOf(entry?.value ?? {})).toEqual({ ...launch, env: {} });
    expect(runsLatchkey(entry?.value ?? {})).toBe(true);
    expect(edit.read(edit.remove(text, path))).not.toHaveProperty([...path]);
  },
);

it('leaves the user’s own files and add-mcp’s list as they are', async () => {
  const before = allClients();
  const clients = before.map((client) => entryFor(client, 'x', launch, {}));
  await Promise.all(clients);
  expect(allClients()).toEqual(before);
});

it('puts an entry where the rest of OpenCode’s config has them', async () => {
  const opencode = findClient('opencode');
  if (!opencode) throw new Error('no opencode');
  const native = { mcp: { servers: { a: { type: 'local', command: ['a'] } } } };
  const { path, value } = await entryFor(opencode, 'kindo', launch, native);
  expect(path).toEqual(['mcp', 'servers', 'kindo']);
  const document = { mcp: { servers: { ...native.mcp.servers, kindo: value } } };
  expect(entriesIn(opencode, document).map((entry) => entry.path.at(-1))).toContain('kindo');
});

it('says so when add-mcp finds no place for the entry', async () => {
  const opencode = findClient('opencode');
  if (!opencode) throw new Error('no opencode');
  const document = { mcp: { timeout: 5 } };
  await expect(entryFor(opencode, 'timeout', launch, document)).rejects.toThrow(UneditableError);
});

it.each(['VS Code', 'vs-code', 'vscode', 'VSCODE'])('finds VS Code as %s', (name) => {
  expect(findClient(name)?.id).toBe('vscode');
});

it.each([
  [{ command: 'npx', args: ['-y', 'mcp-latchkey', 'kindo'] }, true],
  [{ command: 'npx', args: ['mcp-latchkey@0.1', 'kindo'] }, true],
  [{ command: 'node', args: ['C:\\x y\\bin\\mcp-latchkey.js', 'kindo'] }, true],
  [{ command: '/usr/bin/mcp-latchkey', args: ['kindo'] }, true],
  [{ command: 'C:\\Users\\Ada L\\AppData\\Roaming\\npm\\mcp-latchkey.cmd', args: ['kindo'] }, true],
  [{ command: 'cmd', args: ['/c', 'C:\\npm\\MCP-Latchkey.CMD', 'kindo'] }, true],
  [{ command: 'powershell', args: ['-File', 'C:\\npm\\mcp-latchkey.ps1', 'kindo'] }, true],
  [{ command: 'C:\\x\\mcp-latchkey.cmd.txt' }, false],
  [{ command: ['npx', 'mcp-latchkey', 'kindo'] }, true],
  [{ command: 'npx', args: ['mcp-remote', 'https://x/mcp-latchkey/y'] }, false],
  [{ command: 'npx', args: ['not-mcp-latchkey'] }, false],
  [{ url: 'https://x/mcp-latchkey' }, false],
  [{ command: 5 }, false],
])('tells whether an entry runs this program: %j', (entry, runs) => {
  expect(runsLatchkey(entry)).toBe(runs);
});
