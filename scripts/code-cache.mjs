/**
 * Writes V8's compiled code of all bundles, for the Node that runs this, into the code cache, as root; lib/vifd.cts has the rules. npm
 * runs it when it installs the package, and scripts/bundle.mjs at a build. Does nothing before a build. It fails no installation: where
 * it cannot write, `vifd check` tells why.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));

if (existsSync(`${dist}run.bundle`)) {
  const { storeCode, withAllFunctions } = await import(`${dist}host/code-cache.js`);
  const { open } = createRequire(import.meta.url)(`${dist}vifd.cjs`);
  for (const name of ['run', 'verbs', 'rehearsal']) {
    const { code } = withAllFunctions(() => open(name));
    const failure = await storeCode(code);
    if (failure !== undefined) console.error(`vifd: ${code.file} could not be written (${failure}).`);
  }
}
