import { readFile } from 'node:fs/promises';
import {
  allClients,
  type Client,
  entriesIn,
  isInstalled,
  type Launch,
  launchOf,
  runsLatchkey,
  tablesOf,
} from './clients.ts';
import { readConfigFile } from './config-file.ts';
import { configText } from './config-format.ts';

/** An entry of an installed client's config that starts this program. */
export interface OwnEntry {
  /** `Claude Desktop`. */
  readonly client: string;
  /** The client, with the table that the entry is in. */
  readonly place: Client;
  readonly file: string;
  readonly name: string;
  readonly launch: Launch;
  /** What stands behind the program in the entry: its command line. */
  readonly words: readonly string[];
}

/** A client's config that could not be read, and why, in words that fit after a colon. */
export interface UnreadConfig {
  readonly client: string;
  readonly file: string;
  readonly why: string;
  /** Whether this program is named in it, so that the client does not start it. */
  readonly namesProgram?: boolean;
}

/** What the configs of all installed clients start of this program. Never rejects. */
export async function ownEntries(): Promise<{ entries: OwnEntry[]; unread: UnreadConfig[] }> {
  const found = await Promise.all(allClients().map(entriesOf));
  return {
    entries: found.flatMap(({ entries }) => entries),
    unread: found.flatMap(({ unread }) => unread),
  };
}

async function entriesOf(client: Client): Promise<{ entries: OwnEntry[]; unread: UnreadConfig[] }> {
  const { displayName, configPath: file, format } = client;
  try {
    if (!(await isInstalled(client))) return { entries: [], unread: [] };
    const { text } = await readConfigFile(file);
    const document = configText(format).read(text);
    const entries = tablesOf(client, document).flatMap((place) =>
      entriesIn(place, document).flatMap(({ path, value }) => {
        const launch = launchOf(value);
        if (launch === undefined || !runsLatchkey(value)) return [];
        const words = [launch.command, ...launch.args];
        const program = words.findIndex((word) => runsLatchkey({ command: word }));
        const own = { client: displayName, place, file, name: path.at(-1) ?? '', launch };
        return [{ ...own, words: words.slice(program + 1) }];
      }),
    );
    return { entries, unread: [] };
  } catch (error) {
    const namesProgram = await readFile(file, 'latin1').then(
      (text) => text.includes('mcp-latchkey'),
      () => false,
    );
    const why = (error as Error).message;
    return {
      entries: [],
      unread: [{ client: displayName, file, why, ...(namesProgram ? { namesProgram } : {}) }],
    };
  }
}
