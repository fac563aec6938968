// A long run against one gateway on loopback:
// `node bench/soak.mjs [calls] [losses] [cuts] [reconnects]`. The gateway forgets the session `losses`
// times and breaks all connections `cuts` times, spread over the calls. Fails when a call has no reply
// or two, or ran twice; prints the proxy's resident memory at each tenth. Linux only.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

const [calls = 100_000, losses = 200, cuts = 200, reconnects = 10_000] = process.argv
  .slice(2)
  .map(Number);
const IN_FLIGHT = 32;

let streams = 0;
let session = 0;
let handshakes = 0;
/** How often each call ran, by its id. */
const runs = new Map();

const server = createServer((request, response) => {
  if (request.method === 'GET') {
    streams++;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    // 100 ms is the shortest wait that the proxy grants.
    response.end(`retry: 100\nid: ${streams}\ndata: {"jsonrpc":"2.0","method":"n"}\n\n`);
    return;
  }
  let body = '';
  request.setEncoding('utf8').on('data', (text) => {
    body += text;
  });
  request.on('end', () => {
    if (request.method !== 'POST') return response.writeHead(204).end();
    const { id, method } = JSON.parse(body);
    const named = request.headers['mcp-session-id'];
    if (method === 'initialize') handshakes++;
    else if (named !== `soak-${session}`) return response.writeHead(404).end();
    if (id === undefined) return response.writeHead(202).end();
    if (method === 'tools/call') runs.set(id, (runs.get(id) ?? 0) + 1);
    response.writeHead(200, {
      'content-type': 'application/json',
      'mcp-session-id': `soak-${session}`,
    });
    const result = { protocolVersion: '2025-06-18', content: [{ type: 'text', text: body }] };
    response.end(JSON.stringify({ jsonrpc: '2.0', id, result }));
  });
}).listen(0, '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));

const program = new URL('../bin/mcp-latchkey.js', import.meta.url).pathname;
const url = `http://127.0.0.1:${server.address().port}/v1/mcp`;
const env = { PATH: process.env.PATH, MCP_LATCHKEY_API_KEY: 'soak-key-0123456789' };
const proxy = spawn(process.execPath, [program, url], { env, stdio: ['pipe', 'pipe', 'inherit'] });
const send = (message) => proxy.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
const residentMb = () =>
  Math.round(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${proxy.pid}/status`, 'utf8'))[1] / 1024);

let answered = 0;
let notified = 0;
let interrupted = 0;
/** Those that have had their reply. */
const replied = new Set();
const wrong = [];
let onReply = () => {};
createInterface({ input: proxy.stdout }).on('line', (line) => {
  if (line.includes('"method":"n"')) {
    notified++;
    return;
  }
  const { id, error } = JSON.parse(line);
  if (replied.has(id)) wrong.push(`two replies to ${id}`);
  replied.add(id);
  if (error?.data?.reason === 'interrupted') interrupted++;
  else if (error !== undefined) wrong.push(`${id}: ${error.message}`);
  answered++;
  onReply();
});

/** Runs until `count()` has grown by `total`, and says what the proxy's memory does meanwhile. */
async function watch(what, total, count) {
  const start = count();
  const samples = [];
  for (let tenth = 1; tenth <= 10; tenth++) {
    while (count() - start < (total * tenth) / 10) await new Promise((r) => setTimeout(r, 20));
    samples.push(residentMb());
  }
  console.log(`${what}: ${total}, resident MB after each tenth: ${samples.join(' ')}`);
}

send({ id: 'i', method: 'initialize', params: {} });
await new Promise((resolve) => {
  onReply = resolve;
});
let next = 0;
const call = () => {
  if (next >= calls) return;
  const at = next++;
  if (losses > 0 && at % Math.ceil(calls / losses) === 1) session++;
  // Not with the losses.
  if (cuts > 0 && at % Math.ceil(calls / cuts) === Math.ceil(calls / cuts / 2)) {
    server.closeAllConnections();
  }
  send({ id: at, method: 'tools/call', params: { name: 'x', n: at } });
};
onReply = call;
answered = 0;
for (let count = 0; count < IN_FLIGHT; count++) call();
await watch('calls', calls, () => answered);
const twice = [...runs].filter(([, count]) => count > 1).length;
if (twice > 0) wrong.push(`${twice} calls ran twice`);
console.log(
  `${session} sessions lost, ${handshakes} handshakes, ${interrupted} calls interrupted, ${twice} ran twice`,
);
if (wrong.length > 0) throw new Error(wrong.slice(0, 10).join('; '));
if (answered !== calls) throw new Error(`${answered} replies to ${calls} calls`);

onReply = () => {};
if (reconnects > 0) {
  send({ method: 'notifications/initialized' });
  await watch('streams reopened', reconnects, () => streams);
  if (Math.abs(streams - notified) > 1) throw new Error(`${notified} of ${streams} notifications`);
}
proxy.stdin.end();
server.close();
server.closeAllConnections();
