import { closeSync, writeFileSync } from 'node:fs';
import type * as ConfiguredSecrets from '../auth/configured-secrets.ts';
import { Credentials } from '../auth/credentials.ts';
import type * as Auditing from '../bridge/audit/audited-gateway.ts';
import type * as Filtering from '../bridge/filter/filtering-gateway.ts';
import { CachingGateway } from '../bridge/gateway-cache/caching-gateway.ts';
import { openGateway } from '../bridge/open-gateway.ts';
import { Secrets } from '../failures/secrets.ts';
import { createLog, type Log } from '../log.ts';
import { UnusableFile } from '../private-path.ts';
import { openRotated } from '../rotated-file.ts';
import type { ProxySettings } from '../settings/settings.ts';
import { StdioProxy } from '../stdio/stdio-proxy.ts';
import { ownCommand } from '../terminal/own-command.ts';
import type { SessionWatch } from '../trace/session-watch.ts';
import type { Transport } from '../transport/transport.ts';
import { ownCacheFolder } from './compile-cache.ts';

/** After the start, which the reading of more files must not slow down. */
const LATE_FILES_DELAY_MS = 100;

/**
 * Runs the proxy between stdin and stdout until the client closes stdin or a signal comes, and then
 * exits with 0; with 1 when stdout cannot be written; at once, with 128 + N, by a second signal N.
 * `watch` is told of all that passes, where that is recorded or logged.
 */
export function runProxy(settings: ProxySettings, watch?: SessionWatch): void {
  const secrets = new Secrets((keys) => {
    // Not import(), which would make every line of the log wait for its turn.
    const { matcherFor }: typeof ConfiguredSecrets = require('../auth/configured-secrets.ts');
    return matcherFor(keys, process.env, settings);
  });
  let stderr: NodeJS.WriteStream | undefined;
  let { logFile } = settings;
  const write = (text: string) => {
    const line = secrets.mask(text);
    // The client may close its end; the log is not worth the session.
    stderr ??= process.stderr.on('error', () => {});
    stderr.write(line);
    if (logFile === undefined) return;
    try {
      appendPrivately(logFile, line);
    } catch (error) {
      // A full disk or a missing folder does not stop the proxy; stderr has the line.
      const { code, message } = error as NodeJS.ErrnoException;
      const why =
        error instanceof UnusableFile ? message : `${logFile} cannot be written (${code})`;
      stderr.write(`mcp-latchkey: --log-file: ${why}, so the log is here only.\n`);
      logFile = undefined;
    }
  };
  const log = createLog(settings.logLevel, write, watch?.onLogLine);
  process.on('uncaughtException', (error) => log.error(`bug: ${error.stack}`));
  doNotWaitForReader(process.stdout as WaitingOutput);
  const { url, maxMessageBytes } = settings;
  const credentials = new Credentials(settings, process.env, log, secrets);
  const gateway = openGateway(settings, credentials, log, secrets, shownTools(settings));
  const cached = new CachingGateway(gateway, {
    settings,
    folder: settings.usesCache ? ownCacheFolder(process.env) : undefined,
    secrets,
    log,
  });
  const proxy = new StdioProxy({
    input: process.stdin,
    output: process.stdout,
    upstream: audited(filtered(cached, settings), settings, secrets, log),
    replyTo: (request, failure) => gateway.linkFor(request, failure),
    maxMessageBytes,
    secrets,
    log,
    observer: watch,
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
  // It may write to the log. Who reads that may send a signal.
  watch?.begin(secrets, log);
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
  void proxy
    .run()
    .finally(() => watch?.end())
    .finally(() => exit(exitCode));
}

/** What Node.js sets on a stdout that is a pipe, on Windows, over what net.Socket has. */
interface WaitingOutput {
  _handle?: { setBlocking?(isBlocking: boolean): void };
  _write?: unknown;
  _writev?: unknown;
}

/**
 * Node.js for Windows does nothing else while a pipe is full. A client that reads nothing would then not
 * be able to end the proxy by closing stdin. Elsewhere, and where stdout is not a pipe, does nothing.
 */
function doNotWaitForReader(stdout: WaitingOutput): void {
  // There is no public way. Without its own `_write`, stdout has that of other sockets.
  if (process.platform !== 'win32' || stdout._handle?.setBlocking === undefined) return;
  stdout._handle.setBlocking(false);
  delete stdout._write;
  delete stdout._writev;
}

/** Which tools may be suggested to the client. */
function shownTools({ filters }: ProxySettings): { isToolShown?: (tool: Buffer) => boolean } {
  if (filters.length === 0) return {};
  // Not import(), as below: it is loaded anyway.
  const { isToolShown }: typeof Filtering = require('../bridge/filter/filtering-gateway.ts');
  return { isToolShown: (tool) => isToolShown(tool, filters) };
}

/** What the client gets to see of the gateway: all of it, unless there is a filter. */
function filtered(gateway: Transport, settings: ProxySettings): Transport {
  if (settings.filters.length === 0) return gateway;
  // Not import(): the client's first message would have to wait.
  const { FilteringGateway }: typeof Filtering = require('../bridge/filter/filtering-gateway.ts');
  const contact = settings.policy?.contact;
  return new FilteringGateway(gateway, {
    ...settings,
    ...(contact === undefined ? {} : { contact }),
  });
}

/** The same gateway, unless its calls are to be logged. */
function audited(
  gateway: Transport,
  settings: ProxySettings,
  secrets: Secrets,
  log: Log,
): Transport {
  const { auditFile, policy } = settings;
  if (auditFile === undefined) return gateway;
  // Not import(), as above.
  const { AuditedGateway }: typeof Auditing = require('../bridge/audit/audited-gateway.ts');
  const isAuditRequired = policy?.isAuditRequired === true;
  return new AuditedGateway(gateway, { ...settings, auditFile, isAuditRequired, secrets, log });
}

function exit(code: number): void {
  // libuv waits at the exit for a thread that asks DNS, and that may take half a minute. What kills
  // the process does not wait.
  if (process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap')) {
    process.once('exit', () => process.kill(process.pid, 'SIGKILL'));
  }
  process.exit(code);
}

/** How large a log file gets, and how many of them there are. */
const LOG_ROTATION = { limitBytes: 10 * 1024 * 1024, files: 3 };

/** Readable by the user alone: the log quotes what the gateway said. */
function appendPrivately(file: string, line: string): void {
  const fd = openRotated(file, Buffer.byteLength(line), LOG_ROTATION);
  try {
    writeFileSync(fd, line);
  } finally {
    closeSync(fd);
  }
}
