import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { keychainModule } from '../auth/keychain-module.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { copiesFolder } from './program-copy.ts';

/** npm could not be run, or did not do what it was asked to. The message says why. */
class NpmError extends Error {}

const NAME = 'mcp-latchkey';
const VERSION = /^\d{1,6}\.\d{1,6}\.\d{1,6}(?:-[\w.-]{1,40})?$/;

/** Whether `a` comes after `b` (Semantic Versioning 2.0.0, 11); two pre-releases as their text does. */
export function isNewer(a: string, b: string): boolean {
  const [left, right] = [a, b].map((version) => {
    const [core = '', ...pre] = version.split('-');
    return { core: core.split('.').map(Number), pre: pre.join('-') };
  }) as [{ core: number[]; pre: string }, { core: number[]; pre: string }];
  for (const [index, part] of left.core.entries()) {
    const other = right.core[index] ?? 0;
    if (part !== other) return part > other;
  }
  if (left.pre === '' || right.pre === '') return left.pre === '' && right.pre !== '';
  return left.pre.localeCompare(right.pre, 'en', { numeric: true }) > 0;
}

const noteFile = () => join(dirname(copiesFolder()), 'newest-version');

/** The newest version that `update` has seen, when it comes after `own`. Asks no network. */
export function knownNewerVersion(own: string): string | undefined {
  try {
    const version = readFileSync(noteFile(), 'utf8').trim();
    return VERSION.test(version) && isNewer(version, own) ? version : undefined;
  } catch {
    return undefined;
  }
}

/** Asks npm's registry for the newest version, and notes it. Rejects with NpmError. */
export async function newestVersion(): Promise<string> {
  const text = await npm(
    // Otherwise npm tries for more than a minute without a network.
    [
      'view',
      `${NAME}@latest`,
      'version',
      '--json',
      '--fetch-retries=1',
      '--fetch-retry-mintimeout=1000',
    ],
    dirname(process.execPath),
  );
  const version = text.trim().replace(/^"|"$/g, '');
  if (!VERSION.test(version))
    throw new NpmError('The npm registry does not say which version is the newest');
  try {
    mkdirSync(dirname(noteFile()), { recursive: true, mode: 0o755 });
    writeFileSync(noteFile(), `${version}\n`, { mode: 0o644 });
  } catch {
    // Then status and doctor do not know it.
  }
  return version;
}

/**
 * Has npm unpack a package in the new folder `folder`: a version of the registry, whose integrity
 * npm checks, or a file. No script of it runs. Where npm does not get the keychain's module, that of
 * `ownRoot` is used. Returns the package's folder. Rejects with NpmError.
 */
export async function unpackPackage(
  from: { readonly version: string } | { readonly file: string },
  folder: string,
  ownRoot: string,
): Promise<string> {
  if ('file' in from && !existsSync(from.file)) throw new NpmError(`there is no file ${from.file}`);
  const what =
    'version' in from
      ? [`${NAME}@${from.version}`]
      : // A file is there without the network.
        [resolve(from.file), '--offline', '--omit=optional'];
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  await npm(['install', ...what, '--global=false', '--prefix', folder, ...quiet], folder);
  const root = join(folder, 'node_modules', NAME);
  if (!existsSync(join(root, 'bin', 'mcp-latchkey.js'))) {
    throw new NpmError(`${'file' in from ? from.file : 'the package'} is not ${NAME}`);
  }
  const keychain = keychainModule(ownRoot);
  if (keychainModule(root) === undefined && keychain !== undefined) {
    await cp(keychain, join(folder, 'node_modules', 'keytar'), { recursive: true });
  }
  return root;
}

/** Runs npm in a folder; resolves with its stdout. It uses the user's own registry and proxy. */
async function npm(args: readonly string[], cwd: string): Promise<string> {
  const script = npmScript();
  // On Windows, npm without its script is a batch file, which Node.js starts through a shell only.
  const [command, ...words] = script ? [process.execPath, script, ...args] : ['npm', ...args];
  // npm reads settings of its own from variables, and requires none of this program's.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^MCP_LATCHKEY_/i.test(name)),
  );
  const options = { cwd, env, maxBuffer: 1024 * 1024, timeout: 300_000, windowsHide: true };
  if (script === undefined && process.platform === 'win32') {
    throw new NpmError('There is no npm beside this Node.js. Install Node.js with npm');
  }
  try {
    return (await promisify(execFile)(command as string, words, options)).stdout;
  } catch (error) {
    const { stderr = '', code } = error as { stderr?: string; code?: number | string };
    if (code === 'ENOENT') throw new NpmError('This needs npm, which is not installed');
    if (/\bE404\b/.test(stderr)) throw new NpmError(`The npm registry does not have ${NAME}`);
    if (/\bEINTEGRITY\b/.test(stderr)) {
      throw new NpmError('What npm downloaded is not what the registry lists (EINTEGRITY)');
    }
    const [, network] =
      /^npm \S+ code (ECONN\w+|ENOTFOUND|EAI_AGAIN|E\w*TIMEDOUT)$/m.exec(stderr) ?? [];
    if (network) throw new NpmError(`Cannot reach the npm registry: ${network}`);
    throw new NpmError(`Running npm failed: ${whatNpmSays(stderr) || code}`);
  }
}

/** The first thing that npm says of its failure, after its code: the rest is advice on npm. */
function whatNpmSays(stderr: string): string {
  const lines = stderr.split('\n').flatMap((line) => {
    const [, said = ''] =
      /^npm (?:error|ERR!) (?:(?:code )?[45]\d\d |enoent )?(.*)$/.exec(line.trim()) ?? [];
    return /^(?:code |errno |syscall |path |A complete log)/.test(said) || said === ''
      ? []
      : [said];
  });
  return cleanNetworkText(lines[0] ?? '', 300).replace(/\.$/, '');
}

/** npm's own program, beside this Node.js or the one that runs npx now. */
function npmScript(): string | undefined {
  const folder = dirname(process.execPath);
  return [
    process.env.npm_execpath ?? '',
    join(folder, 'node_modules', 'npm', 'bin', 'npm-cli.js'),
    join(folder, '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js'),
  ].find((path) => path.endsWith('npm-cli.js') && existsSync(path));
}
