import { writeFileSync } from 'node:fs';
import { openStore } from '../../lib/xen/store/client.js';
import { adoptTests } from './adopt.js';
import { frameTests } from './frames.js';
import { type Boot, Dom0, runTests } from './harness.js';
import { kernelTests } from './kernel.js';
import { lifeTests } from './life.js';
import { neighbourTests } from './neighbours.js';
import { restartTests } from './restart.js';
import { systemdTests } from './systemd.js';
import { installBuilds } from './vifd.js';

/**
 * On the host, `main.js list [TEXT]` prints the tests as JSON. In dom0, `main.js run BOOT [TEXT] [--long]` runs those of a
 * boot and writes their results to /mnt/out/results.json. TEXT picks tests by name.
 */
const TESTS = [
  ...lifeTests,
  ...frameTests,
  ...restartTests,
  ...neighbourTests,
  ...kernelTests,
  ...adoptTests,
  ...systemdTests,
];

const [verb, ...rest] = process.argv.slice(2).filter((word) => word !== '--long');
const picked = (text = '') => TESTS.filter(({ name }) => name.includes(text));

if (verb === 'list') {
  process.stdout.write(JSON.stringify(picked(rest[0]).map(({ name, boot }) => ({ name, boot }))));
} else {
  const [boot, text] = rest as [Boot, string?];
  // The last boot's is installed as users install it.
  if (boot !== 'systemd') await installBuilds('/mnt/vifd');
  const store = await openStore();
  const dom0 = new Dom0(store, process.argv.includes('--long'));
  const tests = picked(text).filter((test) => test.boot === boot);
  await runTests(tests, dom0, (results) => writeFileSync('/mnt/out/results.json', JSON.stringify(results)));
  await dom0.vifd.stop('SIGTERM');
  await store[Symbol.asyncDispose]();
}
