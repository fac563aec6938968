import { execFile } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { zip } from '../../src/install/mcpb/zip.ts';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { type Sandbox, startSandbox } from '../../src/sandbox/sandbox.ts';
import { newKey, startKeyedGateway } from '../e2e/keyed-gateway.ts';
import { RunningProxy, runToEnd } from '../e2e/running-proxy.ts';
import { missingForSecretService, startSecretService } from '../e2e/secret-service.ts';
import { watchSecrets } from '../e2e/secret-watch.ts';
import { startBrowser } from '../e2e/test-browser.ts';
import { missing, pathOf } from './installed-peers.ts';

const suite = missing('mcpb') ? describe.skip : describe;
const noKeychain = await missingForSecretService();

interface Manifest {
  readonly server: { readonly entry_point: string };
  readonly user_config: Readonly<Record<string, object>>;
}

/** How a host starts a bundle. */
interface HostConfig {
  readonly command: string;
  readonly args: string[];
  readonly env: Record<string, string>;
}

suite('a bundle', () => {
  /** Makes one, has it validated and unpacked, and returns where it is and what it says. */
  async function makeBundle(...args: string[]) {
    const folder = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey bundle ')));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const file = join(folder, 'gateway.mcpb');
    const made = await runToEnd(['bundle', ...args, '-o', file], '', { HOME: folder });
    expect(made).toMatchObject({ code: 0, stderr: '' });
    const unpacked = join(folder, 'unpacked');
    const mcpb = (...words: string[]) =>
      promisify(execFile)(process.execPath, [pathOf('mcpb'), ...words]);
    await mcpb('unpack', file, unpacked);
    const { stdout } = await mcpb('validate', join(unpacked, 'manifest.json'));
    expect(stdout).toContain('Manifest schema validation passes!');
    const manifest: Manifest = JSON.parse(readFileSync(join(unpacked, 'manifest.json'), 'utf8'));
    return { unpacked, manifest };
  }

  /** What a host makes of a manifest and its user's settings. */
  async function hostConfig(
    { unpacked, manifest }: Awaited<ReturnType<typeof makeBundle>>,
    userConfig: Record<string, string>,
  ): Promise<HostConfig> {
    const { getMcpConfigForManifest } = await import(
      pathToFileURL(join(pathOf('mcpb'), '../../shared/config.js')).href
    );
    return getMcpConfigForManifest({
      ...{ manifest, extensionPath: unpacked, systemDirs: {}, userConfig, pathSeparator: sep },
    });
  }

  function start({ args, env }: HostConfig, more: Record<string, string> = {}) {
    const [script = '', ...words] = args;
    const proxy = new RunningProxy(words, { ...env, ...more }, script);
    onTestFinished(async () => {
      proxy.child.kill('SIGKILL');
      await proxy.exited;
      proxy.expectClean();
    });
    return proxy;
  }

  it('runs as its manifest says, with the key that the host asks for', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const bundle = await makeBundle(gateway.url, '--name', 'The Gateway');
    expect(bundle.manifest).toMatchObject({
      ...{ manifest_version: '0.4', name: 'the-gateway', display_name: 'The Gateway' },
      user_config: { api_key: { sensitive: true, required: false } },
    });
    const config = await hostConfig(bundle, { api_key: key });
    expect(config.command).toBe('node');
    expect(JSON.stringify(config.args)).not.toContain(key);
    const proxy = start(config);
    await proxy.initialize();
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result.tools.length', 2);
    expect(await proxy.end()).toBe(0);
  });

  it('signs in where the gateway offers it, in the host as in a terminal', async () => {
    const watch = watchSecrets();
    const sandbox = (await startSandbox({ oauth: {} })) as Sandbox & { oauth: AuthorizationServer };
    onTestFinished(() => sandbox.close());
    watch.follow(sandbox.oauth);
    const browser = await startBrowser(watch.folder);
    // As on a desktop, which the machine of a test may not be.
    const desktop = { ...browser.env, DISPLAY: ':0', CI: '', SSH_CONNECTION: '' };
    const config = await hostConfig(await makeBundle(sandbox.url, '--sign-in-wait', '40'), {});
    for (const options of [electron(), '']) {
      const proxy = start(config, { ...watch.env, ...desktop, NODE_OPTIONS: options });
      expect(await proxy.initialize()).toHaveProperty('result');
      const params = { name: 'platform_whoami', arguments: {} };
      const reply = await proxy.request(1, 'tools/call', params);
      expect(JSON.stringify(reply)).toContain('Ada Example');
      expect(await proxy.end()).toBe(0);
      // The second one finds the sign-in of the first, and renews it.
      expect(browser.opened).toHaveLength(1);
      sandbox.oauth.expireAccess();
    }
  });

  it('asks for the URL where it has none, and has the options it was made with', async () => {
    const gateway = await startKeyedGateway();
    const key = newKey();
    const bundle = await makeBundle('--transport', 'http', '--header', 'X-Team: a b');
    expect(bundle.manifest.user_config).toHaveProperty('url.required', true);
    expect(await hostConfig(bundle, {})).toBeUndefined();
    const config = await hostConfig(bundle, { url: gateway.url, api_key: key });
    expect(config.args.slice(1)).toEqual([
      ...[gateway.url, '--header', 'X-Team: a b', '--transport', 'http'],
    ]);
    expect(await start(config).initialize()).toHaveProperty('error.data.reason', 'unauthorized');
  });

  it.skipIf(noKeychain)(
    'finds the key in the keychain, in Electron too, with its own module',
    async () => {
      const service = await startSecretService();
      onTestFinished(() => service.stop());
      const gateway = await startKeyedGateway();
      const key = newKey();
      gateway.accepted.add(key);
      const login = await runToEnd(['login', gateway.url], key, service.env);
      expect(login.code).toBe(0);
      const bundle = await makeBundle(gateway.url);
      const config = await hostConfig(bundle, {});
      for (const options of ['', electron()]) {
        const proxy = start(config, { ...service.env, NODE_OPTIONS: options });
        expect(await proxy.initialize()).toHaveProperty('result');
        expect(await proxy.end()).toBe(0);
      }
    },
  );

  it('has the keychain module of every platform, and none that was built here', async () => {
    const { unpacked, manifest } = await makeBundle('https://gateway.example/mcp');
    const keytar = join(unpacked, 'server/node_modules/keytar');
    for (const platform of [
      'darwin-arm64',
      'darwin-x64',
      'win32-x64',
      'win32-arm64',
      'linux-x64',
    ]) {
      expect(statSync(join(keytar, 'prebuilds', platform, 'keytar.node')).size).toBeGreaterThan(0);
    }
    expect(statSync(join(keytar, 'build'), { throwIfNoEntry: false })).toBeUndefined();
    expect(statSync(join(unpacked, manifest.server.entry_point)).isFile()).toBe(true);
  });
});

/** Makes a process look like one of Electron, whose program is not Node.js. */
function electron(): string {
  const source =
    "process.execPath = '/bin/false'; Object.defineProperty(process.versions, 'electron', { value: '39.0.0' });";
  return `--import data:text/javascript,${encodeURIComponent(source)}`;
}

it('refuses a key on its command line', async () => {
  const header = `Authorization: Bearer ${newKey()}`;
  const { code, stderr } = await runToEnd(['bundle', 'https://gateway.example', '-H', header]);
  expect(code).toBe(2);
  expect(stderr).toContain('The header Authorization contains a key');
});

it('replaces an older bundle, but no other file, and writes through no link', async () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-bundle-')));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [file, notes] = [join(folder, 'a.mcpb'), join(folder, 'notes.txt')];
  const make = (output: string) =>
    runToEnd(['bundle', 'https://gateway.example', '-o', output], '', { HOME: folder });
  const archive = zip([
    { path: 'manifest.json', content: Buffer.from('{"name": "mcp-latchkey"}') },
    { path: 'notes.txt', content: Buffer.from('mine') },
  ]);
  for (const mine of [archive, Buffer.from('PK'), Buffer.from('mine')]) {
    writeFileSync(notes, mine);
    const { code, stderr } = await make(notes);
    expect(code).toBe(1);
    expect(stderr.replace(/\s+/g, ' ')).toContain(
      'is already there, and is not an earlier bundle. Move it away, or use another file name.',
    );
    expect(readFileSync(notes)).toEqual(mine);
  }
  symlinkSync('/dev/null', join(folder, 'device'));
  expect(await make(join(folder, 'device'))).toMatchObject({ code: 1 });
  symlinkSync(notes, file);
  for (const _ of ['in place of a link', 'in place of a bundle']) {
    expect(await make(file)).toMatchObject({ code: 0, stderr: '' });
    expect(readFileSync(file).toString('latin1', 0, 2)).toBe('PK');
  }
  expect(readFileSync(notes, 'utf8')).toBe('mine');
  expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
});
