import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { npmCommand } from '../environment.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import { startProxy } from './running-proxy.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);
// An npm that is quiet itself would have this one be quiet as well.
const { npm_config_loglevel: _, ...env } = process.env;
const [npmFile, ...npmWords] = npmCommand();
const npm = (cwd: string, ...args: string[]) => run(npmFile, [...npmWords, ...args], { cwd, env });

/** What of a package.json is looked at here. */
interface Manifest {
  readonly dependencies?: object;
  readonly optionalDependencies?: object;
  readonly scripts?: object;
}

const manifestOf = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** What the files in a folder hold. */
function unpackedBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
}

let folder: string;
let packed: { stdout: string };
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'latchkey-package-'));
  packed = await pack(root, folder);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Packs the built package in `from` into `to`. Without scripts: `prepack` would rebuild dist/. */
const pack = (from: string, to: string) =>
  npm(from, 'pack', '--json', '--ignore-scripts', '--pack-destination', to);

it('packs small, installs without a script or a warning, and carries a session from there', async () => {
  const [{ filename, unpackedSize, files }] = JSON.parse(packed.stdout);
  expect(files.map(({ path }: { path: string }) => path)).toContain('dist/main.js');

  expect(files.map(({ path }: { path: string }) => path)).not.toContain('sbom.cdx.json');
  const { components } = JSON.parse(readFileSync(join(root, 'sbom.cdx.json'), 'utf8'));
  const licenses = readFileSync(join(root, 'dist/THIRD-PARTY-LICENSES.txt'), 'utf8');
  expect(components.map(({ name }: { name: string }) => name)).toEqual(
    expect.arrayContaining(['yargs', 'yaml', 'add-mcp']),
  );
  for (const { name, version } of components) {
    const at = licenses.indexOf(`${name} ${version} (`);
    expect(licenses.slice(at, at + 3000), name).toMatch(/permission|license/i);
    expect(at, name).toBeGreaterThanOrEqual(0);
  }

  // What npm adds to it is this tree's own keytar and the one package that keytar depends on.
  const keytar = ['keytar', 'node-addon-api'].map((name) => join(root, 'node_modules', name));
  const { dependencies: ofKeytar } = manifestOf(keytar[0] as string);
  expect(Object.keys(ofKeytar ?? {})).toEqual(['node-addon-api']);
  expect(manifestOf(keytar[1] as string).dependencies).toBeUndefined();
  const total = keytar.reduce((sum, at) => sum + unpackedBytes(at), unpackedSize);
  expect(total).toBeLessThan(3_500_000);

  // keytar is optional, and would come from the registry.
  const install = ['install', '--offline', '--omit=optional', '--no-audit', '--no-fund'];
  const installed = await npm(folder, ...install, `./${filename}`);
  expect(installed.stdout).toContain('added 1 package');
  expect(installed.stderr).not.toMatch(/deprecated|ERR|install-scripts/);
  const at = join(folder, 'node_modules', 'mcp-latchkey');
  expect(readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.'))).toEqual(
    ['mcp-latchkey'],
  );
  const { dependencies, optionalDependencies, scripts } = manifestOf(at);
  expect(dependencies).toBeUndefined();
  expect(Object.keys(optionalDependencies ?? {})).toEqual(['keytar']);
  for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) {
    expect(scripts).not.toHaveProperty(hook);
  }

  const gateway = await startGateway(answer);
  const proxy = startProxy(gateway.url, { script: join(at, 'bin', 'mcp-latchkey.js') });
  await proxy.initialize();
  expect(await proxy.request(2, 'tools/list')).toHaveProperty('result');
  expect(await proxy.end()).toBe(0);
});

it('is the same to the byte when it is built again elsewhere', async () => {
  const again = join(folder, 'another place');
  const sources = ['bin', 'src', 'build.mjs', 'tsconfig.json', 'package.json'];
  sources.push('LICENSE', 'README.md', 'SECURITY.md');
  for (const part of sources) cpSync(join(root, part), join(again, part), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(again, 'node_modules'), 'junction');
  await run(process.execPath, ['build.mjs'], { cwd: again });
  const { stdout } = await pack(again, again);
  expect(JSON.parse(stdout)).toEqual(JSON.parse(packed.stdout));
  const [{ filename }] = JSON.parse(stdout);
  expect(readFileSync(join(again, filename)).equals(readFileSync(join(folder, filename)))).toBe(
    true,
  );
});
