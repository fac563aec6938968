/**
 * A GNOME Keyring of the benchmark's own on a D-Bus session of its own, for Linux: so that a key can
 * come from the keychain on a machine without a desktop, and the user's keyring is left alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keep } from './session.mjs';

// No service is activated, so that no other keyring and no prompt comes up.
const busConfig = (/** @type {string} */ folder) => `<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=${folder}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>`;

/**
 * Starts it, with its files in a folder of the benchmark's.
 * @param {string} folder @param {NodeJS.ProcessEnv} env
 * @returns {Promise<NodeJS.ProcessEnv | undefined>} what a program needs in its environment to find
 *   it; undefined when the machine has no dbus-daemon or no gnome-keyring-daemon
 */
export async function startKeyring(folder, env) {
  const config = join(folder, 'bus.conf');
  writeFileSync(config, busConfig(folder));
  const start = (
    /** @type {string} */ file,
    /** @type {string[]} */ args,
    /** @type {object} */ more,
  ) =>
    keep(spawn(file, args, { env: { ...env, XDG_RUNTIME_DIR: folder, ...more }, stdio: 'pipe' }));
  try {
    const bus = start(
      'dbus-daemon',
      [`--config-file=${config}`, '--nofork', '--print-address=1'],
      {},
    );
    const [address] = await Promise.race([once(bus.stdout, 'data'), ended(bus)]);
    const found = { XDG_RUNTIME_DIR: folder, DBUS_SESSION_BUS_ADDRESS: String(address).trim() };
    const args = ['--foreground', '--unlock', '--components=secrets'];
    const keyring = start('gnome-keyring-daemon', args, found);
    keyring.stdin.end('the password of the keyring');
    // It does not announce when it has its name on the bus.
    await Promise.race([sleep(1000), ended(keyring)]);
    return found;
  } catch {
    return undefined;
  }
}

/** @param {import('node:child_process').ChildProcess} child @returns {Promise<never>} */
async function ended(child) {
  await once(child, 'exit');
  throw new Error('it ended');
}
