// node record-stdout.mjs <file> <script> [args…]
//
// Runs a Node script as if it had been started directly: the child has this process's stdin and
// stderr, and every byte of its stdout is written to <file> before it is passed on. When the child
// ends, how it ended is left in <file>.exit as {"code","signal"}.
import { spawn } from 'node:child_process';
import { appendFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const [file, ...script] = process.argv.slice(2);
writeFileSync(file, '');
const child = spawn(process.execPath, script, {
  stdio: ['inherit', 'pipe', 'inherit'],
  // What an earlier session has left there for the same port must not be used.
  env: { ...process.env, XDG_CACHE_HOME: dirname(file) },
});
child.stdout.on('data', (chunk) => {
  appendFileSync(file, chunk);
  if (process.stdout.write(chunk)) return;
  child.stdout.pause();
  process.stdout.once('drain', () => child.stdout.resume());
});
process.stdout.on('error', () => child.stdout.destroy());
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
child.on('close', (code, signal) => {
  writeFileSync(`${file}.exit`, JSON.stringify({ code, signal }));
  process.exitCode = code ?? 1;
});
