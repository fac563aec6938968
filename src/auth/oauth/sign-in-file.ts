// Where a sign-in is stored, and whether there is one: all that a start has to know. It loads nothing.
import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { SignInEntry } from './stored-sign-in.ts';

/** What each of these files is named after its entry. */
const ENDING = '.json';
/** Of a name: file systems have 255 at most, and a temporary file's name is longer. */
const MAX_CHARACTERS = 200;

/** The folder with the sign-ins, in the user's data folder. */
export const signInFolder = (data: string) => join(data, 'mcp-latchkey', 'sign-ins');

/** The folder with the locks of those who use that folder. */
export const lockFolder = (data: string) => join(data, 'mcp-latchkey', 'locks');

/** The file of an entry's sign-in. */
export function signInFile(data: string, { gateway, account }: SignInEntry): string {
  // Capitals too, because many file systems do not tell them from small letters.
  const name = Buffer.from(`${gateway}#${account}`)
    .toString('latin1')
    .replace(/[^a-z0-9._-]/g, (byte) => `%${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
  const fitting = name.length <= MAX_CHARACTERS ? name : shortened(name);
  return join(signInFolder(data), `${fitting}${ENDING}`);
}

/** The file that is there from when a browser is opened for an entry until the user is signed in. */
export const attemptFile = (data: string, entry: SignInEntry) =>
  `${signInFile(data, entry)}.attempt`;

/** The lock of the process that has the user sign in. */
export const signInLock = ({ gateway, account }: SignInEntry) => `sign-in ${gateway}#${account}`;

/** Whether a sign-in is stored for it, which may be one that cannot be read. Takes one stat. */
export function hasSignIn(data: string, entry: SignInEntry): boolean {
  return statSync(signInFile(data, entry), { throwIfNoEntry: false })?.isFile() ?? false;
}

/** The entry that a file in the folder is named after; undefined when it is not a sign-in's. */
export function entryOfFile(name: string): SignInEntry | undefined {
  if (!name.endsWith(ENDING)) return undefined;
  try {
    const [gateway = '', ...account] = decodeURIComponent(name.slice(0, -ENDING.length)).split('#');
    return { gateway, account: account.join('#') };
  } catch {
    return undefined;
  }
}

function shortened(name: string): string {
  // Few entries have such a name, and to load it takes as long as all else here.
  const { createHash } = process.getBuiltinModule('node:crypto');
  const hash = createHash('sha256').update(name).digest('hex');
  // An escape that is cut in two would not be one.
  return `${name.slice(0, MAX_CHARACTERS - 66).replace(/%.?$/, '')}#${hash}`;
}
