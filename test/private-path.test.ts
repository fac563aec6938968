import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  checkPath,
  makePrivateFolder,
  openPrivate,
  readPrivate,
  UnusableFile,
} from '../src/private-path.ts';

const noWarning = (words: string) => expect.unreachable(words);
const read = (path: string) => readPrivate(path, 'secret', noWarning, 1000).toString();

let folder: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'latchkey-private-')));
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

const file = (name: string, mode = 0o600, text = 'text') => {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
};

// The file modes and links here are those of POSIX.
describe.skipIf(process.platform === 'win32')('a path of this user', () => {
  it('is followed through its links, to where it ends', () => {
    const path = file('file');
    mkdirSync(join(folder, 'a'));
    symlinkSync('../file', join(folder, 'a', 'link'));
    symlinkSync(join(folder, 'a'), join(folder, 'b'));
    for (const name of [
      'file',
      './file',
      'a/../file',
      'a/link',
      'b/link',
      'b/../file',
      'b//./link',
    ]) {
      expect(checkPath(`${folder}/${name}`, 'secret').path).toBe(path);
      expect(read(`${folder}/${name}`)).toBe('text');
    }
    expect(checkPath('/', 'trusted').path).toBe('/');
  });

  it('is a folder that others cannot look into, also where it was there before', () => {
    makePrivateFolder(join(folder, 'a', 'b'));
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    chmodSync(join(folder, 'a', 'b'), 0o755);
    makePrivateFolder(join(folder, 'a', 'b'));
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    chmodSync(join(folder, 'a'), 0o777);
    expect(() => makePrivateFolder(join(folder, 'a', 'b'))).toThrow(UnusableFile);
  });

  it('is refused when it goes round in a circle, or through a file', () => {
    symlinkSync('circle', join(folder, 'circle'));
    expect(() => read(join(folder, 'circle'))).toThrow(/has too many links$/);
    expect(() => read(`${file('file')}/below`)).toThrow('could not be read: ENOTDIR');
    expect(() => read(join(folder, 'no/file'))).toThrow('could not be read: ENOENT');
  });

  it.each([
    [0o604, 'secret', /^other users can open the file .*\. Run `chmod 600/],
    [0o640, 'secret', /^other users can open the file .*\. Run `chmod 600/],
    [0o602, 'trusted', /^other users can open the file .*\. Run `chmod go-w/],
    [0o644, 'trusted', undefined],
    [0o600, 'secret', undefined],
  ] as const)('with the mode %o is judged as one that is to be %s', (mode, purpose, words) => {
    const path = file('it’s a file', mode);
    const act = () => readPrivate(path, purpose, noWarning).toString();
    if (words === undefined) return expect(act()).toBe('text');
    expect(act).toThrow(words);
    expect(act).toThrow(UnusableFile);
  });

  it('is refused in or below a folder that everyone can write, unless that is sticky', () => {
    mkdirSync(join(folder, 'open/inner'), { recursive: true });
    const path = file('open/inner/file');
    chmodSync(join(folder, 'open'), 0o777);
    expect(() => read(path)).toThrow(
      `other users can write to the folder ${folder}/open. Run \`chmod go-w ${folder}/open\``,
    );
    expect(() => checkPath(join(folder, 'open', 'new'), 'output')).toThrow(UnusableFile);
    symlinkSync(path, join(folder, 'link'));
    expect(() => read(join(folder, 'link'))).toThrow(UnusableFile);
    chmodSync(join(folder, 'open'), 0o1777);
    expect(read(path)).toBe('text');
  });

  it('that is a descriptor is what was handed over', () => {
    const fd = openSync(file('file', 0o644), 'r');
    try {
      expect(read(`/dev/fd/${fd}`)).toBe('text');
    } finally {
      closeSync(fd);
    }
  });
});

describe.skipIf(process.platform === 'win32')('a file to write', () => {
  const append = (path: string) => {
    const { fd } = openPrivate(path, 'output');
    writeFileSync(fd, '+');
    closeSync(fd);
  };

  it('is made for this user alone, also where a link leads to it', () => {
    symlinkSync('new', join(folder, 'link'));
    append(join(folder, 'link'));
    append(join(folder, 'new'));
    expect(readFileSync(join(folder, 'new'), 'utf8')).toBe('++');
    expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o600);
  });

  it.each([0o644, 0o666, 0o620])('that has the mode %o is closed to others', (mode) => {
    const path = file('log', mode, 'old');
    append(path);
    expect(readFileSync(path, 'utf8')).toBe('old+');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('may be a device', () => {
    const before = statSync('/dev/null').mode;
    append('/dev/null');
    expect(statSync('/dev/null').mode).toBe(before);
  });
});

const isRoot = process.geteuid?.() === 0;

describe.skipIf(!isRoot)('while another user changes it (skipped unless root)', () => {
  it('a path in a shared folder never leads to what is theirs, nor through it', async () => {
    chmodSync(folder, 0o1777);
    const secret = file('own', 0o600, 'own');
    // A file of theirs, a link to one of root's, and nothing, in turn and as fast as it can.
    const swap = `
      const fs = require('node:fs');
      const at = ${JSON.stringify(join(folder, 'key'))};
      let isTold = false;
      for (let round = 0; ; round++) try {
        fs.writeFileSync(at + 'file', 'theirs', { mode: 0o600 });
        fs.renameSync(at + 'file', at);
        fs.symlinkSync(${JSON.stringify(secret)}, at + 'link');
        fs.renameSync(at + 'link', at);
        if (round % 3 === 0) fs.rmSync(at);
        if (round >= 100 && !isTold) {
          isTold = true;
          console.log('started');
        }
      } catch {
        // It is root's now, or the names are taken.
        fs.rmSync(at + 'link', { force: true });
      }`;
    const child = spawn(process.execPath, ['-e', swap], {
      uid: 54_321,
      gid: 54_321,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const closed = once(child, 'close');
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await closed;
    });
    await once(child.stdout, 'data');
    const path = join(folder, 'key');
    const met = new Set<string>();
    for (let round = 0; round < 2000; round++) {
      try {
        expect(readPrivate(path, 'secret', noWarning).toString()).toBe('never');
      } catch (error) {
        if (!(error instanceof UnusableFile)) throw error;
        met.add(/the (?:file|link)|ENOENT/.exec(error.message)?.[0] ?? error.message);
      }
    }
    expect(met).toContain('the file');
    expect(met).toContain('the link');
    for (let round = 0; round < 300; round++) {
      try {
        const { fd, stats } = openPrivate(path, 'output');
        closeSync(fd);
        // It was missing then, and is root's own now.
        expect(stats).toMatchObject({ uid: 0, size: 0 });
        rmSync(path, { force: true });
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (!(error instanceof UnusableFile) && code !== 'EEXIST') throw error;
      }
    }
    expect(readFileSync(secret, 'utf8')).toBe('own');
  });
});
