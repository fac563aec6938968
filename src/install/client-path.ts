import { accessSync, constants } from 'node:fs';
import { isAbsolute, join } from 'node:path';

/** What launchd gives every program that is not started from a shell (launchctl(1), macOS). */
const LAUNCHD_PATH = '/usr/bin:/bin:/usr/sbin:/sbin';

/**
 * The PATH with which a client looks up the command of an entry. On macOS a program with windows has
 * launchd's, unless it asks the user's shell, as VS Code, its kin and Zed do.
 */
export function clientPath(
  clientName: string,
  platform: NodeJS.Platform = process.platform,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  return platform === 'darwin' && clientName === 'Claude Desktop' ? LAUNCHD_PATH : env.PATH;
}

/** The file that a command is on POSIX systems, by the folders in `path`; undefined where none has it. */
export function findOnPath(command: string, path = ''): string | undefined {
  const files = command.includes('/')
    ? [command]
    : path.split(':').flatMap((folder) => (isAbsolute(folder) ? [join(folder, command)] : []));
  return files.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
