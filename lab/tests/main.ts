import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { openStore } from '../../lib/xen/store/client.js';
import { installUnit, UnitVifd } from '../drive/unit.js';
import { installBuilds, PlainVifd } from '../drive/vifd.js';
import { TESTS } from './all.js';
import { type Boot, Dom0, runTests, SECONDS } from './harness.js';

/**
 * On the host, `main.js list [TEXT]` prints those that have TEXT in their names as JSON. In dom0,
 * `main.js run BOOT [--long] [--seconds N] NAME...` runs those that end within N seconds and writes their results to
 * /mnt/out/results.json.
 */
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { long: { type: 'boolean', default: false }, seconds: { type: 'string', default: 'Infinity' } },
});
const endMs = performance.now() + Number(flags.seconds) * 1000;
const [verb, ...rest] = positionals;

if (verb === 'list') {
  const [text = ''] = rest;
  const named = TESTS.filter(({ name }) => name.includes(text));
  process.stdout.write(
    JSON.stringify(
      named.map(({ name, boot, seconds = SECONDS, core = false }) => ({ name, boot, seconds, core })),
    ),
  );
} else {
  const [boot, ...names] = rest as [Boot, ...string[]];
  if (boot === 'alone') await installBuilds('/mnt/vifd');
  // In the other boots a test does it, by the README's steps.
  else if (boot === 'beside' || boot === 'speed') await installUnit();
  const store = await openStore();
  const dom0 = new Dom0(store, boot === 'alone' ? new PlainVifd() : new UnitVifd(), flags.long);
  const tests = TESTS.filter((test) => test.boot === boot && names.includes(test.name));
  await runTests(tests, dom0, endMs, (results) =>
    writeFileSync('/mnt/out/results.json', JSON.stringify(results)),
  );
  await dom0.vifd.stop('SIGTERM');
  await store[Symbol.asyncDispose]();
  // Processes of a failed test must not delay the end of the boot.
  process.exit();
}
