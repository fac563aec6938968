import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newKey, startKeyedGateway } from './keyed-gateway.ts';
import { answer, startGateway } from './loopback-gateway.ts';
import {
  folderOf,
  isRoot,
  NEEDS_ROOT,
  OTHER,
  publicCopy,
  publicFolder,
  USER,
} from './public-copy.ts';
import { expectNoSecret, runToEnd, startProxy, TEST_KEY } from './running-proxy.ts';

/** A file of this owner; returns its path. */
function fileOf(owner: number, path: string, text: string, mode = 0o600): string {
  writeFileSync(path, text, { mode });
  chmodSync(path, mode);
  chownSync(path, owner, owner);
  return path;
}

function linkOf(owner: number, path: string, target: string): string {
  symlinkSync(target, path);
  lchownSync(path, owner, owner);
  return path;
}

/** Folders as they are on a computer with several users. */
function places() {
  const folder = publicFolder();
  return {
    /** As /tmp is. */
    shared: folderOf(0, folder, 'shared', 0o1777),
    /** One of this user's that everyone can write. */
    open: folderOf(USER, folder, 'open', 0o777),
    home: folderOf(USER, folder, 'home', 0o700),
    /** One of another user. */
    foreign: folderOf(OTHER, folder, 'foreign'),
    /** As /etc is. */
    system: folderOf(0, folder, 'system'),
  };
}
type Places = ReturnType<typeof places>;

describe.skipIf(!isRoot)(`on a computer with other users (${NEEDS_ROOT})`, () => {
  let script: string;
  let remove: () => void;
  beforeAll(() => {
    ({ script, remove } = publicCopy());
  });
  afterAll(() => remove());

  const refused: [string, (at: Places, key: string) => string, RegExp][] = [
    [
      'of another user',
      ({ system }, key) => fileOf(OTHER, join(system, 'key'), key, 0o644),
      /the file \S+\/system\/key belongs to another user \(uid 54321\)/,
    ],
    [
      'in a folder of another user',
      ({ foreign }, key) => fileOf(USER, join(foreign, 'key'), key),
      /the folder \S+\/foreign belongs to another user/,
    ],
    [
      'in a folder that everyone can write',
      ({ open }, key) => fileOf(USER, join(open, 'key'), key),
      /other users can write to the folder (\S+\/open)\. Run `chmod go-w \1`/,
    ],
    [
      'below a folder that everyone can write',
      ({ open }, key) => fileOf(USER, join(folderOf(USER, open, 'sub', 0o700), 'key'), key),
      /other users can write to the folder \S+\/open\. Run `chmod/,
    ],
    [
      'in a folder that a group can write',
      ({ home }, key) => {
        const folder = folderOf(USER, home, 'team', 0o770);
        chownSync(folder, USER, OTHER);
        return fileOf(USER, join(folder, 'key'), key);
      },
      /other users can write to the folder \S+\/team\. Run `chmod go-w/,
    ],
    [
      'behind a link of another user',
      ({ shared, home }, key) =>
        linkOf(OTHER, join(shared, 'key'), fileOf(USER, join(home, 'key'), key)),
      /the link \S+\/shared\/key belongs to another user/,
    ],
    [
      'behind an own link to a folder of another user',
      ({ home, foreign }, key) => {
        fileOf(USER, join(foreign, 'key'), key);
        return join(linkOf(USER, join(home, 'link'), '../foreign'), 'key');
      },
      /the folder \S+\/foreign belongs to another user/,
    ],
    [
      'behind a path that goes through a folder of another user and back',
      ({ foreign, home }, key) => {
        fileOf(USER, join(home, 'key'), key);
        return `${foreign}/../home/key`;
      },
      /the folder \S+\/foreign belongs to another user/,
    ],
    [
      'in a folder that another user made in the shared one',
      ({ shared }, key) => fileOf(USER, join(folderOf(OTHER, shared, 'mine'), 'key'), key),
      /the folder \S+\/shared\/mine belongs to another user/,
    ],
    [
      'that another user can have linked into the shared folder',
      ({ home, shared }, key) => {
        linkSync(fileOf(USER, join(home, 'key'), key), join(shared, 'key'));
        return join(shared, 'key');
      },
      /the file \S+\/shared\/key has a second name, by a hard link/,
    ],
  ];

  it.each(refused)('a key file %s is refused', async (_, make, words) => {
    const gateway = await startGateway(answer);
    const path = make(places(), newKey());
    const proxy = startProxy(gateway.url, { args: ['--key-file', path], script, user: USER });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { code: -32010, message: expect.stringMatching(words) },
    });
    expect(gateway.received).toEqual([]);
  });

  it.each(refused.slice(1, 3))('a header file %s is refused', async (_, make, words) => {
    const gateway = await startGateway(answer);
    const path = make(places(), `Authorization: Bearer ${newKey()}`);
    const args = ['--header-file', path];
    const proxy = startProxy(gateway.url, { args, script, user: USER });
    expect(await proxy.request(1, 'tools/list')).toMatchObject({
      error: { code: -32005, message: expect.stringMatching(words) },
    });
    expect(gateway.received).toEqual([]);
  });

  it.each(
    refused
      .slice(1, 3)
      .flatMap(([what, make, words]) =>
        ['--ca', '--cert', '--key-pem'].map((option) => ({ what, make, words, option })),
      ),
  )('$option $what is refused', async ({ make, words, option }) => {
    const gateway = await startGateway(answer);
    const path = make(places(), '-----BEGIN CERTIFICATE-----');
    const proxy = startProxy(gateway.url, {
      args: [option, path],
      script,
      user: USER,
    });
    expect(JSON.stringify(await proxy.request(1, 'tools/list'))).toMatch(words);
    expect(gateway.received).toEqual([]);
  });

  it.each([
    [
      "of root's that others can read",
      ({ system }: Places, key: string) => fileOf(0, join(system, 'key'), key, 0o644),
      /warn: --key-file: other users can open the file \S+\/key\n/g,
    ],
    [
      'that root has linked in a shared folder, as Kubernetes does',
      ({ shared }: Places, key: string) => {
        const data = folderOf(0, shared, '..2025_01_31');
        fileOf(0, join(data, 'key'), key, 0o644);
        linkOf(0, join(shared, '..data'), '..2025_01_31');
        return linkOf(0, join(shared, 'key'), '..data/key');
      },
      /warn: --key-file: other users can open the file \S+\/\.\.2025_01_31\/key\n/g,
    ],
    [
      'of this user in the shared folder',
      ({ shared }: Places, key: string) => fileOf(USER, join(shared, 'key'), key),
      undefined,
    ],
    [
      'behind an own link in an own folder',
      ({ home }: Places, key: string) => {
        fileOf(USER, join(home, 'real'), key);
        return linkOf(USER, join(home, 'key'), join(home, 'real'));
      },
      undefined,
    ],
    [
      "in a folder that root's group can write",
      ({ home }: Places, key: string) => {
        const folder = folderOf(0, home, 'of root', 0o775);
        return fileOf(USER, join(folder, 'key'), key);
      },
      undefined,
    ],
  ])('a key file %s is used', async (_, make, warning) => {
    const gateway = await startKeyedGateway();
    const [first, second] = [newKey(), newKey()];
    gateway.accepted.add(first);
    const path = make(places(), first);
    const args = ['--key-file', path];
    const proxy = startProxy(gateway.url, { args, script, user: USER });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
    // Read once more.
    gateway.accepted.clear();
    gateway.accepted.add(second);
    writeFileSync(path, second);
    expect(await proxy.request(2, 'tools/list')).toHaveProperty('result');
    await proxy.end();
    expect(proxy.stderr.match(warning ?? /warn:/g)).toEqual(
      warning === undefined ? null : [expect.any(String)],
    );
  });

  it('a key file of another user on a read-only mount is used, with a warning', async (context) => {
    const { foreign } = places();
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const path = fileOf(OTHER, join(foreign, 'key'), key, 0o644);
    const mount = `mount --bind '${foreign}' '${foreign}' && mount -o remount,bind,ro '${foreign}'`;
    const start = `exec '${process.execPath}' '${script}' ${gateway.url} --key-file '${path}'`;
    const child = spawn('unshare', ['--mount', 'sh', '-c', `${mount} || exit 77; ${start}`], {
      env: { PATH: process.env.PATH },
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (text) => (stdout += text));
    child.stderr.on('data', (text) => (stderr += text));
    child.stdin.on('error', () => {});
    child.stdin.end('{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n');
    const [code] = await once(child, 'close');
    // As in a container, which may not mount.
    if (code === 77 || /^unshare:/.test(stderr))
      return context.skip('mounting is not allowed here');
    expect(JSON.parse(stdout)).toHaveProperty('result');
    expect(stderr.match(/warn: --key-file: the folder \S+ belongs to another user/g)).toHaveLength(
      1,
    );
    expectNoSecret(stdout + stderr);
  });

  it('a folder that the group of this user alone can write is as good as closed', async (context) => {
    // As user-private groups with the umask 002 make them. Such a user and group is `daemon`.
    const row = (file: string) =>
      readFileSync(file, 'utf8')
        .split('\n')
        .find((line) => line.startsWith('daemon:'));
    const [, , daemon = ''] = row('/etc/passwd')?.split(':') ?? [];
    if (row('/etc/group') !== `daemon:x:${daemon}:`) {
      return context.skip('there is no user daemon with a group of its own');
    }
    const gateway = await startKeyedGateway();
    const key = newKey();
    gateway.accepted.add(key);
    const folder = folderOf(Number(daemon), publicFolder(), 'home', 0o775);
    const args = ['--key-file', fileOf(Number(daemon), join(folder, 'key'), key)];
    const proxy = startProxy(gateway.url, { args, script, user: Number(daemon) });
    expect(await proxy.request(1, 'tools/list')).toHaveProperty('result');
  });

  it('a private key of a certificate that others can read is refused', async () => {
    const gateway = await startGateway(answer);
    const path = fileOf(USER, join(places().home, 'pem'), '-----BEGIN PRIVATE KEY-----', 0o640);
    const args = ['--key-pem', path];
    const proxy = startProxy(gateway.url, { args, script, user: USER });
    expect(JSON.stringify(await proxy.request(1, 'ping'))).toContain(`Run \`chmod 600 ${path}\``);
  });

  it.each([
    [
      'is a file of another user',
      ({ shared }: Places) => fileOf(OTHER, join(shared, 'log'), '', 0o666),
    ],
    [
      'is a link of another user to a file of this one',
      ({ shared, home }: Places) =>
        linkOf(OTHER, join(shared, 'log'), fileOf(USER, join(home, 'rc'), '')),
    ],
    [
      'is a hard link to a file of this user',
      ({ shared, home }: Places) => {
        linkSync(fileOf(USER, join(home, 'rc'), ''), join(shared, 'log'));
        return join(shared, 'log');
      },
    ],
    [
      'is in a folder of another user',
      ({ foreign }: Places) => {
        chmodSync(foreign, 0o777);
        return join(foreign, 'log');
      },
    ],
  ])('a log file that %s is not written', async (_, make) => {
    const gateway = await startGateway(answer);
    const path = make(places());
    const args = ['--log-file', path];
    const proxy = startProxy(gateway.url, { args, script, user: USER });
    await proxy.request(1, 'ping');
    await proxy.end();
    expect(statSync(path, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
    expect(proxy.stderr.match(/--log-file: .*, so the log is here only\./g)).toHaveLength(1);
    const report = ['doctor', gateway.url, '--report', path];
    const { code, stderr } = await runToEnd(
      report,
      '',
      { MCP_LATCHKEY_API_KEY: TEST_KEY },
      {
        script,
        user: USER,
      },
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/^✗ .*\. Use a path that only you can write to\./s);
    expect(statSync(path, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
  });

  it('the copy for an entry is not made where another user could change it', async () => {
    const { shared, home } = places();
    mkdirSync(join(home, '.cursor'));
    chownSync(join(home, '.cursor'), USER, USER);
    folderOf(OTHER, shared, 'mcp-latchkey', 0o777);
    const args = ['install', 'cursor', 'https://acme.example/v1/mcp', '--no-verify'];
    const env = { HOME: home, XDG_DATA_HOME: shared };
    const { code, stderr } = await runToEnd(args, '', env, { script, user: USER });
    expect(stderr).toContain('/shared/mcp-latchkey belongs to another user');
    expect(code).not.toBe(0);
    expect(statSync(join(home, '.cursor', 'mcp.json'), { throwIfNoEntry: false })).toBeUndefined();
  });
});
