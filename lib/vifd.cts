#!/usr/bin/env node
/**
 * The program `vifd`. `vifd run` starts from one file (scripts/bundle.mjs) with V8's code for it beside it; all else,
 * and `run` where there is no such file, goes through cli/main.js. CommonJS: Node's module loader costs 7 ms.
 */
import fs = require('node:fs');
import url = require('node:url');
import vm = require('node:vm');

interface Bundle {
  start(args: readonly string[]): boolean;
}

/**
 * dist/run.bundle: the source, V8's code of it, and the source's length in the last four bytes. One file, so that no update
 * can part them: V8 looks at little more than the length. Code of another V8 is not used, which is only slower.
 * @returns undefined when the bundle was not made.
 */
function load(): Bundle | undefined {
  const filename = `${__dirname}/run.bundle`;
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

const args = process.argv.slice(2);
const done = args[0] === 'run' && load()?.start(args);
if (!done) import(url.pathToFileURL(`${__dirname}/cli/main.js`).href);
