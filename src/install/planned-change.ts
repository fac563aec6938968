import {
  type Client,
  type Entry,
  entriesIn,
  entryFor,
  isInstalled,
  type Launch,
  launchOf,
  runsLatchkey,
} from './clients.ts';
import { ConfigFileError, readConfigFile, replaceConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';
import { ConfigSyntaxError, isTable, type Path, UneditableError, valueAt } from './config-text.ts';
import { type ChangedLine, changedLines } from './diff.ts';
import { checkName, EntryError, nameForGateway } from './entry.ts';
import { plainKeysIn } from './plain-keys.ts';
import { losesMark, notesOnJson, readable, readableFile } from './strict-json.ts';

/** It cannot be done. The message says why and what to do, without a full stop. */
export class InstallError extends Error {}

/** What is going to happen to a client's config, and how to make it happen. */
export interface PlannedChange {
  readonly client: Pick<Client, 'id' | 'displayName'>;
  /** The client, with the table that the entry is in. */
  readonly place: Client;
  readonly file: string;
  readonly name: string;
  /** `created` where there is no file yet. */
  readonly change: 'created' | 'added' | 'updated' | 'removed' | 'unchanged';
  readonly diff: readonly ChangedLine[];
  /** How the client will start the entry; undefined once it is removed. */
  readonly launch?: Launch;
  /** Sentences that the user should read. */
  readonly notes: readonly string[];
  /**
   * Writes it. Returns the backup's path where there is one: `backup`, which an earlier change of the same
   * command has made, or a new one. Rejects with InstallError.
   */
  apply(backup?: string): Promise<string | undefined>;
}

/**
 * Plans to write an entry into the client's config: the one of this name; for a URL, the one that runs
 * this program for it, or else one named after the gateway. What an entry of this program has
 * beyond its command, such as `env`, stays. Rejects with InstallError when the client is not
 * installed, the name is another server's (both unless `force` is set), or the file cannot be
 * edited; with EntryError for a name that no client could show.
 */
export async function planInstall(
  client: Client,
  named: string | URL,
  launch: Launch,
  { force = false } = {},
): Promise<PlannedChange> {
  if (typeof named === 'string') checkName(named);
  if (!force && !(await isInstalled(client))) {
    throw new InstallError(
      `${client.displayName} does not seem to be installed (${client.configPath} not found). To write the file anyway, use --force`,
    );
  }
  return inConfig(client, async ({ file, text, document, edit }): Promise<PlannedChange> => {
    const name = typeof named === 'string' ? named : nameFor(client, document, named);
    const entry = await entryFor(client, name, launch, document);
    const old = valueAt(document, entry.path);
    const isOwn = isTable(old) && runsLatchkey(old);
    if (old !== undefined && !isOwn && !force) {
      throw new InstallError(
        `${file.path} already has a different server named "${name}". Choose another name with --name, or replace it with --force`,
      );
    }
    const values = isOwn ? changedParts(entry, old) : [entry];
    const next = values.reduce((changed, { path, value }) => edit.set(changed, path, value), text);
    const added = file.found ? 'added' : 'created';
    const written = valueAt(edit.read(next), entry.path) as Record<string, unknown>;
    return {
      ...planned(client, file, name, next, entry.path, [...wordsOf(launch), ...publicWordsOf(old)]),
      change:
        next === text && !losesMark(client, file)
          ? 'unchanged'
          : old === undefined
            ? added
            : 'updated',
      launch: launchOf(written) ?? launch,
      notes: [
        ...notesOnKeys(launchOf(written) ?? launch, name),
        ...notesOnJson(client, file, next),
      ],
    };
  });
}

/** The name of the entry that runs this program for the URL, or else one for its gateway. */
function nameFor(client: Client, document: unknown, url: URL): string {
  const isSame = (word: string) => URL.canParse(word) && new URL(word).href === url.href;
  const same = entriesIn(client, document).find(
    ({ value }) => runsLatchkey(value) && launchOf(value)?.args.some(isSame),
  );
  return same?.path.at(-1) ?? nameForGateway(url);
}

/** What of the entry's start is new, or not there yet. */
function changedParts({ path, value }: Entry, old: Record<string, unknown>) {
  const starts = ['command', 'cmd', 'args'];
  return Object.entries(value)
    .filter(([key, part]) => {
      if (!Object.hasOwn(old, key)) return true;
      return starts.includes(key) && JSON.stringify(old[key]) !== JSON.stringify(part);
    })
    .map(([key, part]) => ({ path: [...path, key], value: part as unknown }));
}

function notesOnKeys(launch: Launch, name: string): string[] {
  const keys = plainKeysIn(launch);
  if (keys.length === 0) return [];
  return [
    `${name} contains ${keys.join(' and ')} in plain text. Store the key with login, then remove it from the file and from its backup.`,
  ];
}

/**
 * Plans to remove from the client's config what the client itself cannot read: comments, trailing
 * commas, a byte order mark. `changes`: each as a sentence. Rejects as `planInstall` does.
 */
export async function planReadable(
  client: Client,
): Promise<Pick<PlannedChange, 'apply'> & { readonly changes: readonly string[] }> {
  return inConfig(client, async ({ file }) => {
    const { changes, text } = readable(client, file);
    return { changes, apply: planned(client, file, '', text, [], []).apply };
  });
}

/**
 * Plans to remove an entry: `name`, or the one that runs this program. The change is `unchanged`
 * when there is none. Rejects with InstallError when the name is another server's (unless `force`
 * is set) or the file cannot be edited, with EntryError when several could be meant.
 */
export async function planUninstall(
  client: Client,
  name: string | undefined,
  { force = false } = {},
): Promise<PlannedChange> {
  return inConfig(client, async ({ file, text, document, edit }): Promise<PlannedChange> => {
    const entries = entriesIn(client, document);
    const meant = entries.filter(({ path, value }) =>
      name === undefined ? runsLatchkey(value) : path.at(-1) === name,
    );
    const [entry, second] = meant;
    if (entry === undefined) {
      const none = { ...planned(client, file, name ?? '', text, [], []), notes: [] };
      return { ...none, change: 'unchanged' };
    }
    if (second !== undefined) {
      const names = meant.map(({ path }) => path.at(-1)).join(', ');
      throw new EntryError(
        `several entries use mcp-latchkey: ${names}. Add the name of the one to remove`,
      );
    }
    if (!runsLatchkey(entry.value) && !force) {
      throw new InstallError(
        `${name} in ${file.path} does not run mcp-latchkey. To remove it anyway, use --force`,
      );
    }
    const next = edit.remove(text, entry.path);
    const own = entry.path.at(-1) ?? '';
    return {
      ...planned(client, file, own, next, entry.path, publicWordsOf(entry.value)),
      change: 'removed',
      notes: [],
    };
  });
}

interface OpenConfig {
  readonly file: Awaited<ReturnType<typeof readConfigFile>>;
  readonly text: string;
  readonly document: unknown;
  readonly edit: ReturnType<typeof configText>;
}

/** Reads the client's config and plans with it. Rejects with InstallError. */
async function inConfig<Plan>(
  client: Client,
  plan: (config: OpenConfig) => Promise<Plan>,
): Promise<Plan> {
  const { configPath, format } = client;
  try {
    const file = await readConfigFile(configPath);
    const edit = configText(format);
    return await plan({ file, text: file.text, document: edit.read(file.text), edit });
  } catch (error) {
    if (error instanceof ConfigFileError) {
      throw new InstallError(`${configPath} was not changed: ${error.message}`);
    }
    if (error instanceof ConfigSyntaxError) {
      const { line, column, message } = error;
      throw new InstallError(
        `${configPath} was not changed: line ${line}, column ${column}: ${message}. Fix it, then run this again`,
      );
    }
    if (error instanceof UneditableError) {
      throw new InstallError(
        `${configPath} was not changed: ${error.message}. Edit it by hand. --print shows the entry`,
      );
    }
    throw error;
  }
}

function planned(
  client: Client,
  file: OpenConfig['file'],
  name: string,
  next: string,
  path: Path,
  shown: readonly string[],
) {
  const { text } = file;
  return {
    client: { id: client.id, displayName: client.displayName },
    place: client,
    file: file.path,
    name,
    diff: changedLines(text, next, [...shown, ...path, path.join('.'), `${path[0]}.`]),
    async apply(backup?: string) {
      if (next === text && !losesMark(client, file)) return undefined;
      try {
        return await replaceConfigFile(readableFile(client, file), next, { backup });
      } catch (error) {
        if (!(error instanceof ConfigFileError)) throw error;
        throw new InstallError(`${file.path} was not changed: ${error.message}`);
      }
    },
  };
}

const wordsOf = ({ command, args }: Launch) => [command, ...args];

/** The words of an old entry of this program without a key: who wrote it is not known. */
function publicWordsOf(entry: unknown): string[] {
  const launch = isTable(entry) && runsLatchkey(entry) ? launchOf(entry) : undefined;
  return (launch ? wordsOf(launch) : []).filter(
    (word, index, words) =>
      !/^(?:-H|--header|--key-command)$/.test(words[index - 1] ?? '') &&
      /^(?:mcp-latchkey@[\w.^~-]+|[^?=@]*)$/.test(word) &&
      !/^-H./.test(word),
  );
}
