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

/** @returns undefined when the bundle was not made. Code that another version of V8 made is not used, only slower. */
function load(): Bundle | undefined {
  const filename = `${__dirname}/run.cjs`;
  let source: string;
  let cachedData: Buffer | undefined;
  try {
    // The bundle is ASCII, and latin1 needs no decoding.
    source = fs.readFileSync(filename, 'latin1');
    cachedData = fs.readFileSync(`${__dirname}/run.cache`);
  } catch {
    return undefined;
  }
  const script = new vm.Script(source, { filename, cachedData });
  const module = { exports: {} as Bundle };
  script.runInThisContext()(module.exports, require, module, filename, __dirname);
  return module.exports;
}

const args = process.argv.slice(2);
const done = args[0] === 'run' && load()?.start(args);
if (!done) import(url.pathToFileURL(`${__dirname}/cli/main.js`).href);
