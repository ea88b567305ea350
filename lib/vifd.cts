#!/usr/bin/env node
/**
 * The program `vifd`. It starts from single files (scripts/bundle.mjs) with V8's code for them beside them: one for
 * `vifd run`, one for all else; where there is no such file, from cli/main.js. CommonJS: Node's module loader costs 7 ms.
 */
import fs = require('node:fs');
import url = require('node:url');
import vm = require('node:vm');

interface Bundle {
  start(args: readonly string[]): unknown;
}

/**
 * dist/NAME.bundle: the source, V8's code of it, and the source's length in the last four bytes. One file, so that no update
 * can part them: V8 looks at little more than the length. Code of another V8 is not used, which is only slower.
 * @returns undefined when the bundle was not made.
 */
function load(name: string): Bundle | undefined {
  const filename = `${__dirname}/${name}.bundle`;
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(filename);
  } catch {
    return undefined;
  }
  const end = bytes.length - 4;
  const length = bytes.readUInt32LE(end);
  const script = new vm.Script(bytes.toString('latin1', 0, length), {
    filename,
    cachedData: bytes.subarray(length, end),
  });
  const module = { exports: {} as Bundle };
  script.runInThisContext()(module.exports, require, module, filename, __dirname);
  return module.exports;
}

async function loadModules(): Promise<Bundle> {
  return await import(url.pathToFileURL(`${__dirname}/cli/main.js`).href);
}

const args = process.argv.slice(2);
// Node's own handler opens a debugger, through which whoever may send a signal runs code as root. First of all: what comes before
// this line still opens it, on a Node without --disable-sigusr1.
process.on('SIGUSR1', () => {});
// A terminal that closes is no reason to leave guests without their network.
if (args[0] === 'run') process.on('SIGHUP', () => {});
const done = args[0] === 'run' && load('run')?.start(args);
if (!done) {
  const verbs = load('verbs');
  if (verbs !== undefined) verbs.start(args);
  else void loadModules().then((modules) => modules.start(args));
}
