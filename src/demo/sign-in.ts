import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';

/** What a proxy needs in its environment to sign in by itself, and to leave nothing behind. */
export interface SignInPlace {
  readonly env: Record<string, string>;
  remove(): void;
}

/** A folder for sign-ins, and a browser whose user agrees; undefined where its path cannot be named in BROWSER. */
export function makeSignInPlace(): SignInPlace | undefined {
  const browser = [process.execPath, resolve(__dirname, 'demo-browser.js')];
  const isNameable = browser.every((path) => !path.includes('"') && !path.includes(delimiter));
  if (!isNameable) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'mcp-latchkey-demo-'));
  return {
    env: {
      ...{ HOME: folder, USERPROFILE: folder, XDG_DATA_HOME: folder, LOCALAPPDATA: folder },
      BROWSER: browser.map((path) => `"${path}"`).join(' '),
      MCP_LATCHKEY_STORE_KEY: randomBytes(32).toString('base64'),
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
