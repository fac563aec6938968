import { pathToFileURL } from 'node:url';
import type {
  CallToolResult,
  ClientCapabilities,
  CompleteResult,
  CreateMessageResult,
  ElicitRequest,
  ElicitResult,
  GetPromptResult,
  JSONRPCMessage,
  ListPromptsResult,
  ListResourcesResult,
  ListResourceTemplatesResult,
  ListToolsResult,
  Progress,
  ReadResourceResult,
  Root,
} from '@modelcontextprotocol/sdk/types.js';
import { expect, type TestContext } from 'vitest';
import { pathOf } from './installed-peers.ts';
import { proxyUnderTest } from './proxy-under-test.ts';

type Json = Record<string, unknown>;

interface SubscriptionFilter {
  toolsListChanged?: boolean;
  promptsListChanged?: boolean;
  resourcesListChanged?: boolean;
  resourceSubscriptions?: string[];
}

/**
 * What the tests use of the client in `@modelcontextprotocol/client` 2, which is installed apart from
 * what the types are checked with. Where its shapes are those of 2025-11-25, they have its types.
 */
export interface ModernClient {
  connect(transport: unknown): Promise<void>;
  close(): Promise<void>;
  getDiscoverResult(): Json | undefined;
  getInstructions(): string | undefined;
  getNegotiatedProtocolVersion(): string | undefined;
  getServerCapabilities(): Json | undefined;
  getServerVersion(): { name: string } | undefined;
  callTool(
    params: { name: string; arguments?: Json; _meta?: Json },
    options?: { signal?: AbortSignal; onprogress?: (progress: Progress) => void },
  ): Promise<CallToolResult>;
  complete(params: Json): Promise<CompleteResult>;
  getPrompt(params: { name: string; arguments?: Record<string, string> }): Promise<GetPromptResult>;
  listPrompts(): Promise<ListPromptsResult>;
  listResources(): Promise<ListResourcesResult>;
  listResourceTemplates(): Promise<ListResourceTemplatesResult>;
  listTools(): Promise<ListToolsResult>;
  readResource(params: { uri: string }): Promise<ReadResourceResult>;
  /** Resolves once the subscription is acknowledged. */
  listen(filter: SubscriptionFilter): Promise<{
    honoredFilter: SubscriptionFilter;
    close(): Promise<void>;
    /** Resolves with how it ended. */
    closed: Promise<'local' | 'graceful' | 'remote'>;
  }>;
  setRequestHandler(
    method: 'elicitation/create',
    handler: (request: ElicitRequest) => ElicitResult,
  ): void;
  setRequestHandler(
    method: 'sampling/createMessage',
    handler: (request: { params: { maxTokens: number; messages: unknown } }) => CreateMessageResult,
  ): void;
  setRequestHandler(method: 'roots/list', handler: () => { roots: Root[] }): void;
  fallbackNotificationHandler?: (notification: { method: string; params?: Json }) => Promise<void>;
}

export interface ModernSession {
  client: ModernClient;
  /**
   * Closes the session as a desktop client does, by closing the proxy's stdin, and returns
   * everything the proxy wrote. Fails the test when that is not what a server of 2026-07-28 may
   * write over stdio, or when the proxy did not then end by itself with exit code 0.
   */
  close(): Promise<JSONRPCMessage[]>;
}

export interface ModernSessionSettings {
  capabilities?: ClientCapabilities;
  /** Environment of the proxy beyond the few variables that the SDK passes on by itself. */
  env?: Record<string, string>;
  /** Called before the session starts, to add the client's request handlers. */
  prepare?: (client: ModernClient) => void;
  /**
   * `probing`: as the SDK does it when left alone, in a process of its own that is started only to
   * find out the era. `pinned`: at 2026-07-28 or not at all, in the process that serves the session.
   */
  negotiation?: 'pinned' | 'probing';
}

/**
 * Connects the SDK's client of 2026-07-28 to a gateway through the proxy, over stdio. The session is
 * closed when the test is over, if the test has not done so.
 */
export async function connectModernClient(
  test: TestContext,
  url: string,
  { capabilities = {}, env = {}, prepare, negotiation = 'pinned' }: ModernSessionSettings = {},
): Promise<ModernSession> {
  const entry = pathToFileURL(pathOf('modernClient')).href;
  const { Client } = await import(entry);
  const { StdioClientTransport } = await import(new URL('stdio.mjs', entry).href);
  // Of a subclass of its transport, the SDK asks the era in the process that serves the session.
  class SingleProcessTransport extends StdioClientTransport {}

  const proxy = proxyUnderTest(test, url);
  const { command, args } = proxy;
  const probing = negotiation === 'probing';
  const Transport = probing ? StdioClientTransport : SingleProcessTransport;
  const transport = new Transport({ command, args, env, stderr: 'pipe' });
  let log = '';
  transport.stderr?.on('data', (chunk: Buffer) => {
    log += chunk;
  });
  test.onTestFailed(() => console.error(`The proxy's stderr:\n${log}`));

  const mode = probing ? 'auto' : { pin: '2026-07-28' };
  const client: ModernClient = new Client(
    { name: 'interop', version: '2.0.0' },
    { capabilities, versionNegotiation: { mode } },
  );
  let written: Promise<JSONRPCMessage[]> | undefined;
  const close = () => {
    written ??= (async () => {
      const started = performance.now();
      await client.close();
      expect(await proxy.exit()).toEqual({ code: 0, signal: null });
      // The SDK sends SIGTERM after 2 s; a proxy that needed it has not ended by itself.
      expect(performance.now() - started).toBeLessThan(1900);
      const messages = proxy.messages();
      for (const message of messages) expectModern(message);
      return messages;
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

/** What every message of a server is at 2026-07-28 over stdio, and could not be before. */
function expectModern(message: JSONRPCMessage): void {
  if ('result' in message) {
    expect(message.result).toHaveProperty('resultType');
  } else if ('method' in message) {
    // No requests (basic/transports/stdio, "Receiving Messages").
    expect(message).not.toHaveProperty('id');
    // What changed is told on a subscription, and names it (basic/patterns/subscriptions).
    if (/list_changed|updated|acknowledged/.test(message.method)) {
      expect(message.params?._meta).toHaveProperty(['io.modelcontextprotocol/subscriptionId']);
    }
  }
}
