import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { homedir } from 'node:os';
import { createInterface } from 'node:readline';
import { cleanNetworkText } from '../failures/network-text.ts';
import type { Launch } from './clients.ts';

/** What came of starting an entry. All texts are one clean line. */
export type EntryTrial =
  | {
      readonly outcome: 'connected';
      /** What the gateway calls itself. */
      readonly server: string;
      /** Tools on the first page of the list. */
      readonly tools: number;
      readonly hasMoreTools: boolean;
    }
  | {
      /** The proxy answered with an error. */
      readonly outcome: 'refused';
      /** `data.reason` of the error contract. */
      readonly reason?: string;
      readonly message: string;
      /** Whether a key that `login` stores would help: the entry reaches the keychain. */
      readonly canLogin: boolean;
    }
  /** npx could not get the package, so that nothing is known about the entry. */
  | { readonly outcome: 'not-fetched'; readonly message: string }
  /** It could not be started, or did not answer. */
  | { readonly outcome: 'failed'; readonly message: string };

/** What the SDK's clients pass on to a server, and hence all that an entry can count on. */
const INHERITED =
  process.platform === 'win32'
    ? [
        ...['APPDATA', 'HOMEDRIVE', 'HOMEPATH', 'LOCALAPPDATA', 'PATH', 'PROCESSOR_ARCHITECTURE'],
        ...['SYSTEMDRIVE', 'SYSTEMROOT', 'TEMP', 'USERNAME', 'USERPROFILE', 'PROGRAMFILES'],
      ]
    : ['HOME', 'LOGNAME', 'PATH', 'SHELL', 'TERM', 'USER'];

/**
 * To learn at once how it is now. npm would try an absent registry for a minute and more, and the proxy
 * the gateway; or the proxy would answer from its cache, or wait for a sign-in. It does not change what is started.
 */
const AT_ONCE = {
  npm_config_fetch_retries: '0',
  MCP_LATCHKEY_START_PATIENCE: '0',
  MCP_LATCHKEY_NO_CACHE: 'true',
  MCP_LATCHKEY_SIGN_IN: 'error',
};

/** The SDK's limit for a request, in milliseconds. npx fetches the package in that time. */
const PATIENCE_MS = 60_000;
/** How long a server may take to end once its stdin is closed, in milliseconds, as in the SDK. */
const FAREWELL_MS = 2_000;
/** How long its pipes are read once it has exited, in milliseconds. */
const GRACE_MS = 1_000;

/** npm's codes for a registry that does not answer, or does not have the package. */
const FETCH_FAILURES =
  /npm (?:error|ERR!) code (E404|ETARGET|E40[13]|E5\d\d|ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONN\w+|ETIMEDOUT|E(?:NET|HOST)UNREACH|ERR_SOCKET_TIMEOUT|FETCH_ERROR)/;

interface Reply {
  readonly id?: unknown;
  readonly result?: {
    readonly serverInfo?: { readonly name?: unknown };
    readonly tools?: readonly unknown[];
    readonly nextCursor?: unknown;
  };
  readonly error?: {
    readonly message?: unknown;
    readonly data?: { readonly reason?: unknown; readonly hint?: unknown };
  };
}

/**
 * Starts an entry as a client with this PATH does, does MCP's handshake (2025-11-25, Lifecycle), asks for the
 * tools, and ends it. Takes 60 s at most, plus 2 s for a server that does not want to end. Never
 * rejects.
 */
export async function tryEntry(
  { command, args, env }: Launch,
  path = process.env.PATH,
): Promise<EntryTrial> {
  const inherited = INHERITED.flatMap((name) => {
    const value = name === 'PATH' ? path : process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  let child: ChildProcessWithoutNullStreams;
  try {
    child = spawn(command, args, {
      cwd: homedir(),
      env: { ...Object.fromEntries(inherited), ...AT_ONCE, ...env },
      windowsHide: true,
    });
  } catch (error) {
    // For a batch file (EINVAL), what is not a program (EFTYPE), and some paths (ENOTDIR).
    return notStarted(command, (error as Error).message);
  }
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-20_000);
  });
  child.stdin.on('error', () => {});

  const replies = new Map<unknown, (reply: Reply) => void>();
  createInterface({ input: child.stdout }).on('line', (line) => {
    const reply = parseReply(line);
    replies.get(reply?.id)?.(reply as Reply);
  });
  const send = (message: object) =>
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  const request = (id: number, method: string, params: object) =>
    new Promise<Reply>((resolve) => {
      replies.set(id, resolve);
      send({ id, method, params });
    });

  const ended = new Promise<EntryTrial>((resolve) => {
    child.on('error', ({ message }) => resolve(notStarted(command, message)));
    const end = (code: number | null, signal: string | null) =>
      resolve(endedEarly(command, code ?? signal, stderr));
    child.on('close', end);
    // What it leaves running may keep the pipes open.
    child.on('exit', (...how) => setTimeout(end, GRACE_MS, ...how).unref());
  });
  const session = async (): Promise<EntryTrial> => {
    const hello = await request(1, 'initialize', {
      protocolVersion: '2025-11-25',
      capabilities: {},
      clientInfo: { name: 'mcp-latchkey install', version: '1.0.0' },
    });
    if (hello.error) return refusal(hello.error);
    send({ method: 'notifications/initialized' });
    const list = await request(2, 'tools/list', {});
    if (list.error) return refusal(list.error);
    return {
      outcome: 'connected',
      server: cleanNetworkText(String(hello.result?.serverInfo?.name ?? ''), 60),
      tools: list.result?.tools?.length ?? 0,
      hasMoreTools: list.result?.nextCursor !== undefined,
    };
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<EntryTrial>((resolve) => {
    const message = `no response within ${PATIENCE_MS / 1000} seconds`;
    timer = setTimeout(() => resolve({ outcome: 'failed', message }), PATIENCE_MS);
  });
  const result = await Promise.race([session(), ended, late]);
  clearTimeout(timer);
  child.stdin.end();
  timer = setTimeout(() => killTree(child), FAREWELL_MS);
  await ended;
  clearTimeout(timer);
  for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy();
  return result;
}

/** On Windows the program is a child of `cmd`, and goes on without it. */
function killTree(child: ChildProcessWithoutNullStreams): void {
  if (process.platform === 'win32' && child.pid !== undefined) {
    const taskkill = `${process.env.SystemRoot ?? 'C:\\Windows'}\\System32\\taskkill.exe`;
    const options = { stdio: 'ignore', windowsHide: true, timeout: FAREWELL_MS } as const;
    spawnSync(taskkill, ['/pid', String(child.pid), '/t', '/f'], options);
  }
  child.kill('SIGKILL');
}

function parseReply(line: string): Reply | undefined {
  try {
    const message: unknown = JSON.parse(line);
    const isReply = typeof message === 'object' && message !== null && !('method' in message);
    return isReply ? message : undefined;
  } catch {
    return undefined;
  }
}

function refusal({ message, data }: NonNullable<Reply['error']>): EntryTrial {
  const reason = typeof data?.reason === 'string' ? { reason: data.reason } : {};
  // The remedy is another one where the process reaches no keychain.
  const canLogin = /mcp-latchkey(?:\.js)?['"]? login /.test(String(data?.hint));
  const said = cleanNetworkText(String(message), 2_000);
  return { outcome: 'refused', ...reason, message: said, canLogin };
}

const NO_NODE = 'Is Node.js on the PATH? Without --npx, the entry needs no PATH';

function notStarted(command: string, message: string): EntryTrial {
  const advice = command === 'npx' ? `. ${NO_NODE}` : '';
  return { outcome: 'failed', message: `could not start it: ${message}${advice}` };
}

/** How cmd.exe exits when it does not find a program; often it is 1. */
const NOT_FOUND = 9009;

/** The name in quotes, as cmd.exe complains in every language of a program that is not found. */
const NPX_NOT_FOUND = /["'\u2018-\u201e\u00ab]\s?npx\s?["'\u2018-\u201e\u00bb]/;

function endedEarly(command: string, how: number | string | null, stderr: string): EntryTrial {
  const [, code] = FETCH_FAILURES.exec(stderr) ?? [];
  if (code !== undefined) {
    const why = /^E(?:404|TARGET)$/.test(code)
      ? 'the npm registry does not have this version of mcp-latchkey'
      : 'npx could not fetch mcp-latchkey from the npm registry';
    return { outcome: 'not-fetched', message: `${why} (${code})` };
  }
  const last = cleanNetworkText(stderr.trim().split('\n').slice(-3).join(' '), 500);
  const message = `it exited immediately (${how})${last ? `: ${last}` : ''}`;
  const isNpxMissing = command === 'cmd' && (how === NOT_FOUND || NPX_NOT_FOUND.test(stderr));
  return { outcome: 'failed', message: isNpxMissing ? `${message} ${NO_NODE}` : message };
}
