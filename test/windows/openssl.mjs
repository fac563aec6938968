// `node openssl.mjs WORDS` in the place of `openssl WORDS` under Wine: run.mjs runs it outside.
import { connect } from 'node:net';

const socket = connect({ port: Number(process.env.OPENSSL_PORT), host: '127.0.0.1' });
socket.end(JSON.stringify(process.argv.slice(2)));
const complaint = Buffer.concat(await socket.toArray()).toString();
if (complaint !== '') throw new Error(complaint);
