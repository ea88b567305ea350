import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The examples import the package by its name, as a user's program does.
  resolve: { alias: { vifd: fileURLToPath(new URL('./lib/index.ts', import.meta.url)) } },
  test: { include: ['test/**/*.test.ts'], pool: 'forks', testTimeout: 20_000 },
});
