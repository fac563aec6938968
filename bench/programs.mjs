import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** @param {string} path relative to this folder */
const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/**
 * @typedef {object} Program
 * @property {string} name
 * @property {string} entry the file that node runs
 * @property {string} [manifest] its package.json
 * @property {(url: string) => string[]} args what follows the entry
 * @property {string[]} [filter] the options that filter `longList`
 * @property {NodeJS.ProcessEnv} [env] what it takes from the environment
 */

/** The key that every program sends, given as a client's config would. Opaque, and no secret. */
export const key = 'bench-key';

/**
 * @param {string} name @param {string} entry
 * @returns {Program} a build of mcp-latchkey
 */
export const latchkey = (name, entry) => ({
  name,
  entry,
  args: (url) => [url],
  filter: ['--deny-tool', 'delete_*', '--deny', 'prompt:secret_*'],
  env: { MCP_LATCHKEY_API_KEY: key },
});

/**
 * Each is run with node itself, not npx, and with its log turned off where it has a switch for it:
 * both peers otherwise write a line or two to stderr for every message.
 * @type {Program[]}
 */
export const programs = [
  {
    ...latchkey('mcp-latchkey', here('../bin/mcp-latchkey.js')),
    manifest: here('../package.json'),
  },
  {
    name: 'mcp-remote',
    entry: here('node_modules/mcp-remote/dist/proxy.js'),
    manifest: here('node_modules/mcp-remote/package.json'),
    args: (url) => [
      ...[url, '--header', `Authorization: Bearer ${key}`],
      ...['--allow-http', '--transport', 'http-only', '--silent'],
    ],
  },
  {
    name: 'supergateway',
    entry: here('node_modules/supergateway/dist/index.js'),
    manifest: here('node_modules/supergateway/package.json'),
    args: (url) => ['--streamableHttp', url, '--oauth2Bearer', key, '--logLevel', 'none'],
  },
  { name: 'floor', entry: here('floor.cjs'), args: (url) => [url], env: { BENCH_KEY: key } },
];

/** @param {Program} program @returns {string | undefined} its version, where it has one */
export const version = (program) =>
  program.manifest && JSON.parse(readFileSync(program.manifest, 'utf8')).version;
