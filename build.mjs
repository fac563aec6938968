// Bundles src/ into dist/: one CommonJS file for each entry. CommonJS, because this bundle starts
// about 8 ms sooner than the same code as an ES module (Node 20, see docs/performance.md).
import { readFileSync, rmSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { build } from 'esbuild';

const root = import.meta.dirname;
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'));

// Each file that is imported with import(), or run as a program, is a bundle of its own, so that
// the proxy's start-up reads nothing that a healthy session never uses.
const entries = [
  'src/cli/main.ts',
  'src/cli/commands.ts',
  'src/cli/refuse-to-start.ts',
  'src/cli/run-proxy.ts',
  'src/auth/discovery.ts',
  'src/auth/key-command.ts',
  'src/auth/keychain.ts',
  'src/auth/keychain-child.ts',
  'src/gateway/certificate.ts',
  'src/gateway/proxied-route.ts',
  'src/sandbox/sandbox.ts',
  'src/demo/demo.ts',
  'src/install/install.ts',
].map((entry) => resolve(root, entry));

/** @type {import('esbuild').Plugin} */
const separateBundles = {
  name: 'separate-bundles',
  setup({ onResolve }) {
    onResolve({ filter: /^\./ }, ({ kind, path, resolveDir }) => {
      if (kind !== 'dynamic-import') return;
      const target = resolve(resolveDir, path);
      if (!entries.includes(target)) {
        return { errors: [{ text: `import('${path}'): list ${target} in build.mjs` }] };
      }
      return { path: `./${basename(target, '.ts')}.js`, external: true };
    });
  },
};

/**
 * undici loads its HTTP/2 client, and with it node:http2 (4 ms), whether it is used or not. It is
 * not: `allowH2` is never set.
 * @type {import('esbuild').Plugin}
 */
const withoutHttp2 = {
  name: 'without-http2',
  setup({ onLoad }) {
    onLoad({ filter: /undici[\\/]lib[\\/]dispatcher[\\/]client-h2\.js$/ }, () => ({
      contents: 'module.exports = () => { throw new Error("HTTP/2 is not bundled"); };',
    }));
  },
};

/**
 * undici brings its parser twice (2 × 72 KB) and takes the plain one where it cannot have the one
 * for SIMD. Behind an HTTP proxy the difference is nothing.
 * @type {import('esbuild').Plugin}
 */
const withoutSimd = {
  name: 'without-simd',
  setup({ onLoad }) {
    onLoad({ filter: /undici[\\/]lib[\\/]llhttp[\\/]llhttp_simd-wasm\.js$/ }, () => ({
      contents: 'throw new Error("SIMD is not bundled");',
    }));
  },
};

rmSync(resolve(root, 'dist'), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: entries.map((entry) => ({ in: entry, out: basename(entry, '.ts') })),
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // A native module, installed where it can be.
  external: ['keytar'],
  minify: true,
  keepNames: true,
  legalComments: 'linked',
  supported: { 'dynamic-import': false },
  define: { __VERSION__: JSON.stringify(version), 'import.meta.url': 'bundleUrl' },
  // yargs and yargs-parser are ES modules that ask where they are.
  banner: { js: "const bundleUrl=require('node:url').pathToFileURL(__filename).href;" },
  // Its main file is UMD, whose require() esbuild cannot follow.
  alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  plugins: [separateBundles, withoutHttp2, withoutSimd],
  logLevel: 'warning',
});
