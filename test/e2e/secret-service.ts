import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { promisify } from 'node:util';
import { isWine } from '../environment.ts';
import type { Json } from './running-proxy.ts';

const run = promisify(execFile);

/** A keychain that tests can use. */
export interface Keychain {
  /** What a program needs in its environment to find it. */
  readonly env: Record<string, string>;
  stop(): Promise<void>;
}

/** A keyring of the test's own, on a D-Bus session of its own, with folders of its own. */
export interface SecretService extends Keychain {
  /** Locks the keyring. Nothing can ask for its password. */
  lock(): Promise<void>;
  /** Stops its process, so that it takes calls and answers none. */
  hang(): void;
  /** Lets it go on, with the calls that came meanwhile. */
  resume(): void;
}

const PROGRAMS = ['dbus-daemon', 'dbus-send', 'gnome-keyring-daemon'];

/** What is missing here to run one, in words; undefined when nothing is. */
export async function missingForSecretService(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'Linux';
  for (const program of PROGRAMS) {
    const isThere = await run(program, ['--version']).catch(({ code }) => code !== 'ENOENT');
    if (!isThere) return program;
  }
  try {
    createRequire(import.meta.url)('keytar');
    return undefined;
  } catch {
    return 'keytar or libsecret';
  }
}

/** What is missing here for a keychain, in words; undefined when nothing is. */
export const missingForKeychain = async (): Promise<string | undefined> =>
  isWine ? undefined : missingForSecretService();

/** Starts a Secret Service. Under Wine, there is Credential Manager, which other tests use too. */
export async function startKeychain(): Promise<Keychain> {
  if (!isWine) return startSecretService();
  const home = mkdtempSync(`${tmpdir()}/latchkey-keychain-`);
  return { env: { HOME: home }, stop: async () => rmSync(home, { recursive: true, force: true }) };
}

/** What `status` with `--json` prints. Wine cannot list keys while another test removes one. */
export async function statusInJson(
  status: () => Promise<{ readonly stdout: string }>,
): Promise<Json> {
  for (;;) {
    const json = JSON.parse((await status()).stdout);
    if (!isWine || json.keychainError === undefined) return json;
  }
}

// No service is activated, so that no other keyring and no prompt comes up.
const BUS_CONFIG = `<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=${tmpdir()}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>`;

/** Starts D-Bus, and a GNOME Keyring with an empty, unlocked keyring. */
export async function startSecretService(): Promise<SecretService> {
  const home = mkdtempSync(`${tmpdir()}/latchkey-keyring-`);
  writeFileSync(`${home}/bus.conf`, BUS_CONFIG);
  const folders = { HOME: home, XDG_RUNTIME_DIR: home, XDG_DATA_HOME: home, XDG_CACHE_HOME: home };
  const bus = spawn(
    'dbus-daemon',
    [`--config-file=${home}/bus.conf`, '--nofork', '--print-address=1'],
    { env: { PATH: process.env.PATH, ...folders }, stdio: ['ignore', 'pipe', 'ignore'] },
  );
  const [address] = await once(bus.stdout, 'data');
  const env = { ...folders, DBUS_SESSION_BUS_ADDRESS: String(address).trim() };
  const busEnv = { PATH: process.env.PATH, ...env };
  const keyring = spawn(
    'gnome-keyring-daemon',
    ['--foreground', '--unlock', '--components=secrets'],
    { env: busEnv, stdio: ['pipe', 'ignore', 'ignore'] },
  );
  keyring.stdin.end('the password of the keyring');
  const call = async (destination: string, path: string, ...call: string[]) => {
    const { stdout } = await run(
      'dbus-send',
      ['--session', '--print-reply=literal', `--dest=${destination}`, path, ...call],
      { env: busEnv },
    );
    return stdout;
  };
  const hasOwner = () =>
    call(
      'org.freedesktop.DBus',
      '/org/freedesktop/DBus',
      'org.freedesktop.DBus.NameHasOwner',
      'string:org.freedesktop.secrets',
    );
  while (!(await hasOwner()).includes('true'));
  return {
    env,
    lock: async () => {
      await call(
        'org.freedesktop.secrets',
        '/org/freedesktop/secrets',
        'org.freedesktop.Secret.Service.Lock',
        'array:objpath:/org/freedesktop/secrets/collection/login',
      );
    },
    hang: () => void keyring.kill('SIGSTOP'),
    resume: () => void keyring.kill('SIGCONT'),
    stop: async () => {
      const ended = Promise.all([once(keyring, 'exit'), once(bus, 'exit')]);
      keyring.kill('SIGKILL');
      bus.kill('SIGKILL');
      await ended;
      rmSync(home, { recursive: true });
    },
  };
}
