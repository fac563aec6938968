import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { environment } from '../environment.ts';
import { program } from './running-proxy.ts';

const MiB = 1024 * 1024;
/** Large enough that what the program takes anyway, SLACK at most, hardly matters. */
const SIZE = 16 * MiB;
const SLACK = 8 * MiB;
/** What the program may take for what it is sent, in multiples of its size. */
const MOST_MEMORY = 4;
/** Where the clock is the measure, what else runs counts too. */
const LONGEST_BLOCK_MS = process.platform === 'linux' ? 2_000 : 10_000;

/** JSON values of SIZE bytes or more. */
const SHAPES = {
  'tiny numbers': () => list('0'),
  'tiny strings': () => list('""'),
  'tiny objects': () => list('{}'),
  'tiny members': () => object('"":0'),
  'members with space around them': () => object(' "" : 0 '),
  'members whose names are escaped': () => object('"\\u0072esult":0'),
  'a member again and again': () => object('"resultType":0,"a":0'),
  '__proto__ again and again': () => object('"__proto__":{}'),
  'millions of levels': () => joined(filled('[{"a":', (SIZE * 3) / 4), '0', filled('}]', SIZE / 4)),
  'a long string': () => joined('"', filled('x', SIZE), '"'),
  'a string of escapes': () => joined('"', filled('\\u00e9', SIZE), '"'),
  'a string that is not UTF-8 in places': () =>
    joined('"', filled(`\xff${'x'.repeat(999)}`, SIZE), '"'),
  'a string that is not UTF-8 at all': () => joined('"', filled('\xff', SIZE), '"'),
  'a number of many digits': () => filled('1', SIZE),
  'line ends between brackets': () => joined('[', filled('\n', SIZE), ']'),
  'tools of one name': () => list('{"name":"a","x-mcp-header":1}'),
  'annotated tools': () =>
    list('{"name":"a","inputSchema":{"properties":{"b":{"type":"string","x-mcp-header":"B"}}}}'),
  'an annotated tool of many properties': () =>
    joined('[{"name":"a","inputSchema":{"x-mcp-header":', object('"":{}'), '}}]'),
  questions: () => object('"a":{"method":"roots/list"}'),
  // Twice as large: what is read and written for each message is not freed at once.
  notifications: () => list('{"jsonrpc":"2.0","method":"a"}', 2 * SIZE),
  requests: () => list('{"jsonrpc":"2.0","id":7,"method":"a"}', 2 * SIZE),
} satisfies Record<string, () => Buffer>;

type Shape = keyof typeof SHAPES;

const USUAL: Shape[] = ['tiny numbers', 'tiny members', 'millions of levels'];

function filled(text: string, bytes: number): Buffer {
  const piece = Buffer.from(text, 'latin1');
  return Buffer.alloc(Math.floor(bytes / piece.length) * piece.length, piece);
}

const joined = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
const list = (item: string, bytes = SIZE) => joined('[', filled(`${item},`, bytes), item, ']');
const object = (member: string) => joined('{', filled(`${member},`, SIZE), member, '}');

/** Answers a request: `id` is its JSON. */
type Answer = (id: string, method: string, response: ServerResponse) => void;

const send = (response: ServerResponse, ...parts: (string | Buffer)[]) => {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/json' });
  response.end(joined(...parts));
};

/** A gateway that makes no values of what it gets: it would not get to answer the pings. */
async function startGateway(answer: Answer): Promise<string> {
  const seen: string[] = [];
  onTestFinished(() => {
    if (process.env.SHOW) console.log(seen.filter((m) => m !== 'ping').join(' '));
  });
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const ends = `${body.subarray(0, 500).toString()} ${body.subarray(-500).toString()}`;
    const [, id] = /"id":("[^"]*"|\d+)/.exec(ends) ?? [];
    const [, method = ''] = /"method":"([^"]*)"/.exec(ends) ?? [];
    seen.push(method);
    if (request.method === 'GET') answer('', 'GET', response);
    else if (request.method !== 'POST') response.writeHead(405).end();
    else if (id === undefined || method === '') response.writeHead(202).end();
    else if (method === 'ping') send(response, `{"jsonrpc":"2.0","id":${id},"result":{}}`);
    else answer(id, method, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/mcp`;
}

/** The built program, and the lines that it writes: their bytes, which may be too many to parse. */
class RawProxy {
  readonly child: ChildProcess;
  readonly lines: Buffer[] = [];
  #partial: Buffer[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(url: string, args: readonly string[]) {
    this.child = spawn(
      process.execPath,
      [process.env.PROGRAM ?? program, url, '--log-level', 'error', ...args],
      {
        env: environment({
          MCP_LATCHKEY_API_KEY: 'k'.repeat(20),
          MCP_LATCHKEY_NO_CACHE: 'true',
        }),
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    this.child.stdin?.on('error', () => {});
    this.child.stdout?.on('data', (chunk: Buffer) => this.#read(chunk));
    this.child.once('close', () => this.#wake());
    onTestFinished(() => void this.child.kill('SIGKILL'));
  }

  #read(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#partial.push(chunk.subarray(start, end));
      this.lines.push(Buffer.concat(this.#partial));
      this.#partial = [];
      start = end + 1;
    }
    this.#partial.push(chunk.subarray(start));
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }

  send(...parts: (string | Buffer)[]): void {
    this.child.stdin?.write(joined(...parts, '\n'));
  }

  /** Resolves with how many lines have come that answer the request with this id. */
  async replies(id: string | Buffer): Promise<number> {
    const isReply = (line: Buffer) =>
      [line.subarray(0, 500), line.subarray(-500)].some((end) => end.includes(`"id":${id},`));
    while (!this.lines.some(isReply)) {
      expect(this.child.exitCode ?? this.child.signalCode, 'the program died').toBeNull();
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    return this.lines.filter(isReply).length;
  }

  /** Bytes, as Linux counts them; elsewhere 0. */
  memory(field: 'VmRSS' | 'VmHWM'): number {
    if (process.platform !== 'linux') return 0;
    const status = readFileSync(`/proc/${this.child.pid}/status`, 'utf8');
    return Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  }

  /** Milliseconds that it has been at work, as Linux counts them; elsewhere those of the clock. */
  atWorkMs(): number {
    if (process.platform !== 'linux') return performance.now();
    const stat = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8');
    // After the name, which may have spaces in it: user and system time are fields 14 and 15, in
    // hundredths of a second (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
  }

  /** From here on VmHWM is that of what follows (proc(5), clear_refs). */
  forgetPeak(): void {
    if (process.platform === 'linux') writeFileSync(`/proc/${this.child.pid}/clear_refs`, '5');
  }
}

/** What it takes to get from `hostile` to its reply, with a ping always on its way. */
async function cost(proxy: RawProxy, id: string, hostile: () => void) {
  let count = 0;
  let longestMs = 0;
  let isOver = false;
  const ping = async () => {
    const start = performance.now();
    const atWork = proxy.atWorkMs();
    const own = `"p${++count}"`;
    proxy.send(`{"jsonrpc":"2.0","id":${own},"method":"ping"}`);
    await proxy.replies(own);
    // On a computer that is busy with other things it waits longer than it is blocked.
    const ms = Math.min(performance.now() - start, proxy.atWorkMs() - atWork);
    longestMs = Math.max(longestMs, ms);
  };
  const pings = async () => {
    while (!isOver) {
      await ping();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const idle = proxy.memory('VmRSS');
  proxy.forgetPeak();
  const pinging = pings();
  hostile();
  const replies = await proxy.replies(id);
  isOver = true;
  await pinging;
  await ping();
  return { replies, peak: proxy.memory('VmHWM') - idle, blockedMs: longestMs };
}

/** What is sent, with the value in it, and what is measured. */
interface Path {
  readonly shapes?: readonly Shape[];
  readonly args?: readonly string[];
  /** How the gateway answers anything but a ping. */
  readonly answer?: (value: Buffer) => Answer;
  /** What the client sends before the measure is taken: requests with the id "before". */
  readonly before?: readonly string[];
  /** What the client sends: requests of which one has the id 1, which is answered last. */
  readonly sent?: (value: Buffer) => (string | Buffer)[];
}

const META =
  '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}},"roots":{}}}';
const HELLO =
  '{"jsonrpc":"2.0","id":"before","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}}}}';
const CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x"}}';
const LIST = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
const NEW_CALL = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",${META}}}`;
const NEW_LIST = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{${META}}}`;
const WELCOME =
  '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}}';
const DISCOVERED =
  '"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}';

const head = (id: string) => `{"jsonrpc":"2.0","id":${id},`;

/** Answers what opens a session, and the rest with `rest`. */
const opened =
  (era: 'old' | 'new', rest: Answer): Answer =>
  (id, method, response) => {
    if (method === 'GET') response.writeHead(405).end();
    else if (method === 'initialize' && era === 'old') send(response, head(id), WELCOME);
    else if (method === 'initialize') {
      response.writeHead(400, { 'content-type': 'application/json' });
      send(response, head(id), '"error":{"code":-32020,"message":"m"}}');
    } else if (method === 'server/discover') send(response, head(id), DISCOVERED);
    else rest(id, method, response);
  };

/** Answers a call or a list with the value between two pieces of text. */
const around =
  (era: 'old' | 'new', before: string, after: string) =>
  (value: Buffer): Answer =>
    opened(era, (id, _, response) => send(response, head(id), before, value, after));

/** An event stream of the parts, which then stays open. */
const stream = (response: ServerResponse, ...parts: (string | Buffer)[]) => {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(joined(...parts));
};

const PATHS: Record<string, Path> = {
  'a result': {
    shapes: Object.keys(SHAPES) as Shape[],
    answer: around('old', '"result":', '}'),
  },
  'a result in an event': {
    answer: (value) =>
      opened('old', (id, _, response) =>
        stream(response, 'data: ', head(id), '"result":', value, '}\n\n'),
      ),
  },
  'a result over HTTP+SSE': {
    args: ['--transport', 'sse'],
    answer: (value) => {
      let events: ServerResponse;
      return (id, method, response) => {
        if (method === 'GET') {
          events = response;
          stream(response, 'event: endpoint\ndata: /v1/mcp\n\n');
          return;
        }
        response.writeHead(202).end();
        if (method === 'ping') stream(events, 'data: ', head(id), '"result":{}}\n\n');
        else stream(events, 'data: ', head(id), '"result":', value, '}\n\n');
      };
    },
  },
  'the whole body, a batch': {
    shapes: ['tiny numbers', 'notifications', 'requests', 'tiny members'],
    answer: (value) => opened('old', (_id, _, response) => send(response, value)),
  },
  events: {
    shapes: ['tiny members'],
    answer: () =>
      opened('old', (id, _, response) => {
        stream(response, filled('data:{}\n\n', SIZE / 4));
        stream(response, filled('data:{"jsonrpc":"2.0","id":8,"result":1}\n\n', SIZE / 4));
        stream(response, filled('data\n', SIZE / 4), '\n', filled('id:1\n\n', SIZE / 4));
        stream(response, 'data: ', head(id), '"result":{}}\n\n');
      }),
  },
  'the reply to initialize': {
    sent: () => [HELLO.replace('"before"', '1')],
    answer: (value) => (id, method, response) => {
      if (method === 'GET') response.writeHead(405).end();
      else {
        const result = '"result":{"protocolVersion":"2025-11-25","capabilities":';
        send(response, head(id), result, value, '}}');
      }
    },
  },
  'an error with a link': {
    before: [HELLO],
    answer: around(
      'old',
      '"error":{"code":1,"message":"m","data":{"reason":"credentials_unavailable","hint":"https://a.example/","x":',
      '}}}',
    ),
  },
  'the message of an error': {
    shapes: [...USUAL, 'a long string'],
    answer: around('old', '"error":{"code":-32602,"message":', '}}'),
  },
  'the code of an error, for a newer client': {
    sent: () => [NEW_CALL],
    answer: (value) => {
      let isFirst = true;
      return opened('old', (id, _, response) => {
        const error = ['"error":{"message":"m","code":', isFirst ? value : '1', '}}'];
        isFirst = false;
        send(response, head(id), ...error);
      });
    },
  },
  'a list of tools, and then a call of another tool': {
    shapes: [...USUAL, 'tools of one name'],
    sent: () => [LIST.replace('"id":1', '"id":"list"'), '\n', CALL],
    answer: (value) => {
      let refuseCall: () => void;
      let isListed = false;
      return opened('old', (id, method, response) => {
        if (method === 'tools/call') {
          refuseCall = () => send(response, head(id), '"error":{"code":-32602,"message":"m"}}');
          if (isListed) refuseCall();
          return;
        }
        send(response, head(id), '"result":{"tools":', value, '}}');
        response.once('finish', () => {
          isListed = true;
          refuseCall?.();
        });
      });
    },
  },
  'a result for an older client': { before: [HELLO], answer: around('new', '"result":', '}') },
  'what a newer gateway asks an older client': {
    shapes: [...USUAL, 'questions'],
    before: [HELLO],
    answer: around('new', '"result":{"resultType":"input_required","inputRequests":', '}}'),
  },
  'a list of tools for an older client': {
    shapes: [...USUAL, 'an annotated tool of many properties'],
    before: [HELLO],
    sent: () => [LIST],
    answer: around('new', '"result":{"ttlMs":"x-mcp-header","tools":', '}}'),
  },
  'a result for a newer client': {
    sent: () => [NEW_CALL],
    answer: around('old', '"result":', '}'),
  },
  'a list of tools for a newer client': {
    shapes: [...USUAL, 'annotated tools', 'an annotated tool of many properties'],
    sent: () => [NEW_LIST],
    answer: around('new', '"result":{"resultType":"complete","x":"x-mcp-header","tools":', '}}'),
  },
  "the client's arguments": {
    sent: (value) => [CALL.replace('"name":"x"}}', '"name":"x","arguments":'), value, '}}'],
  },
  "an older client's arguments, for a newer gateway": {
    before: [HELLO],
    sent: (value) => [CALL.replace('"name":"x"}}', '"name":"x","arguments":'), value, '}}'],
    answer: () => opened('new', (id, _, response) => send(response, head(id), '"result":{}}')),
  },
  "a newer client's arguments, for an older gateway": {
    sent: (value) => [NEW_CALL.slice(0, -2), ',"arguments":', value, '}}'],
  },
  "the client's method": {
    shapes: ['a long string', 'tiny numbers'],
    sent: (value) => [head('1'), '"method":', value, '}'],
  },
  "the client's batch": {
    shapes: ['tiny numbers', 'notifications', 'requests'],
    sent: (value) => [value.subarray(0, -1), ',', CALL, value.subarray(-1)],
  },
};

const RESULT: Answer = (id, _, response) => send(response, head(id), '"result":{}}');

for (const [path, { shapes = USUAL, args = [], answer, before = [], sent }] of Object.entries(
  PATHS,
)) {
  describe(path, () => {
    it.each(shapes)('made of %s is dealt with once, in bounded memory and time', async (shape) => {
      const value = SHAPES[shape]();
      const url = await startGateway(answer?.(value) ?? opened('old', RESULT));
      const proxy = new RawProxy(url, args);
      for (const line of before) {
        proxy.send(line);
        await proxy.replies('"before"');
      }
      proxy.send(head('"warm"'), '"method":"ping"}');
      await proxy.replies('"warm"');
      const parts = sent?.(value) ?? [CALL];
      const { replies, peak, blockedMs } = await cost(proxy, '1', () => proxy.send(...parts));
      if (process.env.SHOW)
        console.log(`${path} | ${shape} | ${(peak / value.length).toFixed(2)} ${blockedMs}`);
      expect(replies).toBe(1);
      expect((peak - SLACK) / value.length).toBeLessThan(MOST_MEMORY);
      expect(blockedMs).toBeLessThan(LONGEST_BLOCK_MS);
    });
  });
}
