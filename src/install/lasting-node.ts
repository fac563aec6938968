import { realpathSync } from 'node:fs';
import { delimiter, join, posix, win32 } from 'node:path';

/** The Node.js that an entry starts. */
export interface LastingNode {
  readonly path: string;
  /** The path has a version in it: it goes away with that version, and no lasting link leads to it. */
  readonly hasVersion: boolean;
}

/**
 * Where version managers keep one version of Node.js, and the link of theirs that stays when the
 * version changes. Shims (asdf, volta) are not links: what they start depends on the folder that the
 * client is in.
 */
const LINKS: readonly (readonly [versioned: RegExp, ...links: string[]])[] = [
  // Homebrew
  [/\/Cellar\/([^/]+)\/[^/]+\//, '/opt/$1/'],
  // mise
  [/\/installs\/node\/(\d+)\.[^/]+\//, '/installs/node/latest/', '/installs/node/lts/'],
  [/\/installs\/node\/(\d+)\.[^/]+\//, '/installs/node/$1/'],
  // fnm
  [/([/\\])node-versions[/\\][^/\\]+[/\\]installation/, '$1aliases$1default'],
  // nvm, with NVM_SYMLINK_CURRENT
  [/\/versions\/node\/[^/]+\//, '/current/'],
  // nodebrew
  [/\/node\/v[^/]+\//, '/current/'],
  // snap
  [/\/snap\/node\/\d+\//, '/snap/node/current/'],
  // Scoop
  [/\\apps\\([^\\]+)\\\d[^\\]*\\/, '\\apps\\$1\\current\\'],
];

/** `20`, `v20.1.0`, `node-v20.1.0-linux-x64`, a folder of Nix's store or of a shell of fnm's. */
const VERSIONED =
  /[/\\](?:v?\d+(?:\.\d+)*|[^/\\]*-v?\d+\.\d+\.\d+[^/\\]*)[/\\]|^\/nix\/store\/|fnm_multishells/;

/**
 * The path of the running Node.js that lasts longest: one without a version in it, by the links of
 * version managers or by the PATH, where such a one leads to the same file.
 */
export function lastingNode(
  execPath: string,
  env: NodeJS.ProcessEnv,
  platform: NodeJS.Platform,
): LastingNode {
  const real = realPath(execPath) ?? execPath;
  const isWindows = platform === 'win32';
  const { basename } = isWindows ? win32 : posix;
  const links = LINKS.flatMap(([versioned, ...links]) =>
    versioned.test(real) ? links.map((link) => real.replace(versioned, link)) : [],
  );
  const onPath = [env.NVM_SYMLINK ?? '', ...(env.PATH ?? '').split(delimiter)]
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, basename(execPath)));
  const path = [execPath, real, ...links, ...onPath].find(
    (own) => !VERSIONED.test(own) && realPath(own) === real,
  );
  if (path !== undefined) return { path, hasVersion: false };
  // A link with a major version in it still outlasts the minor ones.
  return { path: links.find((link) => realPath(link) === real) ?? real, hasVersion: true };
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
