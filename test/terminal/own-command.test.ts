import { delimiter } from 'node:path';
import { expect, it } from 'vitest';
import { ownCommand, withOwnCommand } from '../../src/terminal/own-command.ts';
import { shellWord } from '../../src/terminal/shell-word.ts';

const PATH = ['/usr/bin', '/usr/local/bin'].join(delimiter);

it.each([
  ['/home/a/.npm/_npx/1f2e/node_modules/.bin/mcp-latchkey', 'npx mcp-latchkey'],
  ['/home/a/.npm/_npx/1f2e/node_modules/mcp-latchkey/bin/mcp-latchkey.js', 'npx mcp-latchkey'],
  ['/usr/local/bin/mcp-latchkey', 'mcp-latchkey'],
  ['/opt/tools/mcp-latchkey', '/opt/tools/mcp-latchkey'],
  ['/home/a/clone/bin/mcp-latchkey.js', 'node /home/a/clone/bin/mcp-latchkey.js'],
  [
    '/home/a/my clone/bin/mcp-latchkey.js',
    `node ${shellWord('/home/a/my clone/bin/mcp-latchkey.js')}`,
  ],
  ['/usr/lib/vitest.mjs', 'npx mcp-latchkey'],
  ['', 'npx mcp-latchkey'],
])('a program that was started as %s is started again by %s', (script, command) => {
  expect(ownCommand(script, { PATH })).toBe(command);
});

it('puts the command in place of the name in backticks, and nowhere else', () => {
  expect(withOwnCommand('mcp-latchkey needs a key. Run `mcp-latchkey login URL`.')).toBe(
    'mcp-latchkey needs a key. Run `npx mcp-latchkey login URL`.',
  );
});
