/**
 * Makes dist/run.bundle and dist/verbs.bundle, each one file of all that `vifd run` or the other verbs need: lib/vifd.cts starts from it;
 * and dist/rehearsal.bundle, with which a worker warms up. Then has V8's compiled code of them written into the code cache. Run it after tsc.
 */
import { createHash } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { Module } from 'node:module';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

/** As lib/vifd.cts has it. */
const ID_LENGTH = 16;

await make('run', 'cli/start.js');
await make('verbs', 'cli/main.js');
await make('rehearsal', 'testing/rehearsal.js');
await import('./code-cache.mjs');

async function make(name, entry) {
  const file = `${root}dist/${name}.bundle`;
  const source = `${wrapped(await codeOf(`${root}dist/${entry}`))}\n//`;
  const id = createHash('sha256').update(source).digest('hex').slice(0, ID_LENGTH);
  // A vifd that starts meanwhile finds the old one or the new one.
  writeFileSync(`${file}.new`, `${source}${id}`, 'latin1');
  renameSync(`${file}.new`, file);
}

async function codeOf(input) {
  const bundle = await rolldown({
    input,
    platform: 'node',
    // A warning here would be an error when a user starts vifd.
    onLog: (_level, log) => {
      throw new Error(`the bundle: ${log.message}`);
    },
  });
  const { output } = await bundle.generate({ format: 'cjs', comments: false });
  await bundle.close();
  if (output.length !== 1) throw new Error(`the bundle of ${input} has ${output.length} files`);
  return output[0].code;
}

/** Wrapped as Node wraps modules, here and not at each start. lib/vifd.cts reads it as latin1. */
function wrapped(code) {
  const ascii = code.replace(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return Module.wrap(ascii);
}
