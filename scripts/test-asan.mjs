// Runs the tests that reach native code on an addon built with AddressSanitizer and UndefinedBehaviorSanitizer.
import { execFileSync, spawnSync } from 'node:child_process';

const run = (command, args, env = {}) =>
  spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status ?? 1;
const runtime = (library) =>
  execFileSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim();

const built = run('npm', ['run', '--silent', 'build:asan']);
if (built !== 0) process.exit(built);
process.exitCode = run(
  'node_modules/.bin/vitest',
  [
    ...['run', 'test/native', 'test/xen/native.test.ts', 'test/xen/lasting-events.test.ts', 'test/netback'],
    ...['test/workers/link.test.ts', 'test/workers/worker-socket.test.ts'],
  ],
  {
    LD_PRELOAD: `${runtime('libasan.so')}:${runtime('libubsan.so')}`,
    // Node itself does not free all memory before it ends.
    ASAN_OPTIONS: 'detect_leaks=0',
    UBSAN_OPTIONS: 'halt_on_error=1,print_stacktrace=1',
    VIFD_ADDON: 'build/asan/vifd.node',
  },
);
