import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A file below test/interop/peers/node_modules; undefined when it is not installed. */
function installed(path: string): string | undefined {
  const file = fileURLToPath(new URL(`peers/node_modules/${path}`, import.meta.url));
  return existsSync(file) ? file : undefined;
}

function findRecentNode(): string | undefined {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 22 || (major === 22 && minor >= 19)) return process.execPath;
  return installed('node24/bin/node');
}

/** The peers' entry points, by what to call them in a message; undefined where they are missing. */
export const peers = {
  serverEverything: {
    name: '@modelcontextprotocol/server-everything',
    path: installed('@modelcontextprotocol/server-everything/dist/index.js'),
  },
  inspector: {
    name: '@modelcontextprotocol/inspector',
    path: installed('@modelcontextprotocol/inspector/clients/launcher/build/index.js'),
  },
  conformance: {
    name: '@modelcontextprotocol/conformance',
    path: installed('@modelcontextprotocol/conformance/dist/index.js'),
  },
  /** The tools for MCP bundles, with the code that hosts start them by. */
  mcpb: {
    name: '@anthropic-ai/mcpb',
    path: installed('@anthropic-ai/mcpb/dist/cli/cli.js'),
  },
  /** The SDK's client that speaks 2026-07-28. */
  modernClient: {
    name: '@modelcontextprotocol/client',
    path: installed('@modelcontextprotocol/client/dist/index.mjs'),
  },
  /** The SDK's server that speaks 2026-07-28. */
  modernServer: {
    name: '@modelcontextprotocol/server',
    path: installed('@modelcontextprotocol/server/dist/index.mjs'),
  },
  /** An OAuth and OpenID Connect server. */
  oidcProvider: {
    name: 'oidc-provider',
    path: installed('oidc-provider/lib/index.js'),
  },
  /** The Inspector needs Node >= 22.19 and the conformance suite and oidc-provider >= 22. */
  recentNode: { name: 'Node 22.19 or newer', path: findRecentNode() },
};

/**
 * Whether tests that need these peers must be skipped. Says why on stderr, or throws when
 * INTEROP=required is set, so that CI skips nothing unseen.
 */
export function missing(...needed: (keyof typeof peers)[]): boolean {
  const names = needed.filter((key) => !peers[key].path).map((key) => peers[key].name);
  if (names.length === 0) return false;
  const reason = `not installed: ${names.join(', ')}. Run \`npm ci --prefix test/interop/peers\`.`;
  if (process.env['INTEROP'] === 'required') throw new Error(reason);
  console.warn(`Skipping, ${reason}`);
  return true;
}

/** The entry point of a peer that {@link missing} has been asked about. Throws when it is not there. */
export function pathOf(peer: keyof typeof peers): string {
  const { name, path } = peers[peer];
  if (path === undefined) throw new Error(`not installed: ${name}`);
  return path;
}
