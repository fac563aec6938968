import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  attachToHolder,
  type HeldLock,
  LockTimeout,
  tryLock,
  withLock,
} from '../../../src/auth/oauth/process-lock.ts';
import { bundleScript, runScript } from '../../child-script.ts';

let folder: string;
beforeEach(() => {
  const root = mkdtempSync(join(tmpdir(), 'latchkey-lock-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  folder = join(root, 'locks');
});

const limitMs = 20_000;

/** Takes it for the test: it must be free. */
async function hold(name = 'lock'): Promise<HeldLock> {
  const held = await tryLock(folder, name);
  if (held === undefined) throw new Error('the lock is not free');
  return held;
}

it('is held by one caller at a time, and passed on', async () => {
  let inside = 0;
  const most: number[] = [];
  const act = async () => {
    most.push(++inside);
    await new Promise(setImmediate);
    inside--;
  };
  await Promise.all(Array.from({ length: 30 }, () => withLock(folder, 'a', { limitMs }, act)));
  expect(most).toEqual(Array(30).fill(1));
});

it('is another one for another name', async () => {
  const held = await hold('one');
  expect(await withLock(folder, 'two', { limitMs: 0 }, async () => 'free')).toBe('free');
  expect(await tryLock(folder, 'one')).toBeUndefined();
  await held.release();
  await (await hold('one')).release();
});

it('is free again after what was done under it failed', async () => {
  const failing = withLock(folder, 'lock', { limitMs }, async () => {
    throw new Error('it failed');
  });
  await expect(failing).rejects.toThrow('it failed');
  await (await hold()).release();
});

it('is waited for no longer than the limit, and until the signal', async () => {
  const held = await hold();
  const act = async () => expect.unreachable();
  await expect(withLock(folder, 'lock', { limitMs: 50 }, act)).rejects.toThrow(LockTimeout);
  const controller = new AbortController();
  const { signal } = controller;
  const waiting = withLock(folder, 'lock', { limitMs, signal }, act);
  controller.abort(new Error('told to'));
  await expect(waiting).rejects.toThrow('told to');
  await expect(withLock(folder, 'lock', { limitMs, signal }, act)).rejects.toThrow('told to');
  await held.release();
});

it('tells those that are attached, and those that attach later, and when it is free', async () => {
  expect(await attachToHolder(folder, 'lock', () => {})).toBeUndefined();
  const held = await hold();
  const lines: string[] = [];
  const heard = (own: string, count: number) =>
    new Promise<void>((resolve) => {
      let left = count;
      void attachToHolder(folder, 'lock', (line) => {
        lines.push(`${own} ${line}`);
        if (--left === 0) resolve();
      });
    });
  held.tell('one');
  const early = heard('early', 2);
  held.tell('two');
  await early;
  const attached = await attachToHolder(folder, 'lock', (line) => lines.push(`late ${line}`));
  held.tell('€'.repeat(100_000));
  await held.release();
  await attached?.ended;
  expect(lines.slice(0, 4)).toEqual(['early one', 'early two', 'late one', 'late two']);
  expect(lines).toContain(`late ${'€'.repeat(100_000)}`);
});

const posix = describe.skipIf(process.platform === 'win32');

posix('as a Unix socket', () => {
  it('leaves few files, in folders of this user alone', async () => {
    for (let round = 0; round < 40; round++) await (await hold()).release();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    const [generations = ''] = readdirSync(folder);
    expect(readdirSync(join(folder, generations)).length).toBeLessThanOrEqual(9);
  });

  it('closes a folder that is open to others, and refuses one that others can change', async () => {
    mkdirSync(folder, { mode: 0o755 });
    await (await hold()).release();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    rmSync(folder, { recursive: true });
    mkdirSync(folder);
    chmodSync(folder, 0o777);
    await expect(tryLock(folder, 'lock')).rejects.toThrow('other users can write to the folder');
  });

  it('is in the folder for temporary files where the path is too long for a socket', async () => {
    folder = join(folder, 'long'.repeat(20));
    const temporary = `/tmp/mcp-latchkey-${process.getuid?.()}`;
    const before = existsSync(temporary) ? readdirSync(temporary) : [];
    onTestFinished(() => {
      const own = readdirSync(temporary).filter((name) => !before.includes(name));
      for (const name of own) rmSync(join(temporary, name), { recursive: true });
    });
    const held = await hold();
    expect(await tryLock(folder, 'lock')).toBeUndefined();
    await held.release();
    await (await hold()).release();
  });

  // Wine lets two processes listen on one named pipe. Outside Windows the name of the pipe is the path
  // of a Unix socket, on which one process can listen, as on Windows: EADDRINUSE for the second.
  it('as a named pipe is not had by a second process until the first has freed it', async () => {
    mkdirSync(folder);
    const script = await bundleScript(`
      import { once } from 'node:events';
      import { tryLock, withLock } from './src/auth/oauth/process-lock.ts';
      Object.defineProperty(process, 'platform', { value: 'win32' });
      process.chdir(process.argv[2] as string);
      void (async () => {
        const held = await tryLock('locks', 'lock');
        process.send?.(held === undefined ? 'not had' : 'had');
        await once(process, 'message');
        await held?.release();
        await withLock('locks', 'lock', { limitMs: 20_000 }, async () => process.send?.('had'));
        process.disconnect();
      })();
    `);
    const first = runScript(script, [folder]);
    expect(await once(first, 'message')).toContain('had');
    const second = runScript(script, [folder]);
    expect(await once(second, 'message')).toContain('not had');
    const later = once(second, 'message');
    second.send('go on');
    first.send('go on');
    expect(await later).toContain('had');
  });

  it('is free once its holder is killed', async () => {
    const script = await bundleScript(`
      import { tryLock } from './src/auth/oauth/process-lock.ts';
      void tryLock(process.argv[2] as string, 'lock').then(() => process.send?.('held'));
      setInterval(() => {}, 1000);
    `);
    for (let round = 0; round < 3; round++) {
      const holder = runScript(script, [folder]);
      await once(holder, 'message');
      const waiting = withLock(folder, 'lock', { limitMs }, async () => 'free');
      expect(await tryLock(folder, 'lock')).toBeUndefined();
      holder.kill('SIGKILL');
      expect(await waiting).toBe('free');
    }
  });

  it.each(['renameSync', 'mkdirSync', 'readdirSync'])(
    'is not had by a process that was suspended before %s while others had it',
    async (point) => {
      const script = await bundleScript(`
        import fs from 'node:fs';
        import { tryLock } from './src/auth/oauth/process-lock.ts';
        const [, , folder, point] = process.argv as string[];
        void (async () => {
          const first = await tryLock(folder, 'lock');
          await first?.release();
          const real = (fs as any)[point];
          (fs as any)[point] = (...args: unknown[]) => {
            (fs as any)[point] = real;
            fs.writeSync(1, 'suspended');
            process.kill(process.pid, 'SIGSTOP');
            return real(...args);
          };
          const held = await tryLock(folder, 'lock');
          process.send?.(held === undefined ? 'not had' : 'had');
        })();
      `);
      const slow = runScript(script, [folder, point]);
      await once(slow.stdout as NodeJS.ReadableStream, 'data');
      for (let round = 0; round < 25; round++) await (await hold()).release();
      const held = await hold();
      const message = once(slow, 'message');
      slow.kill('SIGCONT');
      expect(await message).toContain('not had');
      expect(await tryLock(folder, 'lock')).toBeUndefined();
      await held.release();
      await (await hold()).release();
    },
  );

  // LOCK_ROUNDS=200 for the long run.
  const rounds = Number(process.env.LOCK_ROUNDS ?? 40);
  it('has one holder at most among eight processes that are killed at random, and never stays taken', {
    timeout: 20_000 + rounds * 1_000,
  }, async () => {
    const script = await bundleScript(`
        import { once } from 'node:events';
        import { withLock } from './src/auth/oauth/process-lock.ts';
        void (async () => {
          for (;;) {
            await withLock(process.argv[2] as string, 'lock', { limitMs: 30_000 }, async () => {
              process.send?.('enter');
              await once(process, 'message');
              process.send?.('leave');
              await once(process, 'message');
            });
          }
        })();
      `);
    const workers = new Set<ChildProcess>();
    const inside = new Set<ChildProcess>();
    let entered = 0;
    let killed = 0;
    const together: number[] = [];
    let onDone = () => {};
    const done = new Promise<void>((resolve) => {
      onDone = resolve;
    });
    const start = () => {
      const worker = runScript(script, [folder]);
      workers.add(worker);
      worker.on('error', () => {});
      worker.on('message', (message) => {
        // What it sent before it was killed. The next holder comes once the system has ended it.
        if (!workers.has(worker)) return;
        if (message === 'leave') inside.delete(worker);
        else {
          inside.add(worker);
          together.push(inside.size);
          if (++entered === rounds) onDone();
          if (Math.random() < 0.3) return kill(worker);
          const other = [...workers][Math.floor(Math.random() * workers.size)];
          if (other !== undefined && Math.random() < 0.3) kill(other);
        }
        if (workers.has(worker)) worker.send('go on', () => {});
      });
    };
    const kill = (worker: ChildProcess) => {
      workers.delete(worker);
      inside.delete(worker);
      killed++;
      worker.kill('SIGKILL');
      if (entered < rounds) start();
    };
    for (let count = 0; count < 8; count++) start();
    await done;
    for (const worker of workers) kill(worker);
    expect(together).toEqual(Array(together.length).fill(1));
    expect(killed).toBeGreaterThan(rounds / 5);
    expect(await withLock(folder, 'lock', { limitMs }, async () => 'free')).toBe('free');
  });
});
