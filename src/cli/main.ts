import { UsageError } from '../settings/options.ts';
import { type ProxySettings, readProxySettings } from '../settings/settings.ts';
import type { SessionWatch } from '../trace/session-watch.ts';

const COMMANDS = new Set([
  'bundle',
  'demo',
  'doctor',
  'explain',
  'help',
  'install',
  'login',
  'logout',
  'migrate',
  'policy',
  'sandbox',
  'status',
  'tools',
  'trace',
  'uninstall',
  'update',
  'version',
]);

function main(argv: readonly string[]): void {
  const [first] = argv;
  const isCommand = first === undefined ? process.stdin.isTTY : COMMANDS.has(first);
  if (isCommand || argv.some((word) => ['--help', '-h', '--version', '-v'].includes(word))) {
    void import('./commands.ts').then(({ runCommand }) => runCommand(argv));
    return;
  }
  let settings: ProxySettings;
  try {
    settings = readProxySettings(argv, process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { message } = error;
    void import('./refuse-to-start.ts').then(({ refuseToStart }) =>
      refuseToStart(message, first, [...COMMANDS]),
    );
    return;
  }
  if (isWatched(settings)) {
    // Before the first connection, which it is to see.
    void import('../trace/session-watch.ts')
      .then(({ SessionWatch }) => new SessionWatch(settings))
      .catch(({ message }: Error) => {
        process.stderr.write(`mcp-latchkey: this session is not recorded: ${message}\n`);
      })
      .then((watch) => start(settings, watch ?? undefined));
  } else start(settings);
}

function start(settings: ProxySettings, watch?: SessionWatch): void {
  // Before the rest is loaded, and the key and the client's first message are waited for.
  settings.routes.connect(settings.url.origin);
  // node:net asks for the connection at the end of this turn of the event loop. What comes now takes
  // 15 ms, in which that one and the gateway are at work.
  setImmediate(() => {
    settings.routes.prepare();
    void import('./run-proxy.ts').then(({ runProxy }) => runProxy(settings, watch));
  });
}

/** Whether each request is recorded, or has a line in the log. */
function isWatched({ traceFile, logLevel }: ProxySettings): boolean {
  return traceFile !== undefined || logLevel === 'info' || logLevel === 'debug';
}

main(process.argv.slice(2));
