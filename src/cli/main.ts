import { openRouteEarly } from '../gateway/route.ts';
import { type ProxySettings, readProxySettings, UsageError } from './options.ts';

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
  let settings: ProxySettings;
  try {
    settings = readProxySettings(argv, process.env);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const { message } = error;
    void import('./refuse-to-start.ts').then(({ refuseToStart }) => refuseToStart(message));
    return;
  }
  // Before the rest is loaded, and the key and the client's first message are waited for.
  const earlyRoute = openRouteEarly(settings.url.origin, settings.route);
  // A turn of the event loop between lets the connection go on: from the name to the address, from
  // there to TLS. Loading the rest takes 9 ms in which it could not.
  setImmediate(() => {
    void import('./run-proxy.ts').then(({ runProxy }) => runProxy(settings, earlyRoute));
  });
}

main(process.argv.slice(2));
