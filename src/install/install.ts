import { join } from 'node:path';
import { nearestNames } from '../failures/nearest-name.ts';
import {
  allClients,
  type Client,
  entriesIn,
  entryFor,
  findClient,
  isInstalled,
  type Launch,
  runsLatchkey,
  tablesOf,
} from './clients.ts';
import { readConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';
import { ConfigSyntaxError } from './config-text.ts';
import { checkName, EntryError, npxLaunch } from './entry.ts';
import { lastingNode } from './lasting-node.ts';
import { InstallError } from './planned-change.ts';
import { copiesFolder, type ProgramCopy, programCopy } from './program-copy.ts';

export { clientPath, findOnPath } from './client-path.ts';
export type { Client, Launch } from './clients.ts';
export type { ChangedLine } from './diff.ts';
export { nameForGateway, proxyWords } from './entry.ts';
export { type EntryTrial, tryEntry } from './entry-trial.ts';
export { type Leftovers, leftovers, removeLeftovers } from './leftovers.ts';
export { BUNDLED_LAUNCHER, makeBundle } from './mcpb/bundle.ts';
export {
  type FoundConfig,
  type FoundEntry,
  findForeignEntries,
  type MigratedEntry,
} from './migrate.ts';
export { undoMigrations } from './migration-record.ts';
export { isNewer, knownNewerVersion, newestVersion } from './newer-version.ts';
export { nextStep } from './next-step.ts';
export { type OwnEntry, ownEntries, type UnreadConfig } from './own-entries.ts';
export { optionValues, plainKeysIn } from './plain-keys.ts';
export {
  InstallError,
  type PlannedChange,
  planInstall,
  planReadable,
  planUninstall,
} from './planned-change.ts';
export { copiesFolder, type ProgramCopy, programCopy } from './program-copy.ts';
export { findProjectEntries, type ProjectEntries } from './project-entries.ts';
export { readingProblems } from './strict-json.ts';
export { removeUnusedCopies } from './unused-copies.ts';
export { type EntryUpdate, fetchCopy, moveEntries } from './update.ts';
export { EntryError, npxLaunch };

/** The client of this name. Throws EntryError with the nearest names where there is none. */
export function clientOf(name: string): Client {
  const client = findClient(name);
  if (client) return client;
  const ids = allClients().map(({ id }) => id);
  const letters = name.toLowerCase().replace(/[^a-z0-9]/g, '');
  const parts = ids.filter((id) => letters.length > 2 && id.replaceAll('-', '').includes(letters));
  const near = parts.length > 0 ? parts : nearestNames(name, ids);
  throw new EntryError(
    near.length > 0
      ? `unknown client. Did you mean ${near.join(' or ')}?`
      : `unknown client. Supported: ${ids.join(', ')}. For any other client, use --print`,
  );
}

/** How an entry starts a copy of the package without npm, and what makes that copy. */
export interface DirectStart {
  readonly launch: Launch;
  /** Sentences that the user should read. */
  readonly notes: readonly string[];
  /** Writes the copy unless an intact one is in place. Rejects with InstallError. */
  write(): Promise<void>;
}

/**
 * The copy of the package at `packageRoot` in the user's data folder, as programCopy has it, but written
 * once, however often a command asks. It and its `write` reject with InstallError.
 */
export async function ownCopy(packageRoot: string): Promise<ProgramCopy> {
  const copies = copiesFolder();
  const failed = (error: unknown): never => {
    const { message } = error as Error;
    throw new InstallError(
      `Cannot copy the program to ${copies}: ${message}. Use --npx to start it without a copy`,
    );
  };
  const copy = await programCopy(packageRoot, copies).catch(failed);
  let written: Promise<void> | undefined;
  return {
    ...copy,
    write: () => {
      written ??= copy.write().catch(failed);
      return written;
    },
  };
}

/** The start of a copy with the proxy's `words`, by the Node.js that runs now. */
export function directStart(copy: ProgramCopy, words: readonly string[]): DirectStart {
  const { path, hasVersion } = lastingNode(process.execPath, process.env, process.platform);
  return {
    launch: { command: path, args: [copy.script, ...words] },
    notes: hasVersion
      ? [`The entry starts ${path}. If you remove that version of Node.js, run this again.`]
      : [],
    write: () => copy.write(),
  };
}

/**
 * The start for an entry that people paste: of the package at `packageRoot` in its place, by the Node.js
 * that runs now. By npx where `byNpx` asks for it, or where npx has the package in its own cache, which
 * npm may empty. Throws EntryError for words that cannot be passed through npx.
 */
export function launchToPaste(
  packageRoot: string,
  words: readonly string[],
  byNpx: boolean,
): Launch {
  if (byNpx || /[\\/]_npx[\\/]/.test(packageRoot)) {
    return npxLaunch(__VERSION__, words, process.platform);
  }
  const { path } = lastingNode(process.execPath, process.env, process.platform);
  return { command: path, args: [join(packageRoot, 'bin', 'mcp-latchkey.js'), ...words] };
}

/** What to paste into a client's config, in its own format; for unknown clients as JSON. */
export async function snippetFor(clientName: string, name: string, launch: Launch) {
  checkName(name);
  const client = findClient(clientName);
  const { command, args } = launch;
  if (client === undefined) {
    return `${JSON.stringify({ mcpServers: { [name]: { command, args } } }, null, 2)}\n`;
  }
  const { path, value } = await entryFor(client, name, launch, {});
  return configText(client.format).set('', path, value);
}

/**
 * A link that installs the entry when it is opened (cursor.com/docs/mcp/install-links; VS Code's MCP
 * developer guide). Throws EntryError for clients that have none.
 */
export function installLink(clientName: string, name: string, launch: Launch): string {
  checkName(name);
  const { command, args } = launch;
  const id = clientOf(clientName).id;
  if (id === 'vscode') {
    return `vscode:mcp/install?${encodeURIComponent(JSON.stringify({ name, command, args }))}`;
  }
  if (id !== 'cursor') throw new EntryError('install links are for cursor and vscode only');
  const config = Buffer.from(JSON.stringify({ command, args })).toString('base64');
  const query = `name=${encodeURIComponent(name)}&config=${encodeURIComponent(config)}`;
  return `cursor://anysphere.cursor-deeplink/mcp/install?${query}`;
}

/** A client with what its config has of this program. */
export interface ListedClient {
  readonly client: string;
  readonly name: string;
  readonly installed: boolean;
  readonly file: string;
  /** Names of the entries that run this program. */
  readonly entries: readonly string[];
  /** Why its config cannot be read. */
  readonly problem?: string;
}

/** Every client that is known. Never rejects because of one of them. */
export function listClients(): Promise<ListedClient[]> {
  return Promise.all(
    allClients().map(async (client): Promise<ListedClient> => {
      const { id, displayName, configPath } = client;
      const listed = {
        client: id,
        name: displayName,
        installed: await isInstalled(client),
        file: configPath,
      };
      try {
        const { text } = await readConfigFile(configPath);
        const document = configText(client.format).read(text);
        const entries = tablesOf(client, document).flatMap((table) => entriesIn(table, document));
        const own = entries.filter(({ value }) => runsLatchkey(value));
        return { ...listed, entries: own.map(({ path }) => path.at(-1) ?? '') };
      } catch (error) {
        const at = error instanceof ConfigSyntaxError ? `line ${error.line}: ` : '';
        return { ...listed, entries: [], problem: `${at}${(error as Error).message}` };
      }
    }),
  );
}
