import type { CommandModule } from 'yargs';
import { paintFor } from '../../terminal/colour.ts';
import { columns } from '../../terminal/wrap-text.ts';

/** `mcp-latchkey demo`: exit 0 when everything came out as the error contract says, else 1. */
export const demoCommand: CommandModule = {
  command: 'demo',
  describe: 'See the whole thing at work on this machine, failures included',
  async handler() {
    const { runDemo } = await import('../../demo/demo.ts');
    // Nobody reads on, as behind `| head`. The proxies end with their stdin.
    process.stdout.on('error', () => process.exit(1));
    const passed = await runDemo({
      write: (text) => process.stdout.write(text),
      paint: paintFor(process.stdout),
      columns: columns(),
    });
    if (!passed) process.exitCode = 1;
  },
};
