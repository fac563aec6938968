import type { CommandModule } from 'yargs';
import { Printer } from '../../terminal/printer.ts';

/** `mcp-latchkey demo`: exit 0 when every check passed, else 1. */
export const demoCommand: CommandModule = {
  command: 'demo',
  describe: 'Show a full session and every error, offline',
  async handler() {
    const { runDemo } = await import('../../demo/demo.ts');
    // The reader is gone, as in `| head`. The proxies end with their stdin.
    process.stdout.on('error', () => process.exit(1));
    const passed = await runDemo(new Printer(process.stdout));
    if (!passed) process.exitCode = 1;
  },
};
