import { spawn } from 'node:child_process';
import { pathOf } from './installed-peers.ts';

export interface ServerEverything {
  /** Its Streamable HTTP endpoint on 127.0.0.1. */
  url: string;
  /** Where its log ends now, for {@link ServerEverything.logged}. */
  mark(): number;
  /** Resolves once the log matches after `mark`. Rejects after 5 s with the log. */
  logged(pattern: RegExp, mark: number): Promise<RegExpExecArray>;
  /** Kills it and resolves when it is gone. */
  close(): Promise<void>;
}

/**
 * Starts the reference server over Streamable HTTP. Rejects with its output when it ends before it
 * listens.
 */
export async function startServerEverything(): Promise<ServerEverything> {
  const preload = new URL('listen-on-loopback.mjs', import.meta.url).href;
  const script = pathOf('serverEverything');
  const server = spawn(process.execPath, ['--import', preload, script, 'streamableHttp'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const ended = new Promise<void>((resolve) => server.once('close', () => resolve()));
  let log = '';
  const watchers = new Set<() => void>();
  const heard = (chunk: Buffer) => {
    log += chunk;
    for (const watcher of [...watchers]) watcher();
  };
  server.stdout.on('data', heard);
  server.stderr.on('data', heard);

  function logged(pattern: RegExp, mark: number): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        watchers.delete(look);
        server.off('close', fail);
      };
      const look = () => {
        const found = pattern.exec(log.slice(mark));
        if (!found) return;
        settle();
        resolve(found);
      };
      const fail = () => {
        settle();
        reject(new Error(`server-everything did not log ${pattern}:\n${log.slice(mark)}`));
      };
      const timer = setTimeout(fail, 5000);
      watchers.add(look);
      server.once('close', fail);
      look();
    });
  }
  const close = async () => {
    server.kill('SIGKILL');
    await ended;
  };
  try {
    const [, port] = await logged(/^listening on 127\.0\.0\.1:(\d+)$/m, 0);
    return {
      url: `http://127.0.0.1:${port}/mcp`,
      mark: () => log.length,
      logged,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
