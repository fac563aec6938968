import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EntryError } from '../entry.ts';
import { packageFiles } from '../program-copy.ts';
import { iconPng } from './icon.ts';
import { type ZipEntry, zip } from './zip.ts';

/** What a bundle is for. */
export interface BundleOptions {
  /** What people read in the host: `Kindo`. */
  readonly title: string;
  /** Its name among the host's bundles: lower-case letters, digits and hyphens. */
  readonly name: string;
  /** The gateway; undefined where the user is asked for it. */
  readonly url: URL | undefined;
  /** The proxy's command line, without the URL. */
  readonly options: readonly string[];
  /** A PNG; a key where it is left out. */
  readonly icon?: Buffer;
}

/** The folder of the program in the bundle. */
const FOLDER = 'server';

/** The path that the host runs. It comes after the manifest, so near the beginning of the file. */
export const BUNDLED_LAUNCHER = `${FOLDER}/bin/mcp-latchkey.js`;

/** What only the building of the keychain's module needs, or is for the computer that it was built on. */
const BUILD_PARTS =
  /^node_modules\/keytar\/(?:build|src|script|binding\.gyp|README\.md|keytar\.d\.ts)/;

/**
 * An MCP bundle (MCPB, manifest 0.4) of the package at `packageRoot`, which a host such as Claude Desktop
 * runs with its own Node.js, on every platform. The key is asked for by the host, which keeps it; left
 * empty, it comes from the keychain. Rejects with the file system's error, and with EntryError where
 * the keychain's module is not installed.
 */
export async function makeBundle(packageRoot: string, options: BundleOptions): Promise<Buffer> {
  const files = (await packageFiles(packageRoot)).filter(({ path }) => !BUILD_PARTS.test(path));
  if (!files.some(({ path }) => path.endsWith('keytar.node'))) {
    throw new EntryError(
      'The keychain module keytar is not installed here. Install it with npm first',
    );
  }
  const about = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8'));
  const entries: ZipEntry[] = [
    {
      path: 'manifest.json',
      content: Buffer.from(`${JSON.stringify(manifest(about, options), null, 2)}\n`),
    },
    ...files.map(({ path, content, mode }) => ({
      path: `${FOLDER}/${path}`,
      content,
      isExecutable: (mode & 0o100) !== 0,
    })),
    { path: 'icon.png', content: options.icon ?? iconPng() },
  ];
  return zip(entries);
}

interface About {
  readonly version: string;
  readonly license: string;
  readonly engines: { readonly node: string };
}

/** MCPB's manifest (github.com/modelcontextprotocol/mcpb, MANIFEST.md and its schema 0.4). */
function manifest({ version, license, engines }: About, options: BundleOptions): object {
  const { title, name, url, options: words } = options;
  const gateway = url === undefined ? 'an MCP gateway' : url.host;
  return {
    manifest_version: '0.4',
    name,
    display_name: title,
    version,
    description: `The tools of ${gateway}, by mcp-latchkey.`,
    author: { name: 'mcp-latchkey' },
    license,
    icon: 'icon.png',
    server: {
      type: 'node',
      entry_point: BUNDLED_LAUNCHER,
      mcp_config: {
        command: 'node',
        args: [`\${__dirname}/${BUNDLED_LAUNCHER}`, url?.href ?? '${user_config.url}', ...words],
        env: { MCP_LATCHKEY_API_KEY: '${user_config.api_key}' },
      },
    },
    tools_generated: true,
    prompts_generated: true,
    compatibility: {
      platforms: ['darwin', 'win32', 'linux'],
      runtimes: { node: engines.node },
    },
    user_config: {
      ...(url === undefined && {
        url: {
          type: 'string',
          title: 'URL',
          description: 'The URL of the MCP endpoint, such as https://gateway.example/v1/mcp',
          required: true,
        },
      }),
      api_key: {
        type: 'string',
        title: 'API key',
        description:
          'Leave it empty if the gateway needs none, or if it is in the keychain already.',
        sensitive: true,
        required: false,
        // Without one, hosts leave the variable's name in its place.
        default: '',
      },
    },
  };
}
