import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { onTestFinished } from 'vitest';

/** Connects, ignores SIGTERM and the end of its pipes, and stays until it is killed. */
const HOLDER = `
const socket = require('node:net').connect(Number(process.argv[2]), '127.0.0.1');
socket.once('connect', () => process.argv[3] && require('node:fs').writeFileSync(process.argv[3], ''));
socket.on('error', () => process.exit());
socket.once('close', () => process.exit());
process.on('SIGTERM', () => {});
process.on('SIGHUP', () => {});
`;

/** Processes that hold a connection to the test for as long as they live. */
export interface Tether {
  /** An empty folder of the test's own. */
  readonly folder: string;
  readonly port: number;
  /** The shell command of a process that stays; `readyFile` is made once it runs. */
  hold(readyFile?: string): string;
  /** Resolves once `count` processes have been started, of those so far and to come. */
  started(count: number): Promise<void>;
  /** Resolves once every process that was started has ended. */
  ended(): Promise<void>;
}

// cmd.exe knows no others.
const quote = process.platform === 'win32' ? '"' : "'";

/** Whatever is still alive when the test is over ends with it. */
export async function startTether(): Promise<Tether> {
  const folder = mkdtempSync(`${tmpdir()}/latchkey-tether-`);
  writeFileSync(`${folder}/hold.cjs`, HOLDER);
  const alive = new Set<Socket>();
  const waiting = new Set<() => void>();
  let count = 0;
  const wake = () => {
    for (const check of waiting) check();
  };
  const server = createServer((socket) => {
    count++;
    alive.add(socket);
    // A process that is killed may reset its connection.
    socket.on('error', () => {});
    socket.once('close', () => {
      alive.delete(socket);
      wake();
    });
    socket.resume();
    wake();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of alive) socket.destroy();
    server.close();
    rmSync(folder, { recursive: true });
  });
  const { port } = server.address() as AddressInfo;
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (!holds()) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  return {
    folder,
    port,
    hold: (readyFile = '') =>
      `${quote}${process.execPath}${quote} ${quote}${folder}/hold.cjs${quote} ${port} ${readyFile}`,
    started: (wanted) => until(() => count >= wanted),
    ended: () => until(() => count > 0 && alive.size === 0),
  };
}
