import type { CommandModule } from 'yargs';
import { cleanNetworkText } from '../../failures/network-text.ts';
import type { Sandbox, SandboxOptions, SandboxRequest } from '../../sandbox/sandbox.ts';
import { type Paint, paintFor } from '../../terminal/colour.ts';
import { usageError } from '../../terminal/own-command.ts';

interface Arguments {
  port: number;
  sessions: boolean;
  sse: boolean;
  latency: number;
  fail: string | undefined;
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
        describe: 'Delay each reply by this many milliseconds',
      })
      .option('fail', {
        type: 'string',
        describe: 'Fail the first requests: STATUS:COUNT, for example 503:2',
      }),
  async handler({ port, sessions, sse, latency, fail }) {
    const problem = wrongArgument(port, latency, fail);
    if (problem) {
      process.stderr.write(`${usageError(problem, 'sandbox --help')}\n`);
      process.exitCode = 2;
      return;
    }
    const { startSandbox, accounts } = await import('../../sandbox/sandbox.ts');
    const paint = paintFor(process.stdout);
    const options: SandboxOptions = {
      port,
      sessions,
      sse,
      latencyMs: latency,
      onServed(request) {
        process.stdout.write(`${requestLine(request, paint)}\n`);
        sandbox.requests.length = 0;
      },
    };
    const burst = parseFail(fail ?? '');
    if (burst) options.fail = burst;
    let sandbox: Sandbox;
    try {
      sandbox = await startSandbox(options);
    } catch (error) {
      process.stderr.write(`${startFailure(error, port)}\n`);
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
    process.stdout.write(introduction(sandbox, keys, { jsonrpc: '2.0', id: 1, ...first }, paint));
    await stopped;
    await sandbox.close();
  },
};

function introduction(
  sandbox: Sandbox,
  keys: (readonly [key: string, purpose: string])[],
  message: object,
  paint: Paint,
): string {
  const heading = (text: string) => paint('bold', text);
  const table = [...keys, ['any other key, or none', '401: missing or unknown'] as const];
  return `${heading('mcp-latchkey sandbox')}: a practice gateway. Only this computer can reach it, and
its keys work nowhere else. Press Ctrl+C to stop.

${heading('Endpoint')}
  ${paint('cyan', sandbox.url)}

${heading('Keys')}
${table.map(([key, purpose]) => `  ${paint('cyan', key.padEnd(33))}${purpose}`).join('\n')}

${heading("Paste this into your client's config")}
{
  "mcpServers": {
    "sandbox": {
      "command": "npx",
      "args": ["-y", "mcp-latchkey@${__VERSION__}", "${sandbox.url}"],
      "env": { "MCP_LATCHKEY_API_KEY": "${sandbox.keys.good}" }
    }
  }
}

${heading('Or call it with curl')}
curl ${sandbox.url} \\
  -H 'Authorization: Bearer ${sandbox.keys.good}' \\
  -H 'Content-Type: application/json' \\
  -H 'Accept: application/json, text/event-stream' \\
  -d '${JSON.stringify(message)}'

${heading('Requests')}
`;
}

function requestLine({ method, url, body, status, errorCode, ms }: SandboxRequest, paint: Paint) {
  const what = cleanNetworkText(describeBody(body) ?? url, 44);
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

function wrongArgument(port: number, latency: number, fail: string | undefined) {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    return '--port must be a whole number from 0 to 65535';
  }
  if (!(latency >= 0 && latency <= 600_000)) {
    return '--latency must be a number of milliseconds from 0 to 600000';
  }
  if (fail !== undefined && !parseFail(fail)) {
    return '--fail must be STATUS:COUNT with a status from 400 to 599, such as 503:2';
  }
  return undefined;
}

function parseFail(text: string): { status: number; count: number } | undefined {
  const match = /^([45]\d\d):(\d{1,9})$/.exec(text);
  return match ? { status: Number(match[1]), count: Number(match[2]) } : undefined;
}

function startFailure(error: unknown, port: number): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EADDRINUSE') {
    return `Port ${port} is already in use. Choose another with --port (0 takes any).`;
  }
  if (code === 'EACCES') {
    return `No permission to use port ${port}. Choose a port above 1023 with --port.`;
  }
  return `The sandbox could not start on port ${port}: ${message}`;
}
