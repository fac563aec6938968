import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, sep } from 'node:path';

/**
 * The folder of the keychain's native module, keytar; undefined when it is not installed. It is
 * looked for in the package's own `node_modules` and in those that the package is in. require() would
 * also look beside every folder above, such as in `C:\node_modules` or `/tmp/node_modules`, which
 * another user may have made.
 */
export function keychainModule(packageRoot: string): string | undefined {
  const { resolve } = createRequire(join(packageRoot, 'package.json'));
  try {
    // Plug'n'Play (Yarn) has no such folders, and looks in the project only.
    if (process.versions.pnp) return dirname(resolve('keytar/package.json'));
  } catch {
    return undefined;
  }
  return resolve
    .paths('keytar')
    ?.filter((place) => dirname(place) === packageRoot || packageRoot.startsWith(place + sep))
    .map((place) => join(place, 'keytar'))
    .find((folder) => existsSync(join(folder, 'package.json')));
}
