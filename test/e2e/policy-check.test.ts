import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runToEnd } from './running-proxy.ts';

async function checked(text: string, ...options: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-policy-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'policy.json');
  writeFileSync(file, text);
  return { file, ...(await runToEnd(['policy', 'check', file, ...options])) };
}

describe('policy check', () => {
  it('says what a policy sets, and exits with 0', async () => {
    const { code, stdout } = await checked('{"forbidden":["header"],"audit":{"file":"/a"}}');
    expect(stdout).toMatch(/policy\.json can\s+be\s+used\.\n/);
    expect(stdout).toMatch(/\n {2}Not allowed: --header, --header-file\n/);
    expect(stdout).toMatch(/Set for everyone: --audit-log/);
    expect(code).toBe(0);
  });

  it('says what is wrong and in which line, and exits with 1', async () => {
    const text = `{
  "gateways": [
    "https://a.example",
    "https://b.example/mcp"
  ],
  "forbiden": ["header"],
  "filters": {
    "read-only": "yes"
  },
  "required": { "allow-http": true,
    "timeot": 5 }
}`;
    const { code, stdout } = await checked(text);
    expect(stdout.replaceAll(/\s+/g, ' ')).toContain(
      '✗ Line 6: the policy has an unknown member, "forbiden". ✗ Line 4: gateways has "https://b.example/mcp", which is not an origin',
    );
    expect(stdout).toMatch(/Line 11: required has an unknown member, "timeot"\./);
    expect(stdout).toMatch(/Line 8: filters.read-only must be true or false\./);
    expect(code).toBe(1);
  });

  it('prints its findings as JSON', async () => {
    const { code, stdout, file } = await checked('{\n"audit": {\n}}', '--json');
    expect(JSON.parse(stdout)).toEqual({
      file,
      valid: false,
      problems: [{ line: 2, problem: 'audit.file must be an absolute path, or start with ~/' }],
      sets: [],
    });
    expect(code).toBe(1);
  });

  it.each([
    ['{\n"contact": "a",\n"gateways": [}\n', 3],
    ['{\n"contact": "a"\n"gateways": []}', 3],
    ['[]', 1],
    ['', 1],
  ])('names the line of what is not a JSON object: %j', async (text, line) => {
    const { code, stdout } = await checked(text, '--json');
    expect(JSON.parse(stdout).problems).toMatchObject([{ line }]);
    expect(code).toBe(1);
  });

  it('names the line of a member that is repeated', async () => {
    const text = '{\n"filters": {"deny-tool": ["*"]},\n"filters": {}\n}';
    const { code, stdout } = await checked(text);
    expect(stdout).toBe('✗ Line 3: "filters" repeats a member of line 2.\n');
    expect(code).toBe(1);
  });

  it('says when the file cannot be read', async () => {
    const { code, stdout } = await runToEnd(['policy', 'check', '/nowhere/policy.json']);
    expect(stdout).toBe('✗ /nowhere/policy.json cannot be read (ENOENT).\n');
    expect(code).toBe(1);
  });
});
