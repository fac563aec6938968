import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type JSONRPCMessage, JSONRPCMessageSchema } from '@modelcontextprotocol/sdk/types.js';
import { type TestContext, vi } from 'vitest';

/** The program that the interoperability tests are about, as built by `node build.mjs`. */
const program = fileURLToPath(new URL('../../bin/mcp-latchkey.js', import.meta.url));
const recorder = fileURLToPath(new URL('record-stdout.mjs', import.meta.url));

/** What a client's config says to start the proxy, and afterwards what it wrote and how it ended. */
export interface ProxyUnderTest {
  command: string;
  args: string[];
  /** Every message on the proxy's stdout. Throws when stdout holds anything else. */
  messages(): JSONRPCMessage[];
  /** How the proxy ended, once it has. Rejects when it is still running after 5 s. */
  exit(): Promise<{ code: number | null; signal: string | null }>;
}

/**
 * The proxy for one gateway, with a recorder between its stdout and the client. Without a URL, it is
 * the command line up to there. What was recorded is deleted when the test is over.
 */
export function proxyUnderTest(test: TestContext, ...url: [string] | []): ProxyUnderTest {
  const directory = mkdtempSync(join(tmpdir(), 'mcp-latchkey-interop-'));
  test.onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const stdout = join(directory, 'stdout');
  return {
    command: process.execPath,
    args: [recorder, stdout, program, ...url],
    messages: () => messagesIn(readFileSync(stdout)),
    exit: () =>
      vi.waitFor(() => JSON.parse(readFileSync(`${stdout}.exit`, 'utf8')), { timeout: 5000 }),
  };
}

/**
 * The messages of a finished stdout: UTF-8, one JSON-RPC message a line and nothing else (MCP
 * 2025-11-25, basic/transports, "stdio"). Throws at the first line that is not one.
 */
function messagesIn(stdout: Buffer): JSONRPCMessage[] {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(stdout);
  const lines = text.split('\n');
  if (lines.pop() !== '') throw new Error(`stdout ends within a line: ${JSON.stringify(text)}`);
  return lines.map((line) => {
    try {
      return JSONRPCMessageSchema.parse(JSON.parse(line));
    } catch (cause) {
      throw new Error(`not an MCP message on stdout: ${JSON.stringify(line)}`, { cause });
    }
  });
}
