import { Client, type ClientOptions } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import { expect, type TestContext } from 'vitest';
import { proxyUnderTest } from './proxy-under-test.ts';

export interface SdkSession {
  client: Client;
  /**
   * Closes the session as a desktop client does, by closing the proxy's stdin, and returns
   * everything the proxy wrote. Fails the test when stdout held anything but MCP messages, or when
   * the proxy did not then end by itself with exit code 0.
   */
  close(): Promise<JSONRPCMessage[]>;
}

export interface SdkSessionSettings extends ClientOptions {
  /** Environment of the proxy beyond the few variables that the SDK passes on by itself. */
  env?: Record<string, string>;
  /** Called before the session starts, to add the client's request handlers. */
  prepare?: (client: Client) => void;
}

/**
 * Connects the SDK's client to a gateway through the proxy, over stdio. The session is closed when
 * the test is over, if the test has not done so.
 */
export async function connectSdkClient(
  test: TestContext,
  url: string,
  { env = {}, prepare, ...options }: SdkSessionSettings = {},
): Promise<SdkSession> {
  const proxy = proxyUnderTest(test, url);
  const { command, args } = proxy;
  const transport = new StdioClientTransport({ command, args, env, stderr: 'pipe' });
  let log = '';
  transport.stderr?.on('data', (chunk: Buffer) => {
    log += chunk;
  });
  test.onTestFailed(() => console.error(`The proxy's stderr:\n${log}`));

  const client = new Client({ name: 'interop', version: '1.0.0' }, options);
  let written: Promise<JSONRPCMessage[]> | undefined;
  const close = () => {
    written ??= (async () => {
      const started = performance.now();
      await client.close();
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      // The SDK sends SIGTERM after 2 s; a proxy that needed it has not ended by itself.
      expect(performance.now() - started).toBeLessThan(1900);
      return proxy.messages();
    })();
    return written;
  };
  test.onTestFinished(async () => {
    await close();
  });
  prepare?.(client);
  await client.connect(transport);
  return { client, close };
}
