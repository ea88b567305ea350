/**
 * Makes dist/run.bundle and dist/verbs.bundle, each one file of all that `vifd run` or the other verbs need, with V8's
 * compiled code of it: lib/vifd.cts starts from it, and documents its layout. Run it after tsc.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { Module } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';
import { rolldown } from 'rolldown';

const root = fileURLToPath(new URL('..', import.meta.url));

await make('run', 'start.js');
await make('verbs', 'main.js');

async function make(name, entry) {
  const file = `${root}dist/${name}.bundle`;
  const source = wrapped(await codeOf(`${root}dist/cli/${entry}`));
  const script = compiled(source, file);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(source.length);
  // A vifd that starts meanwhile finds the old one or the new one.
  writeFileSync(
    `${file}.new`,
    Buffer.concat([Buffer.from(source, 'latin1'), script.createCachedData(), length]),
  );
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
  const whole = Module.wrap(ascii);
  // V8 copies code that is not aligned.
  return whole.padEnd(Math.ceil(whole.length / 8) * 8, '\n');
}

/** All functions, not only those that run while the file is loaded. The flag is part of what the code is checked by. */
function compiled(source, filename) {
  setFlagsFromString('--no-lazy');
  const script = new Script(source, { filename });
  setFlagsFromString('--lazy');
  return script;
}
