import { resolve } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { EmptyResultSchema, McpError } from '@modelcontextprotocol/sdk/types.js';
import type { Sandbox, SandboxOptions } from '../sandbox/sandbox.ts';
import { markText, type Printer } from '../terminal/printer.ts';
import { wrapText } from '../terminal/wrap-text.ts';
import { makeSignInPlace } from './sign-in.ts';

/** What the error contract promises for one failure. */
interface Promised {
  code: number;
  /** `data.reason`; left out for envelopes of the gateway that have none. */
  reason?: string;
  /** What the message must name. */
  names?: string;
}

// The demo runs from dist/, beside bin/.
const launcher = resolve(__dirname, '../bin/mcp-latchkey.js');
const clientInfo = { name: 'mcp-latchkey demo', version: '1.0.0' };
const bodyLimit = 1_048_576;
/** Longest wait for one reply, in milliseconds: the demo ends even if the proxy says nothing. */
const patience = { timeout: 5_000 };
/** The same, where the user signs in meanwhile. */
const signInPatience = { timeout: 30_000 };

/**
 * Starts a sandbox and the built proxy, drives it with the official SDK's client over stdio, and
 * writes what a client would show, for a healthy session and for every documented failure.
 * Returns true when each came out as documented. Leaves no process behind.
 */
export async function runDemo(out: Printer): Promise<boolean> {
  const { write, paint, columns } = out;
  const started = performance.now();
  let passed = 0;
  let failed = 0;

  /** `tag` is at the end of the title's line: what the outcome is known by, or its time. */
  function report(title: string, tag: string, text: string, expected?: string, isError = false) {
    if (expected === undefined) passed++;
    else failed++;
    const gap = ' '.repeat(Math.max(1, columns - 2 - title.length - tag.length));
    const mark = expected === undefined && !isError ? 'ok' : 'fail';
    out.line(`${markText(mark, paint)} ${paint('bold', title)}${gap}${paint('dim', tag)}`);
    if (isError) out.remedy(text);
    else out.text(text, 2);
    if (expected !== undefined) {
      write(paint('red', `${wrapText(`Expected ${expected}`, columns, 2)}\n`));
    }
  }

  function section(title: string) {
    out.line(`\n${paint('cyan', title)}\n`);
  }

  /** Runs something that must fail, and compares the error with what was promised. */
  async function fails(title: string, promised: Promised, attempt: () => Promise<unknown>) {
    const { code, reason, names } = promised;
    const expected = [
      `code ${code}`,
      reason === undefined ? 'no reason' : `reason ${reason}`,
      ...(names === undefined ? [] : [`a message that names ${names}`]),
    ].join(', ');
    try {
      report(title, 'no error', JSON.stringify(await attempt()), expected);
    } catch (error) {
      const got = whatAClientGets(error);
      const kept = got.code === code && got.reason === reason && got.message.includes(names ?? '');
      const tag = `${kept ? 'as expected: ' : ''}${`${got.reason ?? ''} ${got.code ?? ''}`.trim()}`;
      report(title, tag, got.message, kept ? undefined : expected, true);
    }
  }

  async function succeeds(title: string, attempt: () => Promise<string>) {
    const asked = performance.now();
    const { text, expected } = await attempt().then(
      (text) => ({ text, expected: undefined }),
      (error: unknown) => ({ text: whatAClientGets(error).message, expected: 'this to work' }),
    );
    report(title, `${Math.round(performance.now() - asked)} ms`, text, expected);
  }

  const sandbox = await startSandbox({ bodyLimit });
  const signInSandbox = await startSandbox({ oauth: {} });
  const signInPlace = makeSignInPlace();
  const clients: Client[] = [];
  try {
    /** A client, not connected yet, and what connects it: a proxy of its own, over stdio. */
    function clientFor(
      url: string,
      key: string | undefined,
      options: readonly string[] = [],
      env: Record<string, string> = {},
    ) {
      const client = new Client(clientInfo);
      clients.push(client);
      const connect = () =>
        client.connect(
          new StdioClientTransport({
            command: process.execPath,
            // Each failure is to be seen at once, and nothing is to be left behind.
            args: [launcher, url, '--start-patience', '0', '--no-cache', ...options],
            env: {
              NODE_DISABLE_COMPILE_CACHE: '1',
              ...(key === undefined ? env : { MCP_LATCHKEY_API_KEY: key }),
            },
            stderr: 'ignore',
          }),
          options.length === 0 ? patience : signInPatience,
        );
      return { client, connect };
    }
    const initializeFails = (title: string, promised: Promised, url: string, key?: string) =>
      fails(title, promised, async () => {
        const { client, connect } = clientFor(url, key);
        await connect();
        return client.getServerVersion();
      });

    const { url, keys } = sandbox;
    out.title('mcp-latchkey demo');
    const about =
      'Runs a local gateway, the proxy, and the official MCP SDK client. Uses no network and no stored keys.';
    out.text(about);

    section('A healthy session');
    const { client, connect } = clientFor(url, keys.good);
    await succeeds('initialize', async () => {
      await connect();
      const server = client.getServerVersion();
      return `Connected to ${server?.name} ${server?.version} through the proxy.`;
    });
    await succeeds('tools/list', async () => {
      const { tools } = await client.listTools(undefined, patience);
      return `${tools.length} tools: ${tools.map(({ name }) => name).join(', ')}`;
    });
    await succeeds('tools/call linear_get_issue', () =>
      callTool(client, 'linear_get_issue', { id: 'ENG-42' }),
    );
    await succeeds('tools/call github_create_issue', async () => {
      const params = { name: 'github_create_issue', arguments: { repository: 'a/b', title: 'x' } };
      const result = await client.callTool(params, undefined, patience);
      if (result.isError !== true) throw new Error('the result lost its isError');
      return `The tool's own failure passes through untouched: "${textOf(result.content)}"`;
    });

    section('Errors from the gateway');
    await fails('A colon in a tool name', { code: -32602, names: 'linear_get_issue' }, () =>
      callTool(client, 'linear:get_issue', { id: 'ENG-42' }),
    );
    await fails(
      'Expired integration credentials',
      {
        code: -32000,
        reason: 'credentials_unavailable',
        names: `${sandbox.frontend}/settings/integrations`,
      },
      () => callTool(client, 'notion_search_pages', { query: 'roadmap' }),
    );
    await fails('An unsupported method', { code: -32601, names: 'resources/list' }, () =>
      client.request({ method: 'resources/list' }, EmptyResultSchema, patience),
    );
    await succeeds('An account without integrations', async () => {
      const empty = clientFor(url, keys.emptyAccount);
      await empty.connect();
      const { tools } = await empty.client.listTools(undefined, patience);
      if (tools.length > 0) throw new Error(`${tools.length} tools were listed`);
      return 'An empty tools/list is a valid reply, not an error.';
    });

    section('Filters');
    const limited = clientFor(url, keys.good, ['--read-only']);
    await succeeds('A list with --read-only', async () => {
      await limited.connect();
      const { tools } = await limited.client.listTools(undefined, patience);
      const other = tools.find(({ annotations }) => annotations?.readOnlyHint !== true);
      if (other !== undefined) throw new Error(`${other.name} was listed`);
      return `${tools.length} tools are left: ${tools.map(({ name }) => name).join(', ')}`;
    });
    const calls = sandbox.requests.length;
    await fails(
      'A call that the filter blocks',
      { code: -32002, reason: 'tool_not_allowed', names: '--read-only' },
      () => callTool(limited.client, 'linear_add_comment', { id: 'ENG-42', text: 'x' }),
    );
    if (sandbox.requests.length > calls) {
      report('Nothing was sent', '', 'The gateway received a request', 'none');
    }

    section('Access problems');
    await initializeFails(
      'No API key',
      { code: -32010, reason: 'no_api_key', names: 'requires one' },
      url,
    );
    const before = sandbox.requests.length;
    await initializeFails(
      'A key with a space in it',
      { code: -32011, reason: 'malformed_api_key', names: 'it was not sent' },
      url,
      'sandbox good key',
    );
    if (sandbox.requests.length > before) {
      report('Nothing was sent', '', 'The gateway received a request', 'none');
    }
    await initializeFails(
      'A revoked key',
      { code: -32012, reason: 'unauthorized', names: 'ends in 0002' },
      url,
      keys.revoked,
    );
    await initializeFails(
      'A key without permission',
      { code: -32013, reason: 'forbidden', names: 'Personal API Key Access' },
      url,
      keys.noEntitlement,
    );
    await initializeFails(
      'A wrong path in the URL',
      { code: -32014, reason: 'wrong_path', names: url },
      `${sandbox.origin}/mcp`,
      keys.good,
    );
    const nowhere = await urlNobodyListensOn();
    await initializeFails(
      'Gateway not running',
      { code: -32019, reason: 'unreachable', names: new URL(nowhere).host },
      nowhere,
      keys.good,
    );

    section('Failed requests in a working session');
    await fails(
      'A request over the limit (here 1 MB)',
      { code: -32016, reason: 'request_too_large', names: '1 MB' },
      () => callTool(client, 'platform_echo', { text: 'x'.repeat(bodyLimit) }),
    );
    sandbox.failNext(100, 503);
    await fails(
      'A gateway that is failing',
      { code: -32018, reason: 'gateway_error', names: 'HTTP 503' },
      () => callTool(client, 'linear_add_comment', { id: 'ENG-42', text: 'Seen it, too.' }),
    );
    sandbox.failNext(0);
    await succeeds('The next call', () =>
      callTool(client, 'linear_list_issues', { state: 'todo', assignee: 'grace' }),
    );

    if (signInPlace !== undefined && signInSandbox.oauth !== undefined) {
      const { oauth } = signInSandbox;
      section('Where you sign in instead (OAuth)');
      const signedIn = (...options: string[]) =>
        clientFor(signInSandbox.url, undefined, ['--auth', 'oauth', ...options], signInPlace.env);
      await fails(
        'No browser may be opened',
        { code: -32003, reason: 'sign_in_required', names: ` login ${signInSandbox.url}` },
        signedIn('--sign-in', 'error').connect,
      );
      const { client: user, connect: signIn } = signedIn();
      await succeeds('A sign-in in the browser', async () => {
        await signIn();
        const { holder } = JSON.parse(await callTool(user, 'platform_whoami', {}));
        return `Signed in as ${holder}. The tokens were stored, encrypted.`;
      });
      await succeeds('An access token that expires', async () => {
        oauth.expireAccess();
        await callTool(user, 'platform_whoami', {});
        return 'The proxy renewed it. You did not have to sign in again.';
      });
      await succeeds('A tool that requires another scope', async () => {
        await callTool(user, 'linear_add_comment', { id: 'ENG-42', text: 'x' }, signInPatience);
        return 'The browser asked once more, for mcp:write.';
      });
    }
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    await Promise.all([sandbox.close(), signInSandbox.close()]);
    signInPlace?.remove();
  }

  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const verdict =
    failed === 0
      ? paint('green', `All ${passed} checks passed.`)
      : paint('red', `${failed} of ${passed + failed} checks failed.`);
  out.line(`\n${verdict} ${paint('dim', `${seconds} s`)}`);
  return failed === 0;
}

/** Calls a tool and returns the text of its result. Rejects with what the client would be given. */
async function callTool(
  client: Client,
  name: string,
  args: Record<string, unknown>,
  limit = patience,
) {
  const result = await client.callTool({ name, arguments: args }, undefined, limit);
  return textOf(result.content);
}

function textOf(content: unknown): string {
  const [first] = content as { text?: string }[];
  return first?.text ?? '';
}

function whatAClientGets(error: unknown): { message: string; code?: number; reason?: string } {
  if (!(error instanceof McpError)) return { message: String(error) };
  const { code, data } = error;
  const { reason } = (data ?? {}) as { reason?: string };
  const message = error.message.replace(`MCP error ${code}: `, '');
  return reason === undefined ? { message, code } : { message, code, reason };
}

/** It is a bundle of its own. */
async function startSandbox(options?: SandboxOptions): Promise<Sandbox> {
  const sandbox = await import('../sandbox/sandbox.ts');
  return sandbox.startSandbox(options);
}

/** A loopback URL whose port was free a moment ago. */
async function urlNobodyListensOn(): Promise<string> {
  const gone = await startSandbox();
  await gone.close();
  return gone.url;
}
