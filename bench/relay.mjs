/**
 * A TCP relay that puts distance between two ends, in a process of its own: every byte arrives
 * `oneWayMs` later, each way. Arguments: target port, oneWayMs. Reports {ready: {port}} over IPC.
 *
 * The kernel accepts a connection at once, so the client's connect() returns a round trip too early.
 * To make up for that, what the client sends in that first round trip is held until it is over:
 * the first byte reaches the server when it would have, had the SYN and its answer travelled too.
 */
import net from 'node:net';

const targetPort = Number(process.argv[2]);
const oneWayMs = Number(process.argv[3]);

/**
 * Passes bytes on, each chunk `oneWayMs` after it came but none before `notBefore`, in order.
 * @param {net.Socket} from @param {net.Socket} to
 * @param {number} notBefore in milliseconds, on performance.now()'s clock
 */
function carry(from, to, notBefore) {
  /** Timers of unlike length may fire out of order when due together; the queue may not.
   * @type {(() => void)[]} */
  const queue = [];
  /** @param {() => void} act */
  const later = (act) => {
    queue.push(act);
    const now = performance.now();
    setTimeout(() => queue.shift()?.(), Math.max(now, notBefore) + oneWayMs - now);
  };
  from.on('data', (chunk) => later(() => to.write(chunk)));
  from.on('end', () => later(() => to.end()));
  from.on('error', () => to.destroy());
  from.on('close', () => later(() => to.destroy()));
}

const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
  const opened = performance.now() + 2 * oneWayMs;
  const far = net.connect({
    port: targetPort,
    host: '127.0.0.1',
    allowHalfOpen: true,
    noDelay: true,
  });
  carry(near, far, opened);
  carry(far, near, 0);
});
process.on('disconnect', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  process.send?.({ ready: { port: address && typeof address === 'object' ? address.port : 0 } });
});
