import { describe, expect, it } from 'vitest';
import { launchToPaste } from '../../src/install/install.ts';

const url = 'https://gateway.example/v1/mcp';
const start = (launch: { command: string; args: readonly string[] }) =>
  [launch.command, ...launch.args].join(' ');

describe('launchToPaste', () => {
  it('starts a clone, or an installed package, in its place', () => {
    const { command, args } = launchToPaste('/home/a/clone', [url, '--timeout', '5'], false);
    expect(command).toMatch(/node(\.exe)?$/);
    expect(args.slice(1)).toEqual([url, '--timeout', '5']);
    expect(args[0]?.replaceAll('\\', '/')).toBe('/home/a/clone/bin/mcp-latchkey.js');
  });

  it.each([
    '/home/a/.npm/_npx/1f2e/node_modules/mcp-latchkey',
    String.raw`C:\npm\_npx\1f\mcp-latchkey`,
  ])('uses npx for %s, which npm may remove', (root) => {
    expect(start(launchToPaste(root, [url], false))).toContain(
      'npx -y --prefer-offline mcp-latchkey@',
    );
  });

  it('uses npx where that is asked for', () => {
    expect(start(launchToPaste('/home/a/clone', [url], true))).toContain('npx -y');
  });
});
