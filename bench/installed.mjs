/** What a user does before the first start: installing a program, and storing a key. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
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
 * @returns {Promise<{credential: string, remove: () => Promise<unknown>}>}
 */
export async function storeKey(bench) {
  const credential = `bench-${crypto.randomUUID()}`;
  const { done, child } = latchkey(bench, 'login', '--key');
  child.stdin?.end(`${credential}\n`);
  await done;
  return { credential, remove: () => latchkey(bench, 'logout').done };
}

/**
 * Signs in at the bench's own server, with the key to the stored sign-in in the keychain.
 * @param {Bench} bench
 * @returns {Promise<{credential: string, remove: () => Promise<unknown>}>}
 */
export async function storeSignIn(bench) {
  const { done, child } = latchkey(bench, 'login', '--no-browser');
  let shown = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      const [link] = /https?:\S*\/authorize\S*(?=\s)/.exec(shown + chunk) ?? [];
      shown = link === undefined ? shown + chunk : '';
      // As a browser does: it follows the redirect to the program.
      if (link !== undefined) fetch(link).catch(() => {});
    });
  }
  await done;
  return { credential: 'bench-token', remove: () => latchkey(bench, 'logout').done };
}

/**
 * Runs one of our own commands for the bench's server.
 * @param {Bench} bench @param {string[]} args
 */
function latchkey({ program, env, url }, ...args) {
  if (program?.name !== 'mcp-latchkey') throw new NotAvailable('keeps nothing in the keychain');
  if (process.platform === 'linux' && !env.DBUS_SESSION_BUS_ADDRESS) {
    throw new NotAvailable('neither a session bus nor dbus-daemon and gnome-keyring-daemon');
  }
  const child = spawn(process.execPath, [program.entry, ...args, url()], { env });
  keep(child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk;
  });
  const done = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new NotAvailable(`${args[0]}: ${stderr.trim().slice(-200)}`);
  });
  return { child, done };
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
