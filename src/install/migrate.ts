import { DEFAULT_ACCOUNT, tailOf } from '../auth/key.ts';
import type { KeychainError } from '../auth/keychain.ts';
import { optionWords } from '../terminal/shell-word.ts';
import {
  allClients,
  type Client,
  type Entry,
  entriesIn,
  entryFor,
  isInstalled,
  type Launch,
  launchOf,
  tablesOf,
} from './clients.ts';
import { type ConfigFile, readConfigFile, replaceConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';
import { type ConfigText, isTable, type Path, UneditableError, valueAt } from './config-text.ts';
import { checkName, EntryError } from './entry.ts';
import { type EntryTrial, tryEntry } from './entry-trial.ts';
import {
  type ForeignEntry,
  foreignEntry,
  type ImmovableEntry,
  REMOTE_MEMBERS,
} from './foreign-entry.ts';
import type { DirectStart } from './install.ts';
import { recordMigration } from './migration-record.ts';
import type { UnreadConfig } from './own-entries.ts';
import { InstallError } from './planned-change.ts';
import { readableFile } from './strict-json.ts';

/** An entry that could run this program instead, without its key. */
export interface FoundEntry {
  readonly name: string;
  /** What it runs: `mcp-remote`. */
  readonly kind: string;
  /** Origin and path; undefined for an entry that cannot be moved. */
  readonly gateway?: string;
  /** The end of its key; `{}` for a short one, undefined where it has none in plain text. */
  readonly key?: { readonly tail?: string };
  /** The proxy's command line for it. */
  readonly words: readonly string[];
  readonly notes: readonly string[];
  /** Why it cannot be moved: a clause. */
  readonly why?: string;
}

/** A client's config that has such entries. */
export interface FoundConfig {
  readonly client: Pick<Client, 'id' | 'displayName'>;
  readonly file: string;
  readonly entries: readonly FoundEntry[];
  /** Moves them, and writes the file once. Never rejects. */
  migrate(options: MigrateOptions): Promise<MigratedConfig>;
}

interface MigrateOptions {
  /** How an entry with these words starts. Rejects with InstallError. */
  readonly startOf: (words: readonly string[]) => Promise<DirectStart>;
  /** Whether each entry is started first, and stays as it was where that does not connect. */
  readonly verifies: boolean;
  readonly onEntry: (entry: MigratedEntry) => void;
}

/** What became of an entry. */
export interface MigratedEntry {
  readonly name: string;
  readonly outcome: 'moved' | 'left';
  /** Why it was left: a clause, or a sentence of the gateway's. */
  readonly why?: string;
  /** The account in the keychain that has its key now. */
  readonly account?: string;
  readonly check?: EntryTrial;
}

interface MigratedConfig {
  readonly entries: readonly MigratedEntry[];
  /** The file as it was, keys and all. */
  readonly backup?: string | undefined;
  /** Why it cannot be undone by this program, in words that fit behind a colon. */
  readonly undoTrouble?: string;
}

/** What the clients' configs have to move; one client's, where `only` is set. Never rejects. */
export async function findForeignEntries(
  only?: Client,
): Promise<{ configs: FoundConfig[]; unread: UnreadConfig[] }> {
  const configs: FoundConfig[] = [];
  const unread: UnreadConfig[] = [];
  for (const client of only ? [only] : allClients()) {
    try {
      if (!(await isInstalled(client))) continue;
      const config = await openConfig(client);
      if (config.found.length > 0) configs.push(describeConfig(config));
    } catch (error) {
      const { message } = error as Error;
      unread.push({ client: client.displayName, file: client.configPath, why: message });
    }
  }
  return { configs, unread };
}

interface OpenConfig {
  readonly client: Client;
  readonly file: ConfigFile;
  readonly edit: ConfigText;
  readonly found: readonly { entry: Entry; foreign: ForeignEntry | ImmovableEntry }[];
}

async function openConfig(client: Client): Promise<OpenConfig> {
  const file = await readConfigFile(client.configPath);
  const edit = configText(client.format);
  const document = edit.read(file.text);
  const entries = tablesOf(client, document).flatMap((table) => entriesIn(table, document));
  const found = entries.flatMap((entry) => {
    const foreign = foreignEntry(entry.value);
    return foreign === undefined ? [] : [{ entry, foreign }];
  });
  return { client, file, edit, found };
}

const nameOf = ({ path }: Entry) => path.at(-1) ?? '';

function describeConfig(config: OpenConfig): FoundConfig {
  const { client, file, found } = config;
  return {
    client: { id: client.id, displayName: client.displayName },
    file: file.path,
    entries: found.map(({ entry, foreign }) => {
      const { kind } = foreign;
      if ('why' in foreign) {
        return { name: nameOf(entry), kind, words: [], notes: [], why: foreign.why };
      }
      const { url, key, words, notes } = foreign;
      return {
        ...{ name: nameOf(entry), kind, gateway: url.origin + url.pathname, words, notes },
        ...(key === undefined ? {} : { key: tailOf(key) }),
      };
    }),
    migrate: (options) => migrateConfig(config, options),
  };
}

async function migrateConfig(
  { client, file, edit, found }: OpenConfig,
  options: MigrateOptions,
): Promise<MigratedConfig> {
  let { text } = file;
  const moves: Move[] = [];
  const entries: MigratedEntry[] = [];
  const say = (entry: MigratedEntry) => {
    entries.push(entry);
    options.onEntry(entry);
  };
  for (const { entry, foreign } of found) {
    const name = nameOf(entry);
    if ('why' in foreign) {
      say({ name, outcome: 'left', why: foreign.why });
      continue;
    }
    const move = await moveEntry({ client, edit, text, entry, foreign }, options);
    if ('why' in move) {
      say({ name, outcome: 'left', ...move });
      continue;
    }
    text = move.text;
    moves.push(move);
  }
  if (moves.length === 0) return { entries };
  let backup: string | undefined;
  try {
    for (const { start } of moves) await start.write();
    backup = await replaceConfigFile(readableFile(client, file), text);
  } catch (error) {
    for (const { name, takeKeyBack } of moves) {
      await takeKeyBack();
      say({ name, outcome: 'left', why: (error as Error).message });
    }
    return { entries };
  }
  for (const { name, account, check } of moves) {
    say({
      ...{ name, outcome: 'moved' },
      ...(account === undefined ? {} : { account }),
      ...(check === undefined ? {} : { check }),
    });
  }
  // Another command may have removed the copy while no config named it.
  for (const { start } of moves) await start.write().catch(() => {});
  if (backup === undefined) return { entries };
  const paths = moves.map(({ path }) => path);
  const record = { client: client.id, file: file.path, backup, text, paths };
  return recordMigration(record).then(
    () => ({ entries, backup }),
    ({ message }: Error) => ({ entries, backup, undoTrouble: message }),
  );
}

/** An entry that is ready to be written. */
interface Move {
  readonly name: string;
  readonly path: Path;
  /** The whole config with it. */
  readonly text: string;
  readonly start: DirectStart;
  readonly account?: string;
  readonly check?: EntryTrial;
  /** Removes the key from the keychain where this has put it there. */
  takeKeyBack(): Promise<unknown>;
}

interface Moving {
  readonly client: Client;
  readonly edit: ConfigText;
  readonly text: string;
  readonly entry: Entry;
  readonly foreign: ForeignEntry;
}

async function moveEntry(
  moving: Moving,
  { startOf, verifies }: MigrateOptions,
): Promise<Move | { why: string; check?: EntryTrial }> {
  const { edit, entry, foreign } = moving;
  const name = nameOf(entry);
  let takeKeyBack: Move['takeKeyBack'] = async () => {};
  try {
    checkName(name);
    const place = foreign.key === undefined ? {} : await placeKey(foreign.url, name, foreign.key);
    if ('why' in place) return place;
    takeKeyBack = place.takeBack ?? takeKeyBack;
    const { account } = place;
    const isNamed = account !== undefined && account !== DEFAULT_ACCOUNT;
    const start = await startOf([
      ...foreign.words,
      ...(isNamed ? optionWords('account', account) : []),
    ]);
    const text = await rewritten(moving, start.launch);
    const launch = launchOf(valueAt(edit.read(text), entry.path) as Record<string, unknown>);
    if (verifies && launch) await start.write();
    const check = verifies && launch ? await tryEntry(launch) : undefined;
    if (check !== undefined && check.outcome !== 'connected') {
      await takeKeyBack();
      return { why: check.message, check };
    }
    return {
      ...{ name, path: entry.path, text, start, takeKeyBack },
      ...(account === undefined ? {} : { account }),
      ...(check === undefined ? {} : { check }),
    };
  } catch (error) {
    await takeKeyBack();
    const isKnown = [EntryError, InstallError, UneditableError].some(
      (known) => error instanceof known,
    );
    if (!isKnown) throw error;
    return { why: (error as Error).message };
  }
}

/** Stores the key, for the account `default` or, where that has another key, one named after the entry. */
async function placeKey(
  url: URL,
  name: string,
  key: string,
): Promise<{ account?: string; takeBack?: () => Promise<unknown> } | { why: string }> {
  const { readKey, removeKey, storeKey } = await import('../auth/keychain.ts');
  for (const account of [DEFAULT_ACCOUNT, name]) {
    const answer = await readKey(url, account);
    if ('error' in answer) return { why: notStored(answer.error) };
    if (answer.value.key === key) return { account };
    if (answer.value.key !== null) continue;
    const stored = await storeKey(url, account, key);
    if ('error' in stored) return { why: notStored(stored.error) };
    return { account, takeBack: () => removeKey(url, account) };
  }
  return { why: `the keychain has other keys for this gateway, and for the account ${name}` };
}

const notStored = ({ words }: KeychainError) =>
  `${words}. To keep the key in a file, use install with --key-file`;

/** What says how an entry is reached: these members change. */
const START_MEMBERS = ['command', 'cmd', 'args', 'type', 'transport', 'source'];
const ENV_MEMBERS = ['env', 'environment', 'envs'];

/** The config with the entry started by `launch`. Rejects with UneditableError. */
async function rewritten(
  { client, edit, text, entry: { path, value: old }, foreign }: Moving,
  launch: Launch,
): Promise<string> {
  const { env, spentVariables } = foreign;
  const hasEnv = Object.keys(env).length > 0;
  const { value } = await entryFor(
    client,
    path.at(-1) ?? '',
    hasEnv ? { ...launch, env } : launch,
    edit.read(text),
  );
  let next = text;
  const set = (member: Path, part: unknown) => {
    next = edit.set(next, [...path, ...member], part);
  };
  const remove = (...member: string[]) => {
    if (valueAt(edit.read(next), [...path, ...member]) === undefined) return;
    next = edit.remove(next, [...path, ...member]);
  };
  for (const [key, part] of Object.entries(value)) {
    if (!Object.hasOwn(old, key)) set([key], part);
    else if (ENV_MEMBERS.includes(key) && isTable(part)) {
      for (const [variable, own] of Object.entries(part)) set([key, variable], own);
    } else if (START_MEMBERS.includes(key) && JSON.stringify(old[key]) !== JSON.stringify(part)) {
      set([key], part);
    }
  }
  const stale = launchOf(old) ? ['command', 'cmd', 'args'] : [...REMOTE_MEMBERS, 'type'];
  for (const member of stale) {
    if (!Object.hasOwn(value, member)) remove(member);
  }
  for (const member of ENV_MEMBERS) {
    const variables = old[member];
    if (!isTable(variables)) continue;
    const isEmptied = Object.keys(variables).every((name) => spentVariables.includes(name));
    if (isEmptied && spentVariables.length > 0 && !hasEnv) remove(member);
    else for (const variable of spentVariables) remove(member, variable);
  }
  return next;
}
