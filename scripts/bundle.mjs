/**
 * Makes dist/run.cjs, one file of all that `vifd run` needs, and dist/run.cache, V8's compiled code of it: what
 * lib/vifd.cts starts from. After tsc.
 */
import { writeFileSync } from 'node:fs';
import { Module } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

const bundle = await rolldown({
  input: `${root}dist/cli/start.js`,
  platform: 'node',
  // What goes wrong here would go wrong at somebody's start.
  onLog: (_level, log) => {
    throw new Error(`the bundle: ${log.message}`);
  },
});
const { output } = await bundle.generate({ format: 'cjs', comments: false });
await bundle.close();
if (output.length !== 1) throw new Error(`the bundle has ${output.length} files`);

// Wrapped as Node wraps modules, here and not at each start. lib/vifd.cts reads it as latin1.
const ascii = output[0].code.replace(
  /[^\0-\x7f]/g,
  (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
);
const wrapped = Module.wrap(ascii);
const filename = `${root}dist/run.cjs`;
writeFileSync(filename, wrapped);

// All functions, not only those that run while the file is loaded. The flag is part of what the code is checked by.
setFlagsFromString('--no-lazy');
const script = new Script(wrapped, { filename });
setFlagsFromString('--lazy');
writeFileSync(`${root}dist/run.cache`, script.createCachedData());
