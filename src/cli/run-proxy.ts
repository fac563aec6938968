import { closeSync, writeFileSync } from 'node:fs';
import type * as ConfiguredSecrets from '../auth/configured-secrets.ts';
import { Credentials } from '../auth/credentials.ts';
import { CachingGateway } from '../bridge/gateway-cache/caching-gateway.ts';
import { openGateway } from '../bridge/open-gateway.ts';
import { Secrets } from '../failures/secrets.ts';
import { createLog } from '../log.ts';
import { openPrivate, UnusableFile } from '../private-path.ts';
import type { ProxySettings } from '../settings/settings.ts';
import { StdioProxy } from '../stdio/stdio-proxy.ts';
import { ownCommand } from '../terminal/own-command.ts';
import { ownCacheFolder } from './compile-cache.ts';

/** After the start, which the reading of more files must not slow down. */
const LATE_FILES_DELAY_MS = 100;

/**
 * Runs the proxy between stdin and stdout until the client closes stdin or a signal comes, and then
 * exits with 0; with 1 when stdout cannot be written; at once, with 128 + N, by a second signal N.
 */
export function runProxy(settings: ProxySettings): void {
  const secrets = new Secrets((keys) => {
    // Not import(), which would make every line of the log wait for its turn.
    const { matcherFor }: typeof ConfiguredSecrets = require('../auth/configured-secrets.ts');
    return matcherFor(keys, process.env, settings);
  });
  let stderr: NodeJS.WriteStream | undefined;
  let { logFile } = settings;
  const log = createLog(settings.logLevel, (text) => {
    const line = secrets.mask(text);
    // The client may close its end; the log is not worth the session.
    stderr ??= process.stderr.on('error', () => {});
    stderr.write(line);
    if (logFile === undefined) return;
    try {
      appendPrivately(logFile, line);
    } catch (error) {
      // A full disk or a missing folder is no reason to stop; stderr has the line.
      const { code, message } = error as NodeJS.ErrnoException;
      const why =
        error instanceof UnusableFile ? message : `${logFile} cannot be written (${code})`;
      stderr.write(`mcp-latchkey: --log-file: ${why}, so the log is here only.\n`);
      logFile = undefined;
    }
  });
  process.on('uncaughtException', (error) => log.error(`bug: ${error.stack}`));
  const { url, maxMessageBytes } = settings;
  const credentials = new Credentials(settings, process.env, log, secrets);
  const gateway = new CachingGateway(openGateway(settings, credentials, log, secrets), {
    settings,
    folder: settings.usesCache ? ownCacheFolder(process.env) : undefined,
    secrets,
    log,
  });
  const proxy = new StdioProxy({
    input: process.stdin,
    output: process.stdout,
    upstream: gateway,
    maxMessageBytes,
    secrets,
    log,
  });
  let exitCode = 0;
  // The client reads nothing more, so there is no use in waiting for replies.
  process.stdout.on('error', () => {
    exitCode = 1;
    proxy.stop();
  });
  let isTold = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, (_: NodeJS.Signals, number: number) => {
      if (isTold) exit(128 + number);
      isTold = true;
      proxy.stop();
    });
  }
  log.info(`mcp-latchkey ${__VERSION__} for ${url.origin}${url.pathname}`);
  for (const line of new Set(settings.warnings)) log.warn(line);
  if (process.stdin.isTTY) {
    const own = ownCommand();
    process.stderr.write(
      `mcp-latchkey is waiting for an MCP client. To stop it, press Ctrl+C.\nTo add it to a client, run:\n  ${own} install CLIENT URL\nTo test the connection, run:\n  ${own} doctor URL\n`,
    );
  }
  setTimeout(() => {
    void import('./late-files.ts')
      .then(({ keepLateFiles }) => keepLateFiles())
      .then(
        () => log.debug('the files for later are in memory'),
        ({ code }: NodeJS.ErrnoException) => log.debug(`the files for later are left (${code})`),
      );
  }, LATE_FILES_DELAY_MS).unref();
  void proxy.run().finally(() => exit(exitCode));
}

function exit(code: number): void {
  // libuv waits at the exit for a thread that asks DNS, and that may take half a minute. What kills
  // the process does not wait.
  if (process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) {
    process.once('exit', () => process.kill(process.pid, 'SIGKILL'));
  }
  process.exit(code);
}

/** Readable by the user alone: the log quotes what the gateway said. */
function appendPrivately(file: string, line: string): void {
  const { fd } = openPrivate(file, 'output');
  try {
    writeFileSync(fd, line);
  } finally {
    closeSync(fd);
  }
}
