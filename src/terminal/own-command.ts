import { basename, delimiter, dirname } from 'node:path';
import { shellWord } from './shell-word.ts';

/**
 * How to start this program again from a shell, ready to copy: `mcp-latchkey` where it was started by
 * that name, `node PATH` for a clone or a local copy, otherwise `npx mcp-latchkey`. `script`: the file
 * that Node.js was started with.
 */
export function ownCommand(
  script = process.argv[1] ?? '',
  env: NodeJS.ProcessEnv = process.env,
): string {
  const { PATH = '' } = env;
  const name = basename(script);
  const isCached = /[\\/]_npx[\\/]/.test(script);
  if (name === 'mcp-latchkey.js' && !isCached) return `node ${shellWord(script)}`;
  if (name !== 'mcp-latchkey' || isCached) return 'npx mcp-latchkey';
  const isOnPath = PATH.split(delimiter).includes(dirname(script));
  return isOnPath ? name : shellWord(script);
}

/** `text` with commands such as `mcp-latchkey login URL`, in backticks, as they must be typed here. */
export function withOwnCommand(text: string): string {
  return text.replaceAll('`mcp-latchkey ', `\`${ownCommand()} `);
}
