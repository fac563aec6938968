import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
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
      return platform === 'win32' ? windowsPlace(env, home) : undefined;
    default:
      return undefined;
  }
}

/**
 * Windows shows a packaged (MSIX) program a folder of its own in the place of %APPDATA%, but not every
 * build of Claude Desktop is packaged. So it is the config that was written last, and without one the
 * packaged program's; undefined where nothing says that there is such a program.
 */
function windowsPlace(env: NodeJS.ProcessEnv, home: string): string | undefined {
  const { APPDATA = join(home, 'AppData', 'Roaming') } = env;
  const packages = join(env.LOCALAPPDATA ?? join(home, 'AppData', 'Local'), 'Packages');
  const packaged = namesIn(packages)
    .filter((name) => /^Claude_/i.test(name))
    .map((name) => join(packages, name, 'LocalCache', 'Roaming', 'Claude'))
    .filter((folder) => existsSync(folder));
  const configs = [...packaged, join(APPDATA, 'Claude')].map((folder) =>
    join(folder, 'claude_desktop_config.json'),
  );
  const written = configs
    .map((path) => ({ path, time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.time - a.time)[0];
  if (written !== undefined && written.time > 0) return written.path;
  return packaged.length > 0 ? configs[0] : undefined;
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
