import { onTestFinished } from 'vitest';
import { answer, type Respond, sendJson } from './loopback-gateway.ts';
import { MODERN } from './modern-gateway.ts';
import {
  ROGUE_CODE,
  ROGUE_REFRESH,
  ROGUE_SECRET,
  ROGUE_TOKEN,
  type Roguery,
  type RogueServer,
  redirectBack,
  startRogueServer,
} from './rogue-server.ts';
import type { Json } from './running-proxy.ts';
import { type SecretWatch, watchSecrets } from './secret-watch.ts';
import { startBrowser, type TestBrowser } from './test-browser.ts';
import { UserAgent } from './user-agent.ts';

/** A gateway whose tools require a sign-in, and a user who has not looked at the browser yet. */
export interface WaitingSignIn {
  server: RogueServer;
  browser: TestBrowser;
  watch: SecretWatch;
  /** For the program, as on a desktop. A request waits 1 s for the user. */
  env: Record<string, string>;
  /** The tool calls that have run. */
  runs(): Json[];
}

/** A user who is asked for consent, and denies it. */
export const deny =
  (origin: string): Respond =>
  (received, response) =>
    redirectBack(received, response, { error: 'access_denied', iss: origin });

/** `era`: what the gateway speaks. Only its tools require a token, or what `requires` says. */
export async function startWaitingSignIn(
  era: 'legacy' | 'modern',
  roguery: (server: { origin: string }) => Roguery = () => ({}),
  requires: (method: unknown) => boolean = (method) => method === 'tools/call',
): Promise<WaitingSignIn> {
  const watch = watchSecrets();
  watch.add(ROGUE_CODE, ROGUE_TOKEN, ROGUE_REFRESH, ROGUE_SECRET);
  const runs: Json[] = [];
  let isOver = false;
  const server = await startRogueServer((place) => ({
    mcp: (received, response) => {
      const { message, headers } = received;
      const { method, id } = message;
      if (requires(method) && headers.authorization !== `Bearer ${ROGUE_TOKEN}`) return false;
      const result = resultOf(method);
      if (method === 'tools/call') runs.push(message);
      if (result === undefined || id === undefined) answer(received, response);
      else if (era === 'legacy') answer(received, response, { ...result, resultType: undefined });
      else if (method === 'initialize' || method === 'ping') response.writeHead(400).end();
      else sendJson(response, { jsonrpc: '2.0', id, result });
      return true;
    },
    ...roguery(place),
    ...(isOver ? { authorize: deny(place.origin) } : {}),
  }));
  const browser = await startBrowser(watch.folder, () => new Promise(() => {}));
  const env = {
    ...watch.env,
    ...browser.env,
    DISPLAY: ':0',
    CI: '',
    SSH_CONNECTION: '',
    MCP_LATCHKEY_SIGN_IN_WAIT: '1',
  };
  onTestFinished(async () => {
    // Ends the process that waits for the user, where it still does.
    isOver = true;
    for (const link of browser.opened) await new UserAgent().open(link).catch(() => {});
    for (const parameters of server.parameters()) {
      watch.add(parameters.get('code_verifier'), parameters.get('state'));
    }
  });
  return { server, browser, watch, env, runs: () => runs };

  function resultOf(method: unknown): Json | undefined {
    if (method === 'server/discover' && era === 'legacy') return undefined;
    return {
      'server/discover': {
        resultType: 'complete',
        supportedVersions: [MODERN],
        capabilities: { tools: {} },
        serverInfo: { name: 's', version: '1' },
        ttlMs: 0,
        cacheScope: 'private',
      },
      'tools/list': {
        resultType: 'complete',
        tools: [{ name: 'run', inputSchema: { type: 'object' } }],
        ttlMs: 0,
        cacheScope: 'private',
      },
      'tools/call': { resultType: 'complete', content: [{ type: 'text', text: 'It ran.' }] },
    }[method as string];
  }
}
