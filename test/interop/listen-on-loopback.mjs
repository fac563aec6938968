// Preloaded with --import into a server that takes its port from the environment. It then listens on
// a port of 127.0.0.1 that the system chooses, and says which on stderr: no port is guessed, so none
// can be taken by another process meanwhile. It ends with its stdin, so that it cannot outlive whoever
// started it.
import { Server } from 'node:net';

const { listen } = Server.prototype;
Server.prototype.listen = function (_port, ...rest) {
  const onListening = rest.find((argument) => typeof argument === 'function');
  return listen.call(this, 0, '127.0.0.1', () => {
    process.stderr.write(`\nlistening on 127.0.0.1:${this.address().port}\n`);
    onListening?.();
  });
};

process.stdin.on('end', () => process.exit()).resume();
