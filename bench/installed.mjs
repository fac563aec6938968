/** What a user does before the first start: installing a program, and storing a key. */
import { execFile } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { version } from './programs.mjs';
import { keep, NotAvailable, Wrong } from './session.mjs';

/** @typedef {import('./rows.mjs').Bench} Bench */

/**
 * Runs npm: the one that runs this benchmark, or the one on the PATH.
 * @param {string[]} args
 * @returns {Promise<string>} its stdout
 */
export function npm(args) {
  const cli = process.env.npm_execpath;
  const file = cli ? process.execPath : 'npm';
  const options = { timeout: 170_000, shell: !cli && process.platform === 'win32', maxBuffer: 1e8 };
  return new Promise((resolve, reject) => {
    const child = execFile(file, cli ? [cli, ...args] : args, options, (error, stdout, stderr) => {
      if (error) reject(new Wrong(`npm ${args[0]} failed: ${stderr.trim().slice(-300)}`));
      else resolve(stdout);
    });
    keep(child);
  });
}

/** @type {Promise<string[]> | undefined} */
let entryCommand;

/**
 * The command of the entry in a client's config: what `install` writes into Cursor's, or what a
 * peer's README says to write.
 * @param {Bench} bench
 * @returns {Promise<string[]>}
 */
export async function installedCommand({ program, env, url }) {
  if (program?.name === 'floor') return [process.execPath, program.entry, ...program.args(url())];
  if (program?.name !== 'mcp-latchkey') {
    if (!program?.manifest || process.platform === 'win32') throw new NotAvailable('is run by npx');
    return ['npx', '-y', `${program.name}@${version(program)}`, ...program.args(url())];
  }
  entryCommand ??= install(program.entry, url(), env);
  return entryCommand;
}

/** @param {string} program @param {string} url @param {NodeJS.ProcessEnv} env */
async function install(program, url, env) {
  const folder = join(String(env.HOME), '.cursor');
  mkdirSync(folder, { recursive: true });
  const args = ['install', 'cursor', url, '--name', 'bench', '--no-verify'];
  await new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [program, ...args], { env }, (error, _, stderr) => {
      if (error) reject(new Wrong(`install: ${stderr.trim().slice(-200)}`));
      else resolve(undefined);
    });
    keep(child);
  });
  const config = JSON.parse(readFileSync(join(folder, 'mcp.json'), 'utf8'));
  const entry = config.mcpServers.bench;
  return [entry.command, ...entry.args];
}

/**
 * What the files in a folder hold, as npm counts a package's unpacked size. What they take on the
 * disk depends on the file system.
 * @param {string} folder @returns {number} bytes
 */
function folderBytes(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += lstatSync(join(entry.parentPath, entry.name)).size;
  }
  return bytes;
}

/**
 * Stores a key of its own in the keychain.
 * @param {Bench} bench
 * @returns {Promise<{key: string, remove: () => Promise<unknown>}>}
 */
export async function storeKey(bench) {
  const { program, env } = bench;
  if (program?.name !== 'mcp-latchkey') throw new NotAvailable('keeps no key in the keychain');
  if (process.platform === 'linux' && !env.DBUS_SESSION_BUS_ADDRESS) {
    throw new NotAvailable('neither a session bus nor dbus-daemon and gnome-keyring-daemon');
  }
  const key = `bench-${crypto.randomUUID()}`;
  /** @param {string} command @param {string} input */
  const latchkey = (command, input) =>
    new Promise((resolve, reject) => {
      const child = execFile(
        process.execPath,
        [program.entry, command, bench.url()],
        { env },
        (error, _, stderr) => {
          if (error) reject(new NotAvailable(`${command}: ${stderr.trim().slice(-200)}`));
          else resolve(undefined);
        },
      );
      keep(child).stdin?.end(input);
    });
  await latchkey('login', `${key}\n`);
  return { key, remove: () => latchkey('logout', '') };
}

/**
 * Installs a program with npm into an empty folder, with an empty cache.
 * @param {Bench} bench
 * @returns {Promise<Record<string, number>>}
 */
export async function coldInstall(bench) {
  const { program } = bench;
  if (!program?.manifest) throw new NotAvailable('is not a package');
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-bench-install-'));
  try {
    const { name, version } = JSON.parse(readFileSync(program.manifest, 'utf8'));
    let what = `${name}@${version}`;
    if (name === 'mcp-latchkey') {
      const root = join(program.manifest, '..');
      const packed = await npm([
        // Without scripts: `prepack` would rebuild dist/.
        ...['pack', root, '--json', '--ignore-scripts', '--pack-destination', folder],
      ]);
      what = join(folder, JSON.parse(packed.slice(packed.indexOf('[')))[0].filename);
    }
    const began = performance.now();
    const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
    const cache = join(folder, 'cache');
    const prefix = join(folder, 'installed');
    await npm(['install', what, '--prefix', prefix, '--cache', cache, ...quiet]);
    const seconds = (performance.now() - began) / 1000;
    const modules = join(prefix, 'node_modules');
    const lock = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8'));
    return {
      'install-packages': Object.keys(lock.packages).length,
      'install-size': folderBytes(modules) / 1e6,
      'install-time': seconds,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
