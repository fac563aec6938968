import type { ServerResponse } from 'node:http';
import { answer, type LoopbackGateway, type Received, startGateway } from './loopback-gateway.ts';
import { secret } from './running-proxy.ts';

let made = 0;

/** A key that no other test has. Nothing that the program writes may hold it. */
export function newKey(): string {
  made++;
  return secret(`key-${made}-${Math.random().toString(36).slice(2).padEnd(12, '0')}-secret`);
}

export interface KeyedGateway extends LoopbackGateway {
  /** The `Authorization: Bearer` keys that it takes; to others it says 401. */
  readonly accepted: Set<string>;
  /** The values of `Authorization` so far. */
  authorizations(): (string | undefined)[];
}

/** A gateway with two tools, for those whose key it takes. */
export async function startKeyedGateway(
  respond: (received: Received, response: ServerResponse) => void = (received, response) =>
    answer(received, response, received.message.method === 'tools/list' ? TOOLS : undefined),
): Promise<KeyedGateway> {
  const accepted = new Set<string>();
  const gateway = await startGateway((received, response) => {
    const key = received.headers.authorization?.replace('Bearer ', '');
    if (key !== undefined && accepted.has(key)) respond(received, response);
    else response.writeHead(401, { 'content-type': 'application/json' }).end('{"error":"who?"}');
  });
  return {
    ...gateway,
    accepted,
    authorizations: () =>
      gateway.received
        .filter(({ method }) => method === 'POST')
        .map(({ headers }) => headers.authorization),
  };
}

const TOOLS = {
  tools: [
    { name: 'a', inputSchema: { type: 'object' } },
    { name: 'b', inputSchema: { type: 'object' } },
  ],
};
