// What outside.mjs asks for from inside Wine.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** A path of Windows under Wine as Linux has it. `prefix`: Wine's folder with its drives. */
const unixPath = (word, prefix) =>
  /^[CZ]:\\/i.test(word)
    ? join(/^C/i.test(word) ? join(prefix, 'drive_c') : '/', word.slice(3).replaceAll('\\', '/'))
    : word;

/** Runs a command to its end, and types `keys` once it has shown `until`: its exit code and its text. */
async function run([command, ...words], cwd, { until, keys } = {}) {
  // Certificates that are set here are not for Windows.
  const env = { PATH: process.env.PATH };
  const child = spawn(command, words, { cwd, env, stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  let isTyped = keys === undefined;
  const onText = (part) => {
    text += part;
    if (isTyped || !text.includes(until)) return;
    isTyped = true;
    child.stdin.write(keys);
  };
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', onText);
  const [code] = await once(child, 'close');
  return { code, text };
}

/**
 * Listens on a port of loopback. `onTerminal`: the command that runs Node.js for Windows, on a terminal
 * of Linux; `cwd`: a folder that Wine has too. The caller closes the server.
 */
export async function startOutside({ prefix, onTerminal, cwd }) {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    createInterface({ input: socket }).once('line', async (line) => {
      const [what, ...words] = JSON.parse(line);
      const [until, keys, ...rest] = words;
      const quoted = [...onTerminal, ...rest].map((word) => `'${word}'`).join(' ');
      const terminal = ['script', '--quiet', '--return', '--command', quoted, '/dev/null'];
      const answer =
        what === 'openssl'
          ? await run(['openssl', ...words.map((word) => unixPath(word, prefix))], cwd)
          : await run(terminal, cwd, { until, keys });
      socket.end(JSON.stringify(answer));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}
