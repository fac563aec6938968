/**
 * The client's end: one program driven over stdio with raw newline-delimited JSON. Cheap and the
 * same for all: a line is found by its newline and known by its id; only checks made after the clock
 * has stopped parse JSON.
 */
import { spawn } from 'node:child_process';
import http from 'node:http';

/** A measurement that came out wrong; the message says what, and is printed instead of a number. */
export class Wrong extends Error {}

/** This measurement cannot be made here, or not with this program; the message says why. */
export class NotAvailable extends Error {}

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set();

/**
 * Keeps a child until it ends, so that none outlives the benchmark.
 * @template {import('node:child_process').ChildProcess} T
 * @param {T} child
 * @returns {T}
 */
export function keep(child) {
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** Kills every child that is still there, at once. */
export function killAll() {
  for (const child of children) child.kill('SIGKILL');
}

/**
 * One line from a program: its bytes as they came, not yet put together.
 * @typedef {Buffer[]} Line
 * @typedef {object} Session
 * @property {number} pid 0 for `direct`
 * @property {(line: string) => void} send one or more lines, without the last newline
 * @property {(line: Line) => void} onLine called with each line, without its newline
 * @property {(reason: Error) => void} onEnd called once if the program ends by itself
 * @property {() => Promise<void>} close in order if it can be had within a second
 * @property {() => void} kill at once
 */

/**
 * Starts a program, without a shell, and connects its stdio.
 * @param {string[]} command the program and its arguments
 * @param {NodeJS.ProcessEnv} env
 * @returns {Session}
 */
export function start([file = '', ...args], env) {
  const child = keep(spawn(file, args, { env, stdio: 'pipe', windowsHide: true }));
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr = (stderr + chunk).slice(-2000);
  });
  const exited = new Promise((resolve) => {
    child.once('exit', resolve);
    child.once('error', resolve);
  });
  let closing = false;
  child.stdin.on('error', () => {});
  /** @type {Session} */
  const session = {
    pid: child.pid ?? 0,
    send: (line) => child.stdin.write(`${line}\n`),
    onLine: () => {},
    onEnd: () => {},
    close: async () => {
      closing = true;
      child.stdin.end();
      // A second to leave in order: some programs write their compile cache on the way out.
      const timer = setTimeout(() => child.kill('SIGKILL'), 1000);
      await exited;
      clearTimeout(timer);
      child.stdout.destroy();
    },
    kill: () => child.kill('SIGKILL'),
  };
  exited.then(() => {
    const last = stderr.trim().replaceAll(/\s+/g, ' ').slice(-200);
    if (!closing) session.onEnd(new Wrong(`the program ended; stderr: ${last || 'empty'}`));
  });
  /** @type {Line} */
  let parts = [];
  child.stdout.on('data', (chunk) => {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, end));
      from = end + 1;
      const line = parts;
      parts = [];
      session.onLine(line);
    }
    if (from < chunk.length) parts.push(from === 0 ? chunk : chunk.subarray(from));
  });
  return session;
}

/**
 * No program at all: the driver itself speaks HTTP. What remains is the server and the loopback.
 * @param {string} url @param {string} key
 * @returns {Session}
 */
export function direct(url, key) {
  const agent = new http.Agent({ keepAlive: true });
  const dataField = Buffer.from('data: ');
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    authorization: `Bearer ${key}`,
  };
  /** @type {Session} */
  const session = {
    pid: 0,
    send: (lines) => {
      for (const line of lines.split('\n')) post(line);
    },
    onLine: () => {},
    onEnd: () => {},
    close: async () => agent.destroy(),
    kill: () => agent.destroy(),
  };
  /** @param {string} line */
  const post = (line) => {
    const request = http.request(url, { method: 'POST', agent, headers }, (response) => {
      const stream = response.headers['content-type'] === 'text/event-stream';
      /** @type {Line} */
      let parts = [];
      const line = () => {
        const data = whole(parts);
        parts = [];
        if (!stream) session.onLine([data]);
        else if (data.subarray(0, 6).equals(dataField)) session.onLine([data.subarray(6)]);
      };
      response.on('data', (/** @type {Buffer} */ chunk) => {
        let from = 0;
        if (stream) {
          for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
            parts.push(chunk.subarray(from, end));
            from = end + 1;
            line();
          }
        }
        if (from < chunk.length) parts.push(chunk.subarray(from));
      });
      response.on('end', () => parts.length > 0 && line());
    });
    request.on('error', (error) => session.onEnd(error));
    request.end(line);
  };
  return session;
}

/**
 * A line's bytes in one piece.
 * @param {Line} line
 * @returns {Buffer}
 */
export const whole = (line) => (line.length === 1 && line[0] ? line[0] : Buffer.concat(line));

/**
 * The id of the reply in a line, found without parsing: the benchmark's ids are integers, and its
 * payloads hold no `"id":`. It may stand at either end, as some programs put the result first.
 * @param {Line} line
 * @returns {number} NaN when there is none
 */
export function idOf(line) {
  const id = (/** @type {Buffer | undefined} */ part) => {
    const text = part?.toString('latin1') ?? '';
    const at = text.lastIndexOf('"id":');
    return at < 0 ? Number.NaN : Number.parseInt(text.slice(at + 5, at + 16), 10);
  };
  if (line.length === 1) return id(line[0]);
  const head = Buffer.concat(line.slice(0, 2)).subarray(0, 64);
  const first = id(head);
  return Number.isNaN(first) ? id(Buffer.concat(line.slice(-2)).subarray(-64)) : first;
}

/**
 * @param {number} id @param {string} method @param {object} [params]
 * @returns {string} a JSON-RPC request
 */
export const request = (id, method, params) =>
  JSON.stringify({ jsonrpc: '2.0', id, method, ...(params ? { params } : {}) });

/** The client's first words. */
export const initialize = request(0, 'initialize', {
  protocolVersion: '2025-06-18',
  capabilities: {},
  clientInfo: { name: 'bench', version: '1' },
});

/**
 * Sends one request, and waits for the line that answers it.
 * @param {Session} session @param {number} id @param {string} line the request
 * @returns {Promise<Line>}
 */
export function ask(session, id, line) {
  return new Promise((resolve, reject) => {
    session.onEnd = reject;
    session.onLine = (answer) => {
      if (idOf(answer) === id) resolve(answer);
    };
    session.send(line);
  });
}

/**
 * Sends `initialize`, and checks that the reply is the server's.
 * @param {Session} session
 */
export async function greet(session) {
  const reply = JSON.parse(whole(await ask(session, 0, initialize)).toString());
  // Supergateway answers with the server's result; what matters is that the server was asked.
  if (reply.result?.serverInfo?.name !== 'bench') {
    throw new Wrong(`initialize was answered with ${JSON.stringify(reply).slice(0, 200)}`);
  }
}

/**
 * The whole handshake: `initialize`, and `notifications/initialized`.
 * @param {Session} session
 */
export async function handshake(session) {
  await greet(session);
  session.send('{"jsonrpc":"2.0","method":"notifications/initialized"}');
}

/**
 * Keeps a number of `tools/call` requests in flight, each with a text of its own, and checks that
 * each is answered once, with its own text.
 * @param {Session} session
 * @param {object} load
 * @param {number} load.firstId ids must not repeat within a session
 * @param {number} load.inFlight
 * @param {number} [load.waitMs] how long the server thinks about each
 * @param {number} [load.calls] stop after so many
 * @param {number} [load.forMs] or stop starting calls after this time
 * @returns {Promise<{calls: number, ms: number}>} how many were answered, and how long it took
 */
export function callMany(session, load) {
  const { firstId, inFlight, waitMs, calls = Number.POSITIVE_INFINITY, forMs } = load;
  const text = (/** @type {number} */ id) =>
    `The answer to call ${id} is a sentence like this one.`;
  const wait = waitMs === undefined ? '' : `,"waitMs":${waitMs}`;
  const call = (/** @type {number} */ id) =>
    `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":{"name":"echo","arguments":{"text":"${text(id)}"${wait}}}}`;
  return new Promise((resolve, reject) => {
    /** @type {Set<number>} */
    const waiting = new Set();
    let nextId = firstId;
    let answered = 0;
    let queued = '';
    const began = performance.now();
    const fill = () => {
      const open = forMs === undefined || performance.now() - began < forMs;
      while (open && waiting.size < inFlight && nextId - firstId < calls) {
        waiting.add(nextId);
        queued += queued === '' ? call(nextId) : `\n${call(nextId)}`;
        nextId++;
      }
      if (queued !== '') session.send(queued);
      queued = '';
      if (waiting.size === 0) resolve({ calls: answered, ms: performance.now() - began });
    };
    let filling = false;
    session.onEnd = reject;
    session.onLine = (line) => {
      const id = idOf(line);
      if (Number.isNaN(id)) return;
      if (!waiting.delete(id)) {
        reject(new Wrong(`id ${id} was answered twice, or never asked`));
        return;
      }
      if (
        !whole(line)
          .toString('latin1')
          .includes(`"text":"${text(id)}"`)
      ) {
        reject(new Wrong(`call ${id} was answered with ${whole(line).toString().slice(0, 200)}`));
        return;
      }
      answered++;
      if (filling) return;
      filling = true;
      // After every line of this chunk: one write instead of many.
      queueMicrotask(() => {
        filling = false;
        fill();
      });
    };
    fill();
  });
}
