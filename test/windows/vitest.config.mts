import { defineConfig, mergeConfig } from 'vitest/config';
import base from '../../vitest.config.mts';

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
    },
  }),
);
