import { readFileSync } from 'node:fs';
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

export default defineConfig({
  // As build.mjs defines it.
  define: { __VERSION__: JSON.stringify(version) },
  test: {
    include: ['test/**/*.test.ts'],
    // Most tests wait for a child process, so more of them than cores fit side by side.
    maxWorkers: 4,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    reporters: ['default', count],
  },
});
