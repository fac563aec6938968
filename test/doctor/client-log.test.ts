import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { clientLogFile, clientLogLines } from '../../src/doctor/client-log.ts';

const config = (home: string, entry = 'acme', client = 'Claude Desktop') => ({
  ...{ client, entry, file: join(home, '.config/Claude/claude_desktop_config.json') },
});

/** The lines of a log with this content. */
function linesOf(content: string | Buffer, entry = 'acme'): string[] {
  const home = mkdtempSync(join(tmpdir(), 'latchkey-client-log-'));
  onTestFinished(() => rmSync(home, { recursive: true }));
  const own = config(home, entry);
  const file = clientLogFile(own, { platform: 'linux', home }) as string;
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  return clientLogLines(own, { platform: 'linux', home });
}

describe('the log of a client', () => {
  it('is where Claude Desktop has it on each system', () => {
    const at = (platform: NodeJS.Platform, entry?: string) =>
      clientLogFile(config('/h', entry), { platform, home: '/h' });
    expect(at('darwin')).toBe(join('/h/Library/Logs/Claude/mcp-server-acme.log'));
    expect(at('linux')).toBe(join('/h/.config/Claude/logs/mcp-server-acme.log'));
    expect(at('win32', 'my server')).toBe(join('/h/.config/Claude/logs/mcp-server-my server.log'));
    expect(at('linux', '../../x')).toBeUndefined();
    expect(at('win32', '..\\x')).toBeUndefined();
    expect(
      clientLogFile(config('/h', 'acme', 'Cursor'), { platform: 'linux', home: '/h' }),
    ).toBeUndefined();
  });

  it('gives its last 40 lines, from its last 64 KiB', () => {
    const many = Array.from({ length: 100 }, (_, index) => `line ${index}`);
    expect(linesOf(`${many.join('\n')}\n`)).toEqual(many.slice(60));
    const long = `first ${'x '.repeat(40_000)}\nlast\n`;
    expect(linesOf(long)).toEqual(['last']);
    expect(linesOf('')).toEqual([]);
  });

  it('has no control character, and no line without end', () => {
    const [line = ''] = linesOf(`\u001b[31mred\u001b[0m\u202e ${'word '.repeat(1_000)}`);
    expect(line).toMatch(/^red word/);
    expect(line).toMatch(/…$/);
    expect(line.length).toBeLessThanOrEqual(500);
  });

  it('says of a message what it was, not what was in it', () => {
    const call = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'my diary' } };
    const error = { jsonrpc: '2.0', id: 7, error: { code: -32012, message: 'API key rejected' } };
    const lines = [
      `2026-01-31T13:45:59.123Z [acme] [info] Message from client: ${JSON.stringify(call)}`,
      `2026-01-31T13:45:59.456Z [acme] [info] Message from server: ${JSON.stringify(error)} `,
      '2026-01-31T13:45:59.789Z [acme] [info] Message from server: {"jsonrpc":"2.0","resu',
      '2026-01-31T13:45:59.789Z [acme] [error] Server disconnected { metadata: undefined }',
    ];
    expect(linesOf(lines.join('\n'))).toEqual([
      '2026-01-31T13:45:59.123Z [acme] [info] Message from client: tools/call, id 7',
      '2026-01-31T13:45:59.456Z [acme] [info] Message from server: id 7, error -32012: API key rejected',
      '2026-01-31T13:45:59.789Z [acme] [info] Message from server: {…}',
      '2026-01-31T13:45:59.789Z [acme] [error] Server disconnected {…}',
    ]);
  });

  it('has no word that looks like a token', () => {
    const token = 'sk-9fK2mQ7xW4vT1pZ8';
    for (const line of [`key ${token}`, `Authorization: Bearer ${token}`, `url?token=${token}&x`]) {
      expect(linesOf(line).join()).toContain('[secret]');
      expect(linesOf(line).join()).not.toContain(token);
    }
  });

  it('is not read where another could have put it there, or where it is not a file', () => {
    const home = mkdtempSync(join(tmpdir(), 'latchkey-client-log-'));
    onTestFinished(() => rmSync(home, { recursive: true }));
    const file = clientLogFile(config(home), { platform: 'linux', home }) as string;
    mkdirSync(dirname(file), { recursive: true });
    const lines = () => clientLogLines(config(home), { platform: 'linux', home });
    expect(lines()).toEqual([]);
    if (process.platform === 'win32') return;
    symlinkSync('/dev/zero', file);
    expect(lines()).toEqual([`${file} is not a file`]);
    rmSync(file);
    writeFileSync(file, 'x', { mode: 0o666 });
    rmSync(file);
    symlinkSync(join(home, 'none'), file);
    expect(lines()).toEqual([]);
  });
});
