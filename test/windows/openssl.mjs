// `node openssl.mjs WORDS` in the place of `openssl WORDS` under Wine: run.mjs runs it outside.
import { connect } from 'node:net';

const socket = connect({ port: Number(process.env.OPENSSL_PORT), host: '127.0.0.1' });
// Not ended yet: under Wine, a socket that is closed for writing may seem closed for reading too.
socket.write(`${JSON.stringify(process.argv.slice(2))}\n`);
const answer = Buffer.concat(await socket.toArray()).toString();
if (answer !== 'done') throw new Error(answer || 'no answer from test/windows/run.mjs');
