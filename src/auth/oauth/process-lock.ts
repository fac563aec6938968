// A lock across the processes of one user, which the system frees when its holder dies: a listening
// socket. On Windows it is a named pipe, which one process can create: libuv (src/win/pipe.c) makes the
// first instance with FILE_FLAG_FIRST_PIPE_INSTANCE, with which CreateNamedPipe fails with
// ERROR_ACCESS_DENIED where the pipe exists, and libuv reports EADDRINUSE. Elsewhere it is a Unix socket,
// whose file stays behind when its process is killed. To remove such a file and to bind again is a
// race (another process may have done both in between), so no process ever does:
//
// - Each holder has a socket of its own, `<generation>/s`. The folder is made under a temporary name,
//   with the socket in it that already listens, and then renamed to the next free generation. This is
//   atomic, and it fails where that folder exists, because none of them is empty.
// - So a socket that refuses a connection is dead for good, and only who found the newest one dead
//   may try for the next generation. One succeeds.
// - Old generations are removed, but never the newest. Who was too slow, and took a number that had
//   been in use, finds a newer one when it looks again, and gives its own up. The newest eight are
//   kept, so that it cannot miss all of them while they come and go.
import { createHash, randomBytes } from 'node:crypto';
import {
  chownSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makePrivateFolder } from '../../private-path.ts';

/** The lock was not free in time. */
export class LockTimeout extends Error {}

export interface LockOptions {
  /** How long to wait for it, in ms. */
  readonly limitMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface HeldLock {
  /** Sends a line to every process that is attached, and to each that attaches from now on. */
  tell(line: string): void;
  /** Frees the lock. Resolves once those that are attached have what they were told. */
  release(): Promise<void>;
}

/** Where a lock is: a folder of generations, or the name of a pipe. */
type LockPlace = { readonly generations: string } | { readonly pipe: string };

/** Of the path of a folder of generations: what a socket's path in it adds still fits (104 on macOS). */
const MAX_FOLDER_BYTES = 90;
/** How many generations are kept. */
const KEPT = 8;
/** A folder under a temporary name as old as this was left by a process that was killed. */
const LEFT_BEHIND_MS = 60_000;
/** Between two tries when the system has no answer, such as when too many processes connect at once. */
const PAUSE_MS = 20;
/** How long those that are attached may take to read what they were told. */
const GOODBYE_MS = 1_000;

/**
 * Runs `act` while this process alone, among those that use the same folder, has the lock `name`.
 * Rejects with LockTimeout when it is not free within `limitMs`, with the signal's reason, as `act`
 * does, and with the file system's error or UnusableFile when the folder cannot be used.
 */
export async function withLock<Value>(
  folder: string,
  name: string,
  options: LockOptions,
  act: () => Promise<Value>,
): Promise<Value> {
  const place = placeOf(folder, name);
  const deadline = performance.now() + options.limitMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const found = await takeOrConnect(place, deadline);
    if ('tell' in found) {
      try {
        options.signal?.throwIfAborted();
        return await act();
      } finally {
        await found.release();
      }
    }
    await untilClosed(found, deadline, options.signal);
  }
}

/**
 * The lock, if no process has it; else undefined. Rejects with the file system's error or
 * UnusableFile when the folder cannot be used, and with LockTimeout when the system does not answer.
 */
export async function tryLock(folder: string, name: string): Promise<HeldLock | undefined> {
  const found = await takeOrConnect(placeOf(folder, name), performance.now() + 5_000);
  if ('tell' in found) return found;
  found.destroy();
  return undefined;
}

/**
 * Connects to the process that has the lock: undefined when none has. `onLine` gets what it tells;
 * the promise of `ended` resolves when it frees the lock or dies. Rejects as `tryLock` does.
 */
export async function attachToHolder(
  folder: string,
  name: string,
  onLine: (line: string) => void,
): Promise<{ readonly ended: Promise<void>; detach(): void } | undefined> {
  const socket = await connectToHolder(placeOf(folder, name), performance.now() + 5_000);
  if (socket === undefined) return undefined;
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let text = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (text + chunk).split('\n');
    text = lines.pop() as string;
    for (const line of lines) onLine(line);
  });
  return { ended, detach: () => void socket.destroy() };
}

function placeOf(folder: string, name: string): LockPlace {
  const hash = createHash('sha256').update(`${folder}\n${name}`).digest('hex').slice(0, 16);
  if (process.platform === 'win32') return { pipe: `\\\\.\\pipe\\mcp-latchkey-${hash}` };
  const beside = join(folder, hash);
  if (Buffer.byteLength(beside) <= MAX_FOLDER_BYTES) {
    makePrivateFolder(folder);
    return { generations: beside };
  }
  // Not TMPDIR, which some of this user's processes have and others have not.
  const temporary = `/tmp/mcp-latchkey-${process.getuid?.()}`;
  makePrivateFolder(temporary);
  return { generations: join(temporary, hash) };
}

/** The lock, or a connection to the process that has it. */
async function takeOrConnect(place: LockPlace, deadline: number): Promise<HeldLock | Socket> {
  for (;;) {
    const server = 'pipe' in place ? await listenOn(place.pipe) : undefined;
    if (server !== undefined) return holdWith(server);
    const newest = 'pipe' in place ? 0 : newestGeneration(place.generations);
    const socket = await connectToHolder(place, deadline, newest);
    if (socket !== undefined) return socket;
    if ('pipe' in place) continue;
    const own = await takeGeneration(place.generations, newest + 1);
    if (own !== undefined) return holdWith(own);
  }
}

/** A connection to the process that has the lock, of the newest generation; undefined if none has. */
async function connectToHolder(
  place: LockPlace,
  deadline: number,
  newest = 'pipe' in place ? 0 : newestGeneration(place.generations),
): Promise<Socket | undefined> {
  const path = 'pipe' in place ? place.pipe : socketOf(place.generations, newest);
  for (;;) {
    const socket = connect(path);
    const code = await new Promise<string | undefined>((resolve) => {
      socket.once('connect', () => resolve(undefined));
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
    });
    if (code === undefined) return socket.on('error', () => {});
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return undefined;
    if (performance.now() > deadline) throw new LockTimeout(`the lock does not answer (${code})`);
    await sleep(PAUSE_MS);
  }
}

const socketOf = (generations: string, generation: number) =>
  join(generations, generation.toString(36), 's');

const GENERATION = /^[0-9a-z]{1,8}$/;

/** 0 when there was none yet. */
function newestGeneration(generations: string): number {
  mkdirSync(generations, { recursive: true, mode: 0o700 });
  return generationsIn(generations).at(-1) ?? 0;
}

/** In ascending order. */
const generationsIn = (generations: string) =>
  readdirSync(generations)
    .filter((name) => GENERATION.test(name))
    .map((name) => Number.parseInt(name, 36))
    .sort((a, b) => a - b);

/** The socket of a generation, of which all before it are dead; undefined when another has it. */
async function takeGeneration(
  generations: string,
  generation: number,
): Promise<Server | undefined> {
  const temporary = join(generations, `.${randomBytes(4).toString('hex')}`);
  const own = join(generations, generation.toString(36));
  mkdirSync(temporary, { mode: 0o700 });
  const server = await listenOn(join(temporary, 's'));
  if (server === undefined) return undefined;
  giveToOwnerOf(generations, [temporary, join(temporary, 's')]);
  try {
    renameSync(temporary, own);
  } catch (error) {
    server.close();
    removeGeneration(temporary);
    const { code } = error as NodeJS.ErrnoException;
    // Taken, or the temporary folder was cleaned up while this process was suspended.
    if (code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOENT') return undefined;
    throw error;
  }
  if (newestGeneration(generations) > generation) {
    server.close();
    removeGeneration(own);
    return undefined;
  }
  cleanUp(generations);
  return server;
}

/** With sudo, root may use the folder of a user, who has to be able to connect. */
function giveToOwnerOf(folder: string, paths: readonly string[]): void {
  if (process.geteuid?.() !== 0) return;
  const { uid, gid } = statSync(folder);
  if (uid === 0) return;
  for (const path of paths) chownSync(path, uid, gid);
}

function cleanUp(generations: string): void {
  for (const old of generationsIn(generations).slice(0, -KEPT)) {
    removeGeneration(join(generations, old.toString(36)));
  }
  for (const name of readdirSync(generations).filter((own) => own.startsWith('.'))) {
    const path = join(generations, name);
    const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
    if (Date.now() - made > LEFT_BEHIND_MS) removeGeneration(path);
  }
}

/** Never throws: what is left is removed later. */
function removeGeneration(folder: string): void {
  for (const remove of [() => unlinkSync(join(folder, 's')), () => rmdirSync(folder)]) {
    try {
      remove();
    } catch {
      // It was removed already, or another process has just put its socket there.
    }
  }
}

/** Undefined when there is one already, or when the folder was removed. */
function listenOn(path: string): Promise<Server | undefined> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('listening', () => resolve(server));
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'ENOENT') resolve(undefined);
      else reject(error);
    });
    server.listen(path);
  });
}

function holdWith(server: Server): HeldLock {
  const attached = new Set<Socket>();
  const told: string[] = [];
  server.on('error', () => {});
  server.on('connection', (socket) => {
    attached.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => attached.delete(socket));
    socket.resume();
    for (const line of told) socket.write(line);
  });
  return {
    tell: (line) => {
      told.push(`${line}\n`);
      for (const socket of attached) socket.write(`${line}\n`);
    },
    release: () =>
      new Promise((resolve) => {
        const goodbye = setTimeout(() => {
          for (const socket of attached) socket.destroy();
        }, GOODBYE_MS);
        server.close(() => {
          clearTimeout(goodbye);
          resolve();
        });
        // destroySoon() sends what is left, and does not wait for the other end.
        for (const socket of attached) socket.destroySoon();
      }),
  };
}

/** Rejects with LockTimeout, or with the signal's reason. */
function untilClosed(
  socket: Socket,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (how: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.destroy();
      how();
    };
    const onAbort = () => end(() => reject(signal?.reason));
    const timer = setTimeout(
      () => end(() => reject(new LockTimeout('another process has the lock'))),
      Math.max(0, deadline - performance.now()),
    );
    socket.once('close', () => end(resolve));
    socket.resume();
    if (signal?.aborted) onAbort();
    else signal?.addEventListener('abort', onAbort);
  });
}
