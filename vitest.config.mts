import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import type { TestModule } from 'vitest/node';

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

/** Ends the output with one line that CI can read, `N passed, N failed, N skipped`. */
const count = {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const states = modules.flatMap((module) =>
      [...module.children.allTests()].map((test) => test.result().state),
    );
    const of = (state: string) => states.filter((own) => own === state).length;
    console.log(`${of('passed')} passed, ${of('failed')} failed, ${of('skipped')} skipped`);
  },
};

// Node.js 20 reads it at each start, which takes 60 ms. The tests set it themselves where it counts.
delete process.env.NODE_EXTRA_CA_CERTS;

/** The tests that start programs and servers, and mark keys that nothing may write. */
const WITH_PROCESSES = ['test/e2e/**/*.test.ts', 'test/interop/**/*.test.ts'];

/** Those of them that promise how long a command takes, which other tests at the same time would change. */
const ALONE = ['test/e2e/demo.test.ts'];

export default defineConfig({
  // As build.mjs defines it.
  define: { __VERSION__: JSON.stringify(version) },
  test: {
    projects: [
      {
        extends: true,
        // To load src/ again for each file would take a third of their time.
        test: {
          name: 'functions',
          include: ['test/**/*.test.ts'],
          exclude: [...WITH_PROCESSES, '**/node_modules/**'],
          isolate: false,
          setupFiles: ['test/property-seed.ts'],
        },
      },
      {
        extends: true,
        test: {
          name: 'processes',
          include: WITH_PROCESSES,
          exclude: [...ALONE, '**/node_modules/**'],
        },
      },
      // After all others.
      { extends: true, test: { name: 'alone', include: ALONE, sequence: { groupOrder: 1 } } },
    ],
    // Kept from test to test: it saves each start of the program some 15 ms of CPU, and a command 30 to 90.
    env: { NODE_COMPILE_CACHE: join(homedir(), '.cache/mcp-latchkey/compile-cache') },
    restoreMocks: true,
    unstubEnvs: true,
    // Most tests wait for a child process, so more of them than cores fit side by side.
    maxWorkers: 4,
    // One second, as it is without, is less than a program takes to start on a busy computer.
    expect: { poll: { timeout: 20_000 } },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ['default', count],
  },
});
