import { type Client, findClient } from './clients.ts';
import { type ConfigFile, readConfigFile } from './config-file.ts';
import { beyondJson, strictJson } from './json-text.ts';

/**
 * Clients that read their config with a strict reader of JSON, and start none of its servers when that
 * fails. Of all others it is known that they read more, or not known.
 */
const STRICT: ReadonlyMap<Client['id'], { readonly allowsComments: boolean }> = new Map([
  ['claude-desktop', { allowsComments: false }],
  // github.com/anthropics/claude-code, issues 9906 and 69354
  ['claude-code', { allowsComments: false }],
  // `readAndValidateMcpSettingsFile` in its src/services/mcp/McpHub.ts
  ['cline', { allowsComments: false }],
  // It removes comments first: github.com/google-gemini/gemini-cli, pull request 422
  ['gemini-cli', { allowsComments: true }],
  // github.com/github/copilot-cli, issue 4323
  ['github-copilot-cli', { allowsComments: false }],
]);

/** Whether the file loses its byte order mark when it is written, since its client stumbles over it. */
export const losesMark = (client: Client, { hasByteOrderMark }: ConfigFile) =>
  hasByteOrderMark && STRICT.has(client.id);

/** The file as its client can read it. */
export function readableFile(client: Client, file: ConfigFile): ConfigFile {
  return losesMark(client, file) ? { ...file, hasByteOrderMark: false } : file;
}

/** What its client cannot read in the text, undefined when there is nothing. */
function firstUnreadable({ id }: Client, text: string) {
  const strict = STRICT.get(id);
  return strict === undefined ? undefined : beyondJson(text, strict)[0];
}

/** How to make the file one that its client can read: the changes, each as a sentence, and the text. */
export function readable(client: Client, file: ConfigFile): { changes: string[]; text: string } {
  const strict = STRICT.get(client.id);
  if (strict === undefined) return { changes: [], text: file.text };
  const changes = beyondJson(file.text, strict).map(
    ({ what, line, column }) =>
      `Remove ${what} at line ${line}, column ${column}, of ${file.path}.`,
  );
  if (losesMark(client, file)) changes.unshift(`Remove the byte order mark from ${file.path}.`);
  return { changes, text: strictJson(file.text, strict) };
}

/** Sentences on what the client stumbles over in `file`, which is going to contain `text`. */
export function notesOnJson(client: Client, file: ConfigFile, text: string): string[] {
  const { displayName } = client;
  const mark = losesMark(client, file)
    ? [
        `Its config began with a byte order mark, so ${displayName} loaded no server. It is removed.`,
      ]
    : [];
  const at = firstUnreadable(client, text);
  if (at === undefined) return mark;
  return [
    ...mark,
    `${displayName} will not load any server: its config has ${at.what} at line ${at.line}, column ${at.column}. Remove it.`,
  ];
}

/** Why a client loads no server of a config that others can read, and what to do about it. */
interface ReadingProblem {
  /** Without a full stop. */
  readonly why: string;
  readonly sentence: string;
  readonly remedy: string;
}

/** Why the client cannot read its own config. Rejects with ConfigFileError. */
export async function readingProblems(clientName: string): Promise<ReadingProblem[]> {
  const client = findClient(clientName);
  if (client === undefined) return [];
  const file = await readConfigFile(client.configPath);
  const at = firstUnreadable(client, file.text);
  const found = [
    ...(losesMark(client, file) ? ['it begins with a byte order mark'] : []),
    ...(at === undefined ? [] : [`it has ${at.what} at line ${at.line}, column ${at.column}`]),
  ];
  return found.map((why) => ({
    why,
    sentence: `${clientName} loads no server from its config: ${why}.`,
    remedy: `Remove it, save the file as UTF-8, and restart ${clientName}.`,
  }));
}
