import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** The computer as far as it decides where a config is. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly env: NodeJS.ProcessEnv;
  readonly home: string;
}

/** Where a client keeps its config, for those where add-mcp (2.4) looks in another place. */
export function ownPlace(id: string, { platform, env, home }: Surroundings): string | undefined {
  switch (id) {
    case 'zed':
      // `config_dir` of Zed's crates/paths.
      return platform === 'darwin' ? join(home, '.config', 'zed', 'settings.json') : undefined;
    case 'claude-code':
      // code.claude.com/docs/en/settings
      return env.CLAUDE_CONFIG_DIR ? join(env.CLAUDE_CONFIG_DIR, '.claude.json') : undefined;
    case 'claude-desktop':
      return platform === 'win32' ? storePlace(env.LOCALAPPDATA ?? '') : undefined;
    default:
      return undefined;
  }
}

/** Windows shows a packaged (MSIX) program this folder in the place of %APPDATA%. */
function storePlace(localAppData: string): string | undefined {
  const packages = join(localAppData, 'Packages');
  const folders = namesIn(packages)
    .filter((name) => name.startsWith('Claude_'))
    .map((name) => join(packages, name, 'LocalCache', 'Roaming', 'Claude'));
  const folder = folders.find((path) => existsSync(path));
  return folder && join(folder, 'claude_desktop_config.json');
}

/** A client that reads what VS Code reads, in another place. */
interface VsCodeVariant {
  readonly id: string;
  readonly displayName: string;
  readonly configPath: string;
}

/**
 * VS Code's other editions, and the profiles of each that have servers of their own. `configPath`: of
 * VS Code itself, `…/Code/User/mcp.json`.
 */
export function vsCodeVariants(configPath: string): VsCodeVariant[] {
  const user = dirname(configPath);
  const folderOf = (edition: string) => join(dirname(dirname(user)), edition, 'User');
  const editions = [
    { id: 'vscode', displayName: 'VS Code', folder: user },
    { id: 'vscode-insiders', displayName: 'VS Code Insiders', folder: folderOf('Code - Insiders') },
    { id: 'vscodium', displayName: 'VSCodium', folder: folderOf('VSCodium') },
  ];
  return editions.flatMap(({ id, displayName, folder }) => {
    const own = { id, displayName, configPath: join(folder, basename(configPath)) };
    const profiles = profilesIn(folder).map(({ location, name }) => ({
      id: `${id}-profile-${slug(name) || location}`,
      displayName: `${displayName} (${name})`,
      configPath: join(folder, 'profiles', location, basename(configPath)),
    }));
    return [...(id === 'vscode' ? [] : [own]), ...profiles];
  });
}

const slug = (name: string) =>
  name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

interface Profile {
  /** Its folder's name. */
  readonly location: string;
  readonly name: string;
}

/** The profiles that do not share their servers with the default one, as VS Code has noted them. */
function profilesIn(userFolder: string): Profile[] {
  const folders = namesIn(join(userFolder, 'profiles'));
  if (folders.length === 0) return [];
  try {
    const storage = readFileSync(join(userFolder, 'globalStorage', 'storage.json'), 'utf8');
    const { userDataProfiles } = JSON.parse(storage);
    return (userDataProfiles as (Profile & { useDefaultFlags?: { mcp?: boolean } })[])
      .filter(
        ({ location, useDefaultFlags }) => folders.includes(location) && !useDefaultFlags?.mcp,
      )
      .map(({ location, name }) => ({ location, name: String(name) }));
  } catch {
    return [];
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
