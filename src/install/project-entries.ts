import { stat } from 'node:fs/promises';
import { cleanNetworkText } from '../failures/network-text.ts';
import { allClients, type Client, entriesIn, projectClients } from './clients.ts';
import { readConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';
import { foreignEntry } from './foreign-entry.ts';

/** Entries that could run this program instead, in a config of a project, which others may share. */
export interface ProjectEntries {
  /** The client that reads it there. */
  readonly client: string;
  readonly file: string;
  /** `name`: one clean line. `gateway`: undefined for an entry that cannot be moved. */
  readonly entries: readonly {
    readonly name: string;
    readonly kind: string;
    readonly gateway?: string;
  }[];
}

/** Anyone may have written it, and configs are small. */
const MAX_BYTES = 1024 * 1024;

/**
 * What the clients' configs in the project's folder have to move. None of a config that cannot be
 * read, or that is a user's own. Never rejects.
 */
export async function findProjectEntries(folder: string): Promise<ProjectEntries[]> {
  const known = new Set(allClients().map(({ configPath }) => configPath));
  const found: ProjectEntries[] = [];
  for (const client of projectClients(folder)) {
    const file = client.configPath;
    // Several clients may read the same file.
    if (known.has(file)) continue;
    known.add(file);
    const entries = await entriesOf(client).catch(() => []);
    if (entries.length > 0) found.push({ client: client.id, file, entries });
  }
  return found;
}

async function entriesOf(client: Client): Promise<ProjectEntries['entries']> {
  const stats = await stat(client.configPath);
  if (!stats.isFile() || stats.size > MAX_BYTES) return [];
  const { text } = await readConfigFile(client.configPath);
  return entriesIn(client, configText(client.format).read(text)).flatMap(({ path, value }) => {
    const foreign = foreignEntry(value);
    if (foreign === undefined) return [];
    const { kind } = foreign;
    const name = cleanNetworkText(path.at(-1) ?? '', 60);
    if ('why' in foreign) return [{ name, kind }];
    return [{ name, kind, gateway: foreign.url.origin + foreign.url.pathname }];
  });
}
