import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The examples import the package by its name, as a user's program does.
  resolve: {
    alias: [
      { find: /^vifd$/, replacement: fileURLToPath(new URL('./lib/index.ts', import.meta.url)) },
      {
        find: /^vifd\/model$/,
        replacement: fileURLToPath(new URL('./lib/testing/model/index.ts', import.meta.url)),
      },
      {
        find: /^vifd\/netfront$/,
        replacement: fileURLToPath(new URL('./lib/testing/netfront/index.ts', import.meta.url)),
      },
    ],
  },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Files run one after the other: several of them start processes and measure time, and there may be two cores.
    fileParallelism: false,
    testTimeout: 20_000,
    // Hooks start the same processes.
    hookTimeout: 20_000,
    // Of a failure in a network namespace of its own (test/own-network.ts) only this message is shown; by default, 40 characters of a value.
    chaiConfig: { truncateThreshold: 1000 },
    reporters: ['default', './test/reporter.ts'],
  },
});
