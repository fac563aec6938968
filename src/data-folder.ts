import { posix, win32 } from 'node:path';

/** The folder of this computer in which a user's programs keep their data. */
export function dataFolder(
  platform: NodeJS.Platform,
  env: NodeJS.ProcessEnv,
  home: string,
): string {
  if (platform === 'win32') {
    return env.LOCALAPPDATA ?? win32.join(home, 'AppData', 'Local');
  }
  if (platform === 'darwin') return posix.join(home, 'Library', 'Application Support');
  const xdg = env.XDG_DATA_HOME ?? '';
  // A relative path is to be ignored (XDG Base Directory Specification, Basics).
  return posix.isAbsolute(xdg) ? xdg : posix.join(home, '.local', 'share');
}
