// Bundles src/ into dist/: one CommonJS file for each entry. CommonJS, because this bundle starts
// about 8 ms sooner than the same code as an ES module (Node 20, see docs/performance.md).
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { build } from 'esbuild';

const root = import.meta.dirname;
const { version } = JSON.parse(readFileSync(resolve(root, 'package.json'), 'utf8'));

// Each file that is imported with import() or require(), or run as a program, is a bundle of its own,
// so that the proxy's start-up reads nothing that a healthy session never uses.
const programs = [
  'src/cli/main.ts',
  'src/cli/commands.ts',
  'src/cli/start.ts',
  'src/cli/refuse-to-start.ts',
  'src/cli/run-proxy.ts',
  'src/cli/late-files.ts',
  'src/trace/session-watch.ts',
  'src/sandbox/sandbox.ts',
  'src/demo/demo.ts',
  'src/demo/demo-browser.ts',
  'src/install/install.ts',
  'src/terminal/choose.ts',
].map((entry) => resolve(root, entry));

// What a session may load long after its start, when the package may have been updated or removed:
// src/cli/late-files.ts keeps these in memory.
const lateFiles = [
  'src/auth/configured-secrets.ts',
  'src/auth/discovery.ts',
  'src/auth/key-command.ts',
  'src/auth/keychain.ts',
  'src/auth/keychain-access.ts',
  'src/auth/keychain-child.ts',
  'src/auth/oauth/sign-in-process.ts',
  'src/auth/oauth/stored-token.ts',
  'src/auth/oauth/user-sign-in.ts',
  'src/bridge/adapters.ts',
  'src/bridge/audit/audited-gateway.ts',
  'src/bridge/filter/filtering-gateway.ts',
  'src/bridge/gateway-cache/cache.ts',
  'src/bridge/sign-in-links.ts',
  'src/http/certificate.ts',
  'src/settings/policy/policy.ts',
  'src/transport/explain-refusal.ts',
  'src/transport/http-sse.ts',
].map((entry) => resolve(root, entry));

// What many bundles need. Those of the start have it in them, since each file more costs a start some
// 0.3 ms; all others load one file of it.
const shared = [
  'src/auth/protected-resource-metadata.ts',
  'src/failures/catalogue.ts',
  'src/failures/network-causes.ts',
  'src/failures/network-text.ts',
  'src/failures/secret-matcher.ts',
  'src/http/address-policy.ts',
  'src/http/byte-collector.ts',
  'src/http/client.ts',
  'src/http/routes.ts',
  'src/jsonrpc/json-members.ts',
  'src/jsonrpc/json-scanner.ts',
  'src/jsonrpc/message.ts',
  'src/private-path.ts',
  'src/settings/options.ts',
].map((entry) => resolve(root, entry));
lateFiles.push(...shared);

const entries = [...programs, ...lateFiles];
const startEntries = programs.filter((entry) => /[\\/](?:start|main|run-proxy)\.ts$/.test(entry));
const bundleName = (/** @type {string} */ entry) => `${basename(entry, '.ts')}.js`;

/** @type {(sharesCode: boolean) => import('esbuild').Plugin} */
const separateBundles = (sharesCode) => ({
  name: 'separate-bundles',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^\./ }, ({ kind, path, resolveDir, namespace }) => {
      if (namespace === 'late-file') return { path, external: true };
      const isShared = kind === 'import-statement' && shared.includes(resolve(resolveDir, path));
      if (isShared && sharesCode) {
        return { path: `./${bundleName(resolve(resolveDir, path))}`, namespace: 'late-file' };
      }
      if (kind !== 'dynamic-import' && kind !== 'require-call') return;
      const target = resolve(resolveDir, path);
      if (!entries.includes(target)) {
        // Packages call it on files of their own.
        if (kind === 'require-call') return;
        return { errors: [{ text: `import('${path}'): list ${target} in build.mjs` }] };
      }
      const file = `./${bundleName(target)}`;
      return lateFiles.includes(target)
        ? { path: file, namespace: 'late-file' }
        : { path: file, external: true };
    });
    onLoad({ filter: /^/, namespace: 'late-file' }, ({ path }) => ({
      contents: `module.exports = globalThis.mcpLatchkeyLateFiles?.load('${path}') ?? require('${path}');`,
      resolveDir: root,
    }));
  },
});

/**
 * The source of what tests a text as `pattern` would. To compile all emoji takes 29 ms, also where a
 * literal is only parsed, and most texts have none.
 */
const emojiPattern = (/** @type {string} */ pattern) => `{
  test: (text) =>
    /[^ -~]/.test(text) && /\\p{Emoji}/u.test(text) && new RegExp(${JSON.stringify(pattern)}, 'v').test(text),
}`;

/**
 * What libraries load whether it is used or not, and what replaces it: the file, and the reason.
 * @type {{file: RegExp, contents: string | ((source: string) => string)}[]}
 */
const replacements = [
  {
    // What is an emoji, 14 kB, to tell how wide a help text is. Node 20 knows it.
    file: /emoji-regex[\\/]index\.(?:mjs|js)$/,
    contents: `module.exports = () => (${emojiPattern('\\p{RGI_Emoji}')});`,
  },
  {
    // Where a text has characters that are wide, or more than one code point, ICU finds them: it takes
    // 19 ms to load its data.
    file: /string-width[\\/]index\.js$/,
    contents: (source) =>
      source
        .replace(
          'new Intl.Segmenter();',
          `{
            segment: (text) =>
              /^[ -~–—…‘’“”✓✗·→]*$/.test(text)
                ? Array.from(text, (segment) => ({ segment }))
                : (icu ??= new Intl.Segmenter()).segment(text),
          };
          let icu;`,
        )
        .replace('/^\\p{RGI_Emoji}$/v', emojiPattern('^\\p{RGI_Emoji}$')),
  },
  {
    // yargs makes the help of a command each time the command has run, and shows it to no one:
    // src/cli/help.ts is the help here.
    file: /yargs[\\/]build[\\/]lib[\\/]command\.js$/,
    contents: (source) =>
      source.replace('yargs.getInternalMethods().getUsageInstance().cacheHelpMessage();', ''),
  },
  {
    // What would lay that help out.
    file: /cliui[\\/]index\.mjs$/,
    contents:
      "export default () => ({ div() {}, span() {}, resetOutput() {}, toString: () => '' });",
  },
  {
    // add-mcp's two parsers, 85 kB. What it writes here only it reads (src/install/clients.ts), so
    // that any notation will do.
    file: /js-yaml[\\/]dist[\\/]js-yaml\.mjs$/,
    contents: 'export default { load: JSON.parse, dump: (value) => JSON.stringify(value) };',
  },
  {
    file: /@iarna[\\/]toml[\\/]toml\.js$/,
    contents: 'exports.parse = JSON.parse; exports.stringify = (value) => JSON.stringify(value);',
  },
  {
    // add-mcp's prompts, 23 kB. It asks nothing here.
    file: /@clack[\\/]prompts[\\/]dist[\\/]index\.mjs$/,
    contents: 'export {};',
  },
  {
    // The demo's client would check what the sandbox answers against its tools' output schemas, with
    // 140 kB of ajv. The tests of the sandbox do that.
    file: /@modelcontextprotocol[\\/]sdk[\\/]dist[\\/]esm[\\/]validation[\\/]ajv-provider\.js$/,
    contents:
      'export class AjvJsonSchemaValidator { getValidator() { return (data) => ({ valid: true, data }); } }',
  },
];

/** @type {import('esbuild').Plugin} */
const withoutUnusedParts = {
  name: 'without-unused-parts',
  setup({ onLoad, onEnd }) {
    const met = new Set();
    for (const { file, contents } of replacements) {
      onLoad({ filter: file }, ({ path }) => {
        met.add(file);
        if (typeof contents === 'string') return { contents };
        const source = readFileSync(path, 'utf8');
        const changed = contents(source);
        if (changed !== source) return { contents: changed };
        return { errors: [{ text: `${path} is different now: see ${file} in build.mjs` }] };
      });
    }
    onEnd(() => ({
      errors: replacements
        .filter(({ file }) => !met.has(file))
        .map(({ file }) => ({ text: `nothing loads ${file} any more: take it out of build.mjs` })),
    }));
  },
};

/**
 * What `import.meta.url` stands for in CommonJS, in those bundles alone that ask for it: to make a
 * URL takes 0.3 ms.
 * @type {import('esbuild').Plugin}
 */
const bundleUrl = {
  name: 'bundle-url',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^bundle-url$/ }, ({ path }) => ({ path, namespace: path }));
    onLoad({ filter: /^/, namespace: 'bundle-url' }, () => ({
      contents:
        "export const bundleUrl = /* @__PURE__ */ (() => require('node:url').pathToFileURL(__filename).href)();",
    }));
  },
};

rmSync(resolve(root, 'dist'), { recursive: true, force: true });
/** @type {import('esbuild').BuildOptions} */
const options = {
  absWorkingDir: root,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // A native module, installed where it can be.
  external: ['keytar'],
  minify: true,
  // So that V8 holds and reads one byte for each character of it.
  charset: 'ascii',
  legalComments: 'linked',
  supported: { 'dynamic-import': false },
  define: {
    __VERSION__: JSON.stringify(version),
    __LATE_FILES__: JSON.stringify(lateFiles.map((entry) => `./${bundleName(entry)}`)),
    'import.meta.url': 'bundleUrl',
  },
  inject: ['bundle-url'],
  // Its main file is UMD, whose require() esbuild cannot follow.
  alias: { 'jsonc-parser': 'jsonc-parser/lib/esm/main.js' },
  logLevel: 'warning',
};
/** @type {(entries: string[], plugins: import('esbuild').Plugin[]) => Promise<import('esbuild').Metafile>} */
const bundle = async (entries, plugins) => {
  const entryPoints = entries.map((entry) => ({ in: entry, out: basename(entry, '.ts') }));
  const result = await build({ ...options, metafile: true, entryPoints, plugins });
  return result.metafile;
};
const metafiles = await Promise.all([
  bundle(startEntries, [bundleUrl, separateBundles(false)]),
  bundle(
    entries.filter((entry) => !startEntries.includes(entry)),
    [bundleUrl, separateBundles(true), withoutUnusedParts],
  ),
]);

// What is bundled: its licenses ship in dist/, and the bill of materials lies beside it.
const bundled = metafiles
  .flatMap(({ outputs }) => Object.values(outputs))
  .flatMap(({ inputs }) => Object.entries(inputs))
  .flatMap(([file, { bytesInOutput }]) => {
    const [folder] = /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file) ?? [];
    return folder !== undefined && bytesInOutput > 0 ? [folder] : [];
  });
/** The same version may be there twice. */
const byName = new Map();
for (const folder of [...new Set(bundled)].sort()) {
  const manifest = JSON.parse(readFileSync(resolve(root, folder, 'package.json'), 'utf8'));
  const files = readdirSync(resolve(root, folder)).filter((name) =>
    /^(?:licen[cs]e|notice)/i.test(name),
  );
  const texts = files.map((name) => readFileSync(resolve(root, folder, name), 'utf8').trim());
  const { name, version, license } = manifest;
  byName.set(`${name} ${version}`, { name, version, license, texts });
}
const packages = [...byName.values()];
/** Most texts differ by who holds the copyright only: each is there once, with all who do. */
const packageWithText = new Map();
const noticeOf = (/** @type {string} */ text, /** @type {string} */ owner) => {
  const lines = text.split(/\r?\n/);
  const isHolder = (/** @type {string} */ line) => /^\s*copyright\b/i.test(line);
  const body = lines
    .filter((line) => !isHolder(line))
    .join(' ')
    .replace(/\W+/g, ' ')
    .trim();
  const first = packageWithText.get(body);
  if (first === undefined) packageWithText.set(body, owner);
  const holders = lines.filter(isHolder);
  return first === undefined
    ? text
    : [...holders, `The license text is the same as that of ${first}, above.`].join('\n');
};
writeFileSync(
  resolve(root, 'dist/THIRD-PARTY-LICENSES.txt'),
  packages
    .map(({ name, version, license, texts }) => {
      const title = `${name} ${version}`;
      return [`${title} (${license})`, ...texts.map((text) => noticeOf(text, title))].join('\n\n');
    })
    .join(`\n\n${'-'.repeat(72)}\n\n`),
);
// CycloneDX 1.6, JSON
const bill = {
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  version: 1,
  metadata: { component: { type: 'application', name: 'mcp-latchkey', version } },
  components: packages.map(({ name, version, license }) => ({
    type: 'library',
    name,
    version,
    licenses: [{ expression: license }],
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
  })),
};
writeFileSync(resolve(root, 'sbom.cdx.json'), `${JSON.stringify(bill, null, 2)}\n`);
