// What Windows' programs cannot do under Wine is done outside, by outside-server.mjs:
// `node outside.mjs openssl WORDS`, or `node outside.mjs terminal UNTIL KEYS WORDS`, which runs
// `node WORDS` on a terminal, types KEYS once it shows UNTIL, and prints all that the terminal showed.
import { connect } from 'node:net';

const socket = connect({ port: Number(process.env.OUTSIDE_PORT), host: '127.0.0.1' });
// Not ended yet: under Wine, a socket that is closed for writing may seem closed for reading too.
socket.write(`${JSON.stringify(process.argv.slice(2))}\n`);
const answer = Buffer.concat(await socket.toArray()).toString();
if (answer === '') throw new Error('no answer from test/windows/run.mjs');
const { code, text } = JSON.parse(answer);
process.stdout.write(text);
process.exitCode = code;
