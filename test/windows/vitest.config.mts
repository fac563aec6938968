import { relative } from 'node:path';
import { defineConfig, mergeConfig } from 'vitest/config';
import type { TestModule } from 'vitest/node';
import base from '../../vitest.config.mts';
import { whySkipped } from './skipped.mts';

/** Lists how many tests of each file were not run, and why, as skipped.json says it. */
const listSkipped = {
  onTestRunEnd(modules: readonly TestModule[]): void {
    console.log('\nNot run on Windows:');
    for (const { moduleId, children } of modules) {
      const file = relative('.', moduleId).replaceAll('\\', '/');
      const reasons = new Map<string, number>();
      for (const test of children.allTests('skipped')) {
        const result = test.result();
        const why = (result.state === 'skipped' && result.note) || whySkipped(file);
        reasons.set(why, (reasons.get(why) ?? 0) + 1);
      }
      for (const [why, count] of reasons) console.log(`  ${file}: ${count}, ${why}`);
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
