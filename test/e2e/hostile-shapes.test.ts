import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { program } from './running-proxy.ts';

const MiB = 1024 * 1024;
/** Large enough that what the program takes anyway does not matter. */
const SIZE = 20 * MiB;
const MOST_MEMORY = 4 * SIZE;
const LONGEST_BLOCK_MS = 2_000;

/** JSON values of about SIZE bytes. */
const values: Record<string, () => Buffer> = {
  'tiny numbers': () => list('0'),
  'tiny strings': () => list('""'),
  'tiny objects': () => list('{}'),
  'tiny members': () => object('"":0'),
  'members with space around them': () => object(' "" : 0 '),
  'members that are escaped': () => object('"\\u0072esult":0'),
  'members of one name': () => object('"resultType":0,"a":0'),
  '__proto__ again and again': () => object('"__proto__":{}'),
  'a million levels of arrays and objects': () =>
    joined(filled('[{"a":', SIZE - MiB), '0', filled('}]', ((SIZE - MiB) / 6) * 2)),
  'a long string': () => joined('"', filled('x', SIZE), '"'),
  'a string of escapes': () => joined('"', filled('\\u00e9', SIZE), '"'),
  'a string that is not UTF-8 in places': () =>
    joined('"', filled(`\xff${'x'.repeat(999)}`, SIZE), '"'),
  'a string that is not UTF-8 at all': () => joined('"', filled('\xff', SIZE), '"'),
  'a number of many digits': () => filled('1', SIZE),
  'nothing but line ends': () => joined('[', filled('\n', SIZE), ']'),
  'tools with little in them': () => list('{"name":"a","x-mcp-header":1}'),
  'tools that are annotated': () =>
    list('{"name":"a","inputSchema":{"properties":{"b":{"type":"string","x-mcp-header":"B"}}}}'),
  'questions without end': () => object('"a":{"method":"roots/list"}'),
};

function filled(text: string, bytes: number): Buffer {
  const piece = Buffer.from(text, 'latin1');
  return Buffer.alloc(Math.ceil(bytes / piece.length) * piece.length, piece);
}

const joined = (...parts: (string | Buffer)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
const list = (item: string) => joined('[', filled(`${item},`, SIZE), item, ']');
const object = (member: string) => joined('{', filled(`${member},`, SIZE), member, '}');

type Answer = (id: string, method: string, response: ServerResponse, body: Buffer) => void;

const send = (response: ServerResponse, ...parts: (string | Buffer)[]) => {
  if (!response.headersSent) response.writeHead(200, { 'content-type': 'application/json' });
  response.end(joined(...parts));
};

/** A gateway that makes no values of what it gets: it would not get to answer the pings. */
async function startGateway(answer: Answer): Promise<string> {
  const server = createServer(async (request: IncomingMessage, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const ends = `${body.subarray(0, 500).toString()} ${body.subarray(-500).toString()}`;
    const [, id] = /"id":("[^"]*"|\d+)/.exec(ends) ?? [];
    const [, method = ''] = /"method":"([^"]*)"/.exec(ends) ?? [];
    if (request.method === 'GET') answer('', 'GET', response, body);
    else if (request.method !== 'POST') response.writeHead(405).end();
    else if (id === undefined || method === '') response.writeHead(202).end();
    else if (method === 'ping') send(response, `{"jsonrpc":"2.0","id":${id},"result":{}}`);
    else answer(id, method, response, body);
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

  constructor(url: string) {
    this.child = spawn(
      process.execPath,
      [process.env.PROGRAM ?? program, url, '--log-level', 'error'],
      {
        env: {
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          MCP_LATCHKEY_API_KEY: 'k'.repeat(20),
        },
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
      [line.subarray(0, 500), line.subarray(-500)].some((end) => end.includes(`"id":${id}`)) &&
      !line.subarray(0, 500).includes('"method"');
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

  /** Milliseconds that it has been at work, as Linux counts them; elsewhere infinite. */
  atWorkMs(): number {
    if (process.platform !== 'linux') return Number.POSITIVE_INFINITY;
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
    const blockedMs = Math.min(performance.now() - start, proxy.atWorkMs() - atWork);
    longestMs = Math.max(longestMs, blockedMs);
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
  return { replies, peak: proxy.memory('VmHWM') - idle, longestMs };
}

interface Path {
  /** The gateway's answer to anything but a ping. */
  answer(value: Buffer): Answer;
  /** What the client sends before the measure is taken. */
  before?: string[];
  /** What the client sends, with the id 1. */
  sent?(value: Buffer): (string | Buffer)[];
}

const META =
  '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"},"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}},"roots":{}}}';
const HELLO =
  '{"jsonrpc":"2.0","id":"hello","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{"url":{}}}}}';
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
  (id, method, response, body) => {
    if (method === 'GET') response.writeHead(405).end();
    else if (method === 'initialize' && era === 'old') send(response, head(id), WELCOME);
    else if (method === 'initialize') {
      send(
        response.writeHead(400, { 'content-type': 'application/json' }),
        head(id),
        '"error":{"code":-32020,"message":"m"}}',
      );
    } else if (method === 'server/discover') send(response, head(id), DISCOVERED);
    else rest(id, method, response, body);
  };

const event = (response: ServerResponse, ...parts: (string | Buffer)[]) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(
    joined(
      'data: ',
      ...parts.map((part) =>
        typeof part === 'string'
          ? part
          : Buffer.from(part.map((byte) => (byte === 10 ? 32 : byte))),
      ),
      '\n\n',
    ),
  );
};

const paths: Record<string, Path> = {
  'a result in JSON': {
    answer: (value) =>
      opened('old', (id, _, response) => send(response, head(id), '"result":', value, '}')),
  },
  'a result in an event': {
    answer: (value) =>
      opened('old', (id, _, response) => event(response, head(id), '"result":', value, '}')),
  },
  'the whole body': {
    answer: (value) => opened('old', (_id, _, response) => send(response, value)),
  },
  'the reply to initialize': {
    sent: () => [HELLO.replace('"hello"', '1')],
    answer: (value) => (id, method, response) =>
      method === 'GET'
        ? void response.writeHead(405).end()
        : send(
            response,
            head(id),
            '"result":{"protocolVersion":"2025-11-25","capabilities":',
            value,
            '}}',
          ),
  },
  'an error, explained': {
    before: [HELLO],
    answer: (value) =>
      opened('old', (id, _, response) =>
        send(
          response,
          head(id),
          '"error":{"code":-32601,"message":"m","data":{"reason":"credentials_unavailable","hint":"https://a.example/","x":',
          value,
          '}}}',
        ),
      ),
  },
  'the text of an error': {
    answer: (value) =>
      opened('old', (id, _, response) =>
        send(response, head(id), '"error":{"code":-32602,"message":', value, '}}'),
      ),
  },
  'the code of an error': {
    sent: () => [NEW_CALL],
    answer: (value) =>
      opened('old', (id, _, response) =>
        send(response, head(id), '"error":{"message":"m","code":', value, '}}'),
      ),
  },
  'a list of tools, and a call of another tool': {
    sent: () => [LIST.replace('"id":1', '"id":2'), '\n', CALL],
    answer: (value) => {
      let call: (() => void) | undefined;
      return opened('old', (id, method, response) => {
        if (method === 'tools/list') {
          send(response, head(id), '"result":{"tools":', value, '}}');
          response.once('finish', () => setTimeout(() => call?.(), 500));
        } else call = () => send(response, head(id), '"error":{"code":-32602,"message":"m"}}');
      });
    },
  },
  'a result for an older client': {
    before: [HELLO],
    answer: (value) =>
      opened('new', (id, _, response) => send(response, head(id), '"result":', value, '}')),
  },
  'what a gateway asks an older client': {
    before: [HELLO],
    answer: (value) =>
      opened('new', (id, _, response) =>
        send(
          response,
          head(id),
          '"result":{"resultType":"input_required","inputRequests":',
          value,
          '}}',
        ),
      ),
  },
  'a list of tools for an older client': {
    before: [HELLO],
    sent: () => [LIST],
    answer: (value) =>
      opened('new', (id, _, response) =>
        send(response, head(id), '"result":{"ttlMs":"x-mcp-header","tools":', value, '}}'),
      ),
  },
  'a result for a newer client': {
    sent: () => [NEW_CALL],
    answer: (value) =>
      opened('old', (id, _, response) => send(response, head(id), '"result":', value, '}')),
  },
  'a list of tools among the new': {
    sent: () => [NEW_LIST],
    answer: (value) =>
      opened('new', (id, _, response) =>
        send(
          response,
          head(id),
          '"result":{"resultType":"complete","ttlMs":"x-mcp-header","tools":',
          value,
          '}}',
        ),
      ),
  },
};

const only = process.env.ONLY_PATH;
const onlyShape = process.env.ONLY_SHAPE;
describe.each(Object.entries(paths).filter(([name]) => !only || name.includes(only)))(
  '%s',
  (_, { answer, before = [], sent = () => [CALL] }) => {
    it.each(Object.entries(values).filter(([name]) => !onlyShape || name.includes(onlyShape)))(
      'of %s',
      async (name, make) => {
        const value = make();
        const proxy = new RawProxy(await startGateway(answer(value)));
        for (const line of before) {
          proxy.send(line);
          await proxy.replies('"hello"');
        }
        proxy.send('{"jsonrpc":"2.0","id":"warm","method":"ping"}');
        await proxy.replies('"warm"');
        const { replies, peak, longestMs } = await cost(proxy, '1', () =>
          proxy.send(...sent(value)),
        );
        console.log(_, '|', name, (peak / SIZE).toFixed(2), longestMs.toFixed(0));
        expect(replies).toBe(1);
        expect(peak).toBeLessThan(MOST_MEMORY);
        expect(longestMs).toBeLessThan(LONGEST_BLOCK_MS);
      },
    );
  },
);
