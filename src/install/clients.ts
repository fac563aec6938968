import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { type AgentType, agents, getAgentTypes, listInstalledServers, upsertServer } from 'add-mcp';
import { checkPath } from '../private-path.ts';
import { isTable, type Path, UneditableError, valueAt } from './config-text.ts';
import { ownPlace, vsCodeVariants } from './places.ts';

/** How a client starts a server. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A client that add-mcp knows, or a variant of one. */
export interface Client {
  /** Its name on the command line: `claude-desktop`. */
  readonly id: string;
  /** What add-mcp calls a client that has the same entries. */
  readonly agent: AgentType;
  /** `Claude Desktop`. */
  readonly displayName: string;
  readonly format: 'json' | 'toml' | 'yaml';
  readonly configPath: string;
  /** The table that holds the servers. */
  readonly serversPath: Path;
  /** The folder of the project that alone has the servers in this table. */
  readonly project?: string;
}

/** An entry of a config file, as its client's format has it. */
export interface Entry {
  readonly path: Path;
  readonly value: Record<string, unknown>;
}

export function allClients(): Client[] {
  const home = homedir();
  const surroundings = { platform: process.platform, env: process.env, home };
  return getAgentTypes().flatMap((id): Client[] => {
    const agent = agents[id];
    const options = { local: false, cwd: home };
    const client = {
      id,
      agent: id,
      displayName: agent.displayName,
      format: agent.format,
      configPath:
        ownPlace(id, surroundings) ?? agent.resolveConfigPath?.(agent, options) ?? agent.configPath,
      serversPath: agent.configKey.split('.'),
    };
    if (id !== 'vscode') return [client];
    const variants = vsCodeVariants(client.configPath);
    return [client, ...variants.map((variant) => ({ ...client, ...variant }))];
  });
}

/** The clients that read a config in a project's folder as well, with that config. */
export function projectClients(folder: string): Client[] {
  return allClients().flatMap((client) => {
    const { localConfigPath, localConfigKey } = agents[client.agent];
    if (client.id !== client.agent || localConfigPath === undefined) return [];
    const serversPath = localConfigKey?.split('.') ?? client.serversPath;
    return [{ ...client, configPath: join(folder, localConfigPath), serversPath }];
  });
}

/** By name or display name; case, spaces and dashes do not matter. */
export function findClient(name: string): Client | undefined {
  const letters = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  return allClients().find(({ id, displayName }) =>
    [id, displayName].some((known) => letters(known) === letters(name)),
  );
}

/** Whether the client's config, or the folder that it belongs in, is on this computer. */
export async function isInstalled({ id, agent, configPath }: Client): Promise<boolean> {
  const folder = dirname(configPath);
  if (existsSync(configPath) || (folder !== homedir() && existsSync(folder))) return true;
  return id === agent && agents[agent].detectGlobalInstall();
}

/**
 * What add-mcp makes of a server for this client, and where in the document it puts it. add-mcp
 * writes whole files, without their comments in part, and not in one step: so it gets a file of
 * its own to write, and what it wrote is taken from there. Rejects with UneditableError, in
 * add-mcp's words, where it finds no place for the entry.
 */
export async function entryFor(
  client: Client,
  name: string,
  launch: Launch,
  document: unknown,
): Promise<Entry> {
  const { agent: id, format } = client;
  const folder = await mkdtemp(join(tmpdir(), 'mcp-latchkey-')).catch(() =>
    // TMPDIR may name a folder that is not there.
    mkdtemp(join(homedir(), '.mcp-latchkey-')),
  );
  const known = agents[id];
  try {
    // Another user must not be able to change what the client will start.
    refuseShared(folder);
    const configPath = join(folder, 'client', basename(client.configPath));
    // The shape of what is there decides where some clients' entries go.
    if (format === 'json') {
      await mkdir(dirname(configPath));
      await writeFile(configPath, withoutWords(document), { mode: 0o600 });
    }
    const { resolveConfigPath: _, ...agent } = known;
    agents[id] = { ...agent, configPath, detectGlobalInstall: async () => true };
    const { command, args, env } = launch;
    const { success, error } = upsertServer(id, name, {
      command,
      args: [...args],
      ...(env === undefined ? {} : { env: { ...env } }),
    });
    const [listed] = await listInstalledServers({ global: true, agents: [id] });
    const server = listed?.servers.find(({ serverName }) => serverName === name);
    if (!success || server === undefined) {
      throw new UneditableError(error ?? `${id} does not support local servers`);
    }
    const table = client.project === undefined ? server.configKey.split('.') : client.serversPath;
    return { path: [...table, name], value: server.config };
  } finally {
    agents[id] = known;
    await rm(folder, { recursive: true, force: true });
  }
}

function refuseShared(folder: string): void {
  try {
    checkPath(folder, 'trusted');
  } catch (error) {
    throw new UneditableError(`temporary files are not safe, as ${(error as Error).message}`);
  }
}

/** The document's shape as JSON. Its words are left out: there are keys among them. */
function withoutWords(document: unknown): string {
  return JSON.stringify(document, (key, value: unknown) =>
    typeof value === 'string' && key !== 'type' ? 'x' : value,
  );
}

/**
 * The client with each table of servers in its config: Claude Code has one for each project as well,
 * where `claude mcp add` puts them by default (code.claude.com/docs/en/mcp, local scope).
 */
export function tablesOf(client: Client, document: unknown): Client[] {
  const projects = client.id === 'claude-code' ? valueAt(document, ['projects']) : undefined;
  const folders = isTable(projects) ? Object.keys(projects) : [];
  return [
    client,
    ...folders.map((project) => ({
      ...client,
      project,
      serversPath: ['projects', project, 'mcpServers'],
    })),
  ];
}

/** A document's entries, those one level further down (OpenCode's `mcp.servers`) as well. */
export function entriesIn({ serversPath }: Client, document: unknown): Entry[] {
  const members = (path: Path): Entry[] =>
    Object.entries(valueAt(document, path) ?? {}).flatMap(([key, value]) =>
      isTable(value) ? [{ path: [...path, key], value }] : [],
    );
  return members(serversPath).flatMap((entry) =>
    launchOf(entry.value) || typeof entry.value.url === 'string'
      ? [entry]
      : [entry, ...members(entry.path).filter(({ value }) => launchOf(value))],
  );
}

/** How the client would start the entry; undefined when it is no local server. */
export function launchOf(entry: Readonly<Record<string, unknown>>): Launch | undefined {
  const command = entry.command ?? entry.cmd;
  const words = [command, entry.args ?? []].flat();
  const [program, ...args] = words.filter((word) => typeof word === 'string');
  if (program === undefined || args.length + 1 !== words.length) return undefined;
  const env = Object.entries(entry.env ?? entry.environment ?? entry.envs ?? {});
  return { command: program, args, env: Object.fromEntries(env.map(([k, v]) => [k, String(v)])) };
}

/** A package of npx's, or a file: npm's starters on Windows are .cmd and .ps1, where case is ignored. */
const OWN_PROGRAM = /(?:^|[\\/])mcp-latchkey(?:@[^\\/]+|\.(?:js|cmd|ps1))?$/i;

/** Whether the entry runs this program, by npx or from a file. */
export function runsLatchkey(entry: Readonly<Record<string, unknown>>): boolean {
  const { command = '', args = [] } = launchOf(entry) ?? {};
  return [command, ...args].some((word) => OWN_PROGRAM.test(word));
}
