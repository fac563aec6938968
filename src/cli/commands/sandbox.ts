import { resolve } from 'node:path';
import type { CommandModule } from 'yargs';
import { cleanNetworkText } from '../../failures/network-text.ts';
import type { Launch } from '../../install/install.ts';
import { type OAuthFault, oauthFaults } from '../../sandbox/oauth/faults.ts';
import type {
  registeredClients,
  Sandbox,
  SandboxOptions,
  SandboxRequest,
} from '../../sandbox/sandbox.ts';
import { type Paint, paintFor } from '../../terminal/colour.ts';
import { Printer } from '../../terminal/printer.ts';

// The commands run from dist/, below the package's folder.
const packageRoot = resolve(__dirname, '..');

interface Arguments {
  port: number;
  sessions: boolean;
  sse: boolean;
  latency: number;
  fail: string | undefined;
  oauth: boolean;
  'oauth-fault': string | undefined;
  'oauth-dpop': boolean;
}

/**
 * `mcp-latchkey sandbox`: the embedded gateway, until Ctrl-C. Exit 1 when it cannot listen, such
 * as on a port in use; exit 2 on a wrong option.
 */
export const sandboxCommand: CommandModule<object, Arguments> = {
  command: 'sandbox',
  describe: 'Run a local practice gateway',
  builder: (yargs) =>
    yargs
      .option('port', {
        type: 'number',
        default: 4717,
        describe: 'Port on 127.0.0.1, 0 = any free port',
      })
      .option('sessions', {
        type: 'boolean',
        default: false,
        describe: 'Use sessions (Mcp-Session-Id)',
      })
      .option('sse', {
        type: 'boolean',
        default: false,
        describe: 'Reply with event streams instead of JSON',
      })
      .option('latency', {
        type: 'number',
        default: 0,
        value: 'MS',
        describe: 'Delay each reply by this many milliseconds',
      })
      .option('fail', {
        type: 'string',
        value: 'STATUS:COUNT',
        describe: 'Fail the first requests, for example 503:2',
      })
      .option('oauth', {
        type: 'boolean',
        default: false,
        describe: 'Offer sign-in too: an authorization server on the next port',
      })
      .option('oauth-fault', {
        type: 'string',
        value: 'NAME',
        describe: 'What goes wrong with a sign-in (implies --oauth)',
      })
      .option('oauth-dpop', {
        type: 'boolean',
        default: false,
        describe: 'Require DPoP, tokens bound to a key (implies --oauth)',
      }),
  async handler({ port, sessions, sse, latency, fail, oauth, ...dashed }) {
    const { 'oauth-fault': fault, 'oauth-dpop': requiresDpop } = dashed;
    const hasOAuth = oauth || requiresDpop || fault !== undefined;
    const problem =
      wrongArgument(port, latency, fail, hasOAuth) ??
      (fault === undefined || isFault(fault)
        ? undefined
        : `--oauth-fault must be one of: ${Object.keys(oauthFaults).join(', ')}`);
    if (problem) {
      new Printer(process.stderr).usageError(problem, 'sandbox --help');
      process.exitCode = 2;
      return;
    }
    const { startSandbox, accounts, registeredClients } = await import('../../sandbox/sandbox.ts');
    const paint = paintFor(process.stdout);
    const options: SandboxOptions = {
      port,
      sessions,
      sse,
      latencyMs: latency,
      onServed(request) {
        process.stdout.write(`${requestLine(request, paint)}\n`);
        for (const { requests } of [sandbox, sandbox?.oauth].filter((own) => own !== undefined)) {
          requests.length = 0;
        }
      },
    };
    if (hasOAuth) {
      options.oauth = { requiresDpop, ...(isFault(fault) ? { fault } : {}) };
    }
    const burst = parseFail(fail ?? '');
    if (burst) options.fail = burst;
    let sandbox: Sandbox | undefined;
    try {
      sandbox = await startSandbox(options);
    } catch (error) {
      new Printer(process.stderr).failure(startFailure(error, port));
      process.exitCode = 1;
      return;
    }
    const stopped = new Promise((resolve) => {
      process.once('SIGINT', resolve).once('SIGTERM', resolve);
      process.stdout.on('error', resolve);
    });
    // A session begins with initialize; without sessions no handshake is needed.
    const params = {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'curl', version: '1' },
    };
    const first = sessions ? { method: 'initialize', params } : { method: 'tools/list' };
    const keys = [...accounts].map(([key, { purpose }]) => [key, purpose] as const);
    const message = { jsonrpc: '2.0', id: 1, ...first };
    const signIn =
      sandbox.oauth && signInPart(sandbox.oauth.issuer, registeredClients, options.oauth?.fault);
    const { launchToPaste } = await import('../../install/install.ts');
    const launch = launchToPaste(packageRoot, [sandbox.url], false);
    process.stdout.write(introduction(sandbox, keys, message, launch, signIn, paint));
    await stopped;
    await sandbox.close();
  },
};

function introduction(
  sandbox: Sandbox,
  keys: (readonly [key: string, purpose: string])[],
  message: object,
  { command, args }: Launch,
  signIn: readonly string[] | undefined,
  paint: Paint,
): string {
  const heading = (text: string) => paint('bold', text);
  const env = signIn ? {} : { env: { MCP_LATCHKEY_API_KEY: sandbox.keys.good } };
  const table = [...keys, ['any other key, or none', '401: missing or unknown'] as const];
  return `${heading('mcp-latchkey sandbox')}: a practice gateway. Only this computer can reach it, and
its keys work nowhere else. Press Ctrl+C to stop.

${heading('Endpoint')}
  ${paint('cyan', sandbox.url)}

${heading('Keys')}
${table.map(([key, purpose]) => `  ${paint('cyan', key.padEnd(33))}${purpose}`).join('\n')}

${signIn === undefined ? '' : `${heading('Sign-in')}\n${signIn.map((line) => `  ${line}\n`).join('')}\n`}${heading("Paste this into your client's config")}
${JSON.stringify({ mcpServers: { sandbox: { command, args, ...env } } }, null, 2)}

${heading('Or call it with curl')}
curl ${sandbox.url} \\
  -H 'Authorization: Bearer ${sandbox.keys.good}' \\
  -H 'Content-Type: application/json' \\
  -H 'Accept: application/json, text/event-stream' \\
  -d '${JSON.stringify(message)}'

${heading('Requests')}
`;
}

/** What there is to know about the authorization server, a line each. */
function signInPart(
  issuer: string,
  { user, service }: typeof registeredClients,
  fault: OAuthFault | undefined,
): string[] {
  return [
    `Authorization server: ${issuer}`,
    'Clients register by themselves, or use one of these:',
    `  --client-id ${user.id}, without a secret`,
    `  --client-id ${service.id}, with the secret`,
    `    ${service.secret}`,
    ...(fault === undefined ? [] : [`Fault ${fault}: ${oauthFaults[fault]}`]),
  ];
}

/** Without the query: it may contain the state or the code of a sign-in. */
function requestLine({ method, url, body, status, errorCode, ms }: SandboxRequest, paint: Paint) {
  const what = cleanNetworkText(describeBody(body) ?? url.split('?', 1).join(), 44);
  const outcome =
    status === undefined
      ? 'cut off'
      : errorCode === undefined
        ? String(status)
        : `${status} error ${errorCode}`;
  const good = status !== undefined && status < 400 && errorCode === undefined;
  return [
    method.padEnd(6),
    what.padEnd(44),
    paint(good ? 'green' : 'yellow', outcome.padEnd(16)),
    paint('dim', `${Math.round(ms ?? 0)} ms`.padStart(9)),
  ].join(' ');
}

/** The method, and what it is about: `tools/call linear_get_issue`. */
function describeBody(body: unknown): string | undefined {
  if (Array.isArray(body)) return `batch of ${body.length}`;
  if (typeof body !== 'object' || body === null) return undefined;
  const { method, params } = body as { method?: unknown; params?: { name?: unknown } | null };
  if (typeof method !== 'string') return 'result' in body || 'error' in body ? 'reply' : undefined;
  return typeof params?.name === 'string' ? `${method} ${params.name}` : method;
}

function wrongArgument(port: number, latency: number, fail: string | undefined, hasOAuth: boolean) {
  const last = hasOAuth ? 65_534 : 65_535;
  if (!Number.isInteger(port) || port < 0 || port > last) {
    return `--port must be a whole number from 0 to ${last}`;
  }
  if (!(latency >= 0 && latency <= 600_000)) {
    return '--latency must be a number of milliseconds from 0 to 600000';
  }
  if (fail !== undefined && !parseFail(fail)) {
    return '--fail must be STATUS:COUNT with a status from 400 to 599, such as 503:2';
  }
  return undefined;
}

function isFault(name: string | undefined): name is OAuthFault {
  return name !== undefined && Object.hasOwn(oauthFaults, name);
}

function parseFail(text: string): { status: number; count: number } | undefined {
  const match = /^([45]\d\d):(\d{1,9})$/.exec(text);
  return match ? { status: Number(match[1]), count: Number(match[2]) } : undefined;
}

function startFailure(error: unknown, wished: number): string {
  // The authorization server has another than the one that was asked for.
  const { code, message, port = wished } = error as NodeJS.ErrnoException & { port?: number };
  if (code === 'EADDRINUSE') {
    return `Port ${port} is already in use. Choose another with --port (0 = any free port).`;
  }
  if (code === 'EACCES') {
    return `No permission to use port ${port}. Choose a port above 1023 with --port.`;
  }
  return `The sandbox could not start on port ${port}: ${message}`;
}
