import { relative } from 'node:path';
import { defineConfig, mergeConfig } from 'vitest/config';
import type { TestModule } from 'vitest/node';
import base from '../../vitest.config.mts';

/** Lists how many tests of each file were not run, and why, where skipped.json says it. */
const listSkipped = {
  onTestRunEnd(modules: readonly TestModule[]): void {
    console.log('\nNot run on Windows:');
    for (const { moduleId, children } of modules) {
      const notes = [...children.allTests('skipped')].map((test) => {
        const result = test.result();
        return (result.state === 'skipped' && result.note) || 'skipped by the test itself';
      });
      for (const note of new Set(notes)) {
        const count = notes.filter((own) => own === note).length;
        console.log(`  ${relative('.', moduleId).replaceAll('\\', '/')}: ${count}, ${note}`);
      }
    }
    console.log();
  },
};

export default mergeConfig(
  base,
  defineConfig({
    test: {
      root: '.',
      exclude: ['test/interop/**', 'node_modules/**'],
      setupFiles: ['test/windows/skip-listed.ts'],
      maxWorkers: 2,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      reporters: [listSkipped],
    },
  }),
);
