// The floor: the least that node:http can do. Each line of stdin is one POST; what comes back goes
// to stdout, an event stream stripped to its data lines. Nothing is parsed, checked or remembered.
'use strict';
const url = new URL(process.argv[2]);
const client = url.protocol === 'https:' ? require('node:https') : require('node:http');
const options = {
  method: 'POST',
  agent: new client.Agent({ keepAlive: true }),
  headers: {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    authorization: `Bearer ${process.env.BENCH_KEY}`,
  },
};

function post(line) {
  const headers = { ...options.headers, 'content-length': line.length };
  const request = client.request(url, { ...options, headers }, (response) => {
    const stream = response.headers['content-type'] === 'text/event-stream';
    let parts = [];
    const write = () => {
      const line = parts.length === 1 ? parts[0] : Buffer.concat(parts);
      parts = [];
      if (!stream) process.stdout.write(Buffer.concat([line, Buffer.from('\n')]));
      else if (line.indexOf('data: ') === 0) process.stdout.write(line.subarray(6));
    };
    response.on('data', (chunk) => {
      let start = 0;
      for (let end = stream ? chunk.indexOf(10) : -1; end >= 0; end = chunk.indexOf(10, start)) {
        parts.push(chunk.subarray(start, end + 1));
        start = end + 1;
        write();
      }
      if (start < chunk.length) parts.push(chunk.subarray(start));
    });
    response.on('end', () => parts.length > 0 && write());
  });
  request.on('error', (error) => process.stderr.write(`${error.message}\n`));
  request.end(line);
}

let rest = Buffer.alloc(0);
process.stdin.on('data', (chunk) => {
  rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
  for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
    post(rest.subarray(0, end));
    rest = rest.subarray(end + 1);
  }
});
process.stdin.on('end', () => process.exit(0));
