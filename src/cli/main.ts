import { appendFileSync } from 'node:fs';
import { KeyRing } from '../auth/key-ring.ts';
import { wordMisconfiguration } from '../failures/catalogue.ts';
import { createLog } from '../log.ts';
import { errorResponse, readMessages } from '../protocol/message.ts';
import { LineReader } from '../proxy/line-reader.ts';
import { StdioProxy } from '../proxy/stdio-proxy.ts';
import { openGateway } from './open-gateway.ts';
import { type ProxySettings, readProxySettings, UsageError } from './options.ts';

declare const __VERSION__: string;

const COMMANDS = new Set([
  'demo',
  'doctor',
  'explain',
  'install',
  'login',
  'logout',
  'sandbox',
  'status',
  'uninstall',
]);

function main(argv: readonly string[]): void {
  const isCommand = argv[0] !== undefined && COMMANDS.has(argv[0]);
  if (isCommand || argv.some((word) => ['--help', '-h', '--version'].includes(word))) {
    void import('./commands.ts').then(({ runCommand }) => runCommand(argv));
    return;
  }
  try {
    runProxy(readProxySettings(argv, process.env));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    refuseToStart(error.message);
  }
}

function runProxy(settings: ProxySettings): void {
  const log = createLog(settings.logLevel, (line) => {
    process.stderr.write(line);
    if (settings.logFile !== undefined) appendTo(settings.logFile, line);
  });
  // The client may close its end of stderr; the log is not worth the session.
  process.stderr.on('error', () => {});
  process.stdout.on('error', () => process.exit(1));
  process.on('uncaughtException', (error) => log.error(`bug: ${error.stack}`));
  const { url, maxMessageBytes } = settings;
  const gateway = openGateway(settings, new KeyRing(settings, process.env, log), log);
  // While the rest is loaded, and the key and the client's first message are waited for.
  gateway.connect();
  const proxy = new StdioProxy({
    input: process.stdin,
    output: process.stdout,
    upstream: gateway,
    maxMessageBytes,
    log,
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => void proxy.stop(0).then(() => process.exit(0)));
  }
  log.info(`mcp-latchkey ${__VERSION__} for ${url.origin}${url.pathname}`);
  void proxy.run().then(() => process.exit(0));
}

/** How long a client may take to ask for what is refused. */
const REFUSAL_LIMIT_MS = 2_000;

// Most clients show their user nothing of stderr: the first request gets the reason as its error.
function refuseToStart(why: string): void {
  process.stderr.write(`mcp-latchkey: ${why}. See mcp-latchkey --help.\n`);
  const exit = () => process.exit(2);
  if (process.stdin.isTTY) exit();
  const lines = new LineReader({
    limitBytes: 1024 * 1024,
    onTooLong: exit,
    onLine: (line) => {
      for (const message of readMessages(line).messages) {
        if (message.kind !== 'request') continue;
        const error = wordMisconfiguration(why);
        process.stdout.write(`${errorResponse(message.id, error)}\n`, exit);
      }
    },
  });
  process.stdout.on('error', exit);
  process.stdin.on('data', (chunk: Buffer) => lines.push(chunk));
  process.stdin.on('end', exit);
  setTimeout(exit, REFUSAL_LIMIT_MS);
}

/** Readable by the user alone: the log quotes what the gateway said. */
function appendTo(file: string, line: string): void {
  try {
    appendFileSync(file, line, { mode: 0o600 });
  } catch {
    // A full disk or a missing folder is no reason to stop; stderr has the line.
  }
}

main(process.argv.slice(2));
