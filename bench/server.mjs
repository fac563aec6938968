/**
 * The neutral MCP server that every program is measured against: plain node:http and node:https in
 * a process of its own, no SDK. Started with fork(); reports and obeys over the IPC channel:
 *   → {ready: {http, https}} once it listens (ports on 127.0.0.1; https is 0 without a certificate)
 *   ← 'reset'   forget the counts        → {stats}
 *   ← 'stats'   report the counts so far → {stats}
 * The URL chooses the habit: /mcp answers with application/json, /mcp?reply=sse with an event
 * stream. The tools `document` and `burst` always answer with an event stream. Without a Bearer
 * token, any token, it answers 401.
 */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { document, documentCharacters } from './document.mjs';
import { longList } from './long-list.mjs';

const [keyFile, certFile] = process.argv.slice(2);
/** Long enough that no connection is closed for idleness in the middle of a measurement. */
const keepAliveMs = 600_000;
/** 1,000 connections may arrive in one instant; the default of 511 makes SYNs wait a second. */
const backlog = 4096;

const emptyStats = () => ({
  /** @type {Record<string, number>} */ methods: {},
  open: 0,
  peakOpen: 0,
  /** @type {string | undefined} */ authorization: undefined,
});
let stats = emptyStats();
/** @type {string | undefined} */
let list;

/** @param {string} id @param {string} result */
const reply = (id, result) => `{"jsonrpc":"2.0","id":${id},"result":${result}}`;
/** @param {string} text */
const textResult = (text) => `{"content":[{"type":"text","text":${JSON.stringify(text)}}]}`;

/**
 * @param {http.IncomingMessage} request @param {http.ServerResponse} response
 * @param {string} message one JSON-RPC message
 */
function send(request, response, message) {
  if (request.url?.includes('reply=sse')) {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    response.end(`event: message\ndata: ${message}\n\n`);
    return;
  }
  const body = Buffer.from(message);
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.length });
  response.end(body);
}

/** @param {http.ServerResponse} response @param {string} id */
function sendDocument(response, id) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.write('event: message\ndata: ');
  writeDocument(response, id);
  response.end('\n\n');
}

/** @param {http.ServerResponse} response @param {string} id */
function writeDocument(response, id) {
  response.write(`{"jsonrpc":"2.0","id":${id},"result":{"content":[{"type":"text","text":"`);
  response.write(document());
  response.write('"}]}}');
}

/** @param {http.ServerResponse} response @param {string} id @param {number} count */
function sendBurst(response, id, count) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  for (let n = 0; n < count; n++) {
    response.write(
      `event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":{"n":${n}}}}\n\n`,
    );
  }
  response.end(`event: message\ndata: ${reply(id, textResult(`sent ${count}`))}\n\n`);
}

/** @param {http.IncomingMessage} request @param {http.ServerResponse} response @param {string} body */
function answer(request, response, body) {
  const message = JSON.parse(body);
  const method = message.method ?? 'response';
  stats.methods[method] = (stats.methods[method] ?? 0) + 1;
  stats.authorization = request.headers.authorization;
  if (message.id === undefined || message.method === undefined) {
    response.writeHead(202).end();
    return;
  }
  const id = JSON.stringify(message.id);
  if (method === 'initialize') {
    const result = {
      protocolVersion: message.params.protocolVersion,
      capabilities: { tools: {}, logging: {} },
      serverInfo: { name: 'bench', version: '1' },
    };
    send(request, response, reply(id, JSON.stringify(result)));
    return;
  }
  if (method === 'ping') {
    send(request, response, reply(id, '{}'));
    return;
  }
  if (method === 'tools/list') {
    list ??= longList();
    send(request, response, reply(id, list));
    return;
  }
  if (method === 'tools/call') {
    const { name, arguments: args } = message.params;
    if (name === 'echo') {
      const message = reply(id, textResult(args.text));
      if (args.waitMs) setTimeout(send, args.waitMs, request, response, message);
      else send(request, response, message);
      return;
    }
    if (name === 'document') {
      sendDocument(response, id);
      return;
    }
    if (name === 'document-json') {
      response.writeHead(200, { 'content-type': 'application/json' });
      writeDocument(response, id);
      response.end();
      return;
    }
    if (name === 'burst') {
      sendBurst(response, id, args.count);
      return;
    }
  }
  const error = { code: -32601, message: `The bench server has no ${method}` };
  send(request, response, `{"jsonrpc":"2.0","id":${id},"error":${JSON.stringify(error)}}`);
}

/**
 * The endpoints of a sign-in where a server of MCP 2025-03-26 publishes no metadata (its Authorization
 * §2.3.3). Whoever comes is let in at once.
 * @param {URL} url @param {http.ServerResponse} response
 * @returns {boolean} whether it was one of them
 */
function signIn({ pathname, searchParams }, response) {
  if (pathname === '/authorize') {
    const back = new URL(searchParams.get('redirect_uri') ?? '');
    back.searchParams.set('state', searchParams.get('state') ?? '');
    back.searchParams.set('code', 'bench-code');
    response.writeHead(302, { location: back.href }).end();
    return true;
  }
  const answers = {
    '/register': { client_id: 'bench' },
    '/token': { access_token: 'bench-token', token_type: 'Bearer', expires_in: 3600 },
  };
  const answer = answers[/** @type {keyof typeof answers} */ (pathname)];
  if (answer === undefined) return false;
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  return true;
}

/** @param {http.IncomingMessage} request @param {http.ServerResponse} response */
function handle(request, response) {
  if (!request.url?.startsWith('/mcp') && signIn(new URL(`http://x${request.url}`), response))
    return;
  if (request.method !== 'POST' || !request.url?.startsWith('/mcp')) {
    response.writeHead(request.url?.startsWith('/mcp') ? 405 : 404, { allow: 'POST' }).end();
    return;
  }
  if (!request.headers.authorization?.startsWith('Bearer ')) {
    response.writeHead(401, { 'www-authenticate': 'Bearer' }).end();
    return;
  }
  const counted = stats;
  counted.peakOpen = Math.max(counted.peakOpen, ++counted.open);
  response.on('close', () => counted.open--);
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => answer(request, response, body));
}

/** @param {http.Server | https.Server} server @returns {Promise<number>} the port */
function listen(server) {
  server.keepAliveTimeout = keepAliveMs;
  server.requestTimeout = 0;
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(0, '127.0.0.1', backlog, () => {
      const address = server.address();
      resolve(address && typeof address === 'object' ? address.port : 0);
    });
  });
}

process.on('message', (command) => {
  process.send?.({ stats });
  if (command === 'reset') stats = emptyStats();
});
process.on('disconnect', () => process.exit(0));

const httpPort = await listen(http.createServer(handle));
const httpsPort =
  keyFile && certFile
    ? await listen(
        https.createServer({ key: readFileSync(keyFile), cert: readFileSync(certFile) }, handle),
      )
    : 0;
// Built now, so that no program pays for it.
document();
process.send?.({ ready: { http: httpPort, https: httpsPort, documentCharacters } });
