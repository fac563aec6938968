import type { Sandbox } from '../../src/sandbox/sandbox.ts';

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into replies of every shape
  json: any;
}

/** POSTs a body to the sandbox as a well-behaved client does; `headers` of null are left out. */
export async function post(
  sandbox: Sandbox,
  body: unknown,
  headers: Record<string, string | null> = {},
  url = sandbox.url,
): Promise<Reply> {
  const all: Record<string, string | null> = {
    accept: 'application/json, text/event-stream',
    'content-type': 'application/json',
    authorization: `Bearer ${sandbox.keys.good}`,
    ...headers,
  };
  return read(
    await fetch(url, {
      method: 'POST',
      headers: Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== null),
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
  );
}

export async function read(response: Response): Promise<Reply> {
  const text = await response.text();
  const isJson = response.headers.get('content-type') === 'application/json';
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: isJson ? JSON.parse(text) : undefined,
  };
}

export function request(method: string, params?: unknown, id: string | number = 1) {
  return { jsonrpc: '2.0', id, method, ...(params === undefined ? {} : { params }) };
}

export function call(name: string, args?: unknown, meta?: unknown) {
  return request('tools/call', {
    name,
    ...(args === undefined ? {} : { arguments: args }),
    ...(meta === undefined ? {} : { _meta: meta }),
  });
}

export function initialize(protocolVersion: string) {
  const clientInfo = { name: 'test', version: '1' };
  return request('initialize', { protocolVersion, capabilities: {}, clientInfo });
}

/** The messages of a complete event stream. */
export function events(text: string) {
  return text
    .split('\n\n')
    .filter((block) => block !== '')
    .map((block) => {
      const data = block.split('\n').find((line) => line.startsWith('data: '));
      return JSON.parse(data?.slice(6) ?? 'null');
    });
}
