#!/usr/bin/env node
/**
 * The program `vifd`. It starts from single files (scripts/bundle.mjs): one for `vifd run`, one for all else; where there is no such
 * file, from cli/main.js. V8's compiled code of them lies in the code cache (docs/daemon.md, "The code cache"), in a file for each
 * Node. CommonJS, and one file: Node's module loader costs 7 ms, and its `v8` and `crypto` 5 ms each.
 */
import fs = require('node:fs');
import url = require('node:url');
import vm = require('node:vm');

import type { CodeCache, CodeProblem } from './host/code-cache.js' with { 'resolution-mode': 'import' };

/** `more`: of run.bundle it loads the rehearsal, of verbs.bundle it returns the code of run.bundle. */
interface Bundle {
  start(args: readonly string[], code?: CodeCache, more?: () => unknown): unknown;
}

interface Opened {
  readonly code: CodeCache;
  /** Runs the bundle. @returns what it exports. */
  load(): Bundle;
}

/** dist/NAME.bundle ends with so many hexadecimal digits of the hash of what stands before them. */
const ID_LENGTH = 16;
/** A file of the cache begins with two words, the length of V8's code and its `checksum`; the code is aligned, else V8 copies it. */
const HEADER_BYTES = 8;
const FILE_BYTES_MAX = 16 << 20;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = fs.constants;

/** @returns undefined when the bundle was not made. */
function open(name: string): Opened | undefined {
  const filename = `${__dirname}/${name}.bundle`;
  let source: string;
  try {
    source = fs.readFileSync(filename, 'latin1');
  } catch {
    return undefined;
  }
  const directory = process.env.VIFD_CODE_CACHE || (isRoot() ? '/var/cache/vifd' : undefined);
  const file = directory && `${directory}/${name}-${fittingName(source.slice(-ID_LENGTH))}.code`;
  const found = codeIn(directory, file);
  const script = new vm.Script(source, { filename, ...(found.data && { cachedData: found.data }) });
  const rejected: Found = {
    state: 'unsuitable',
    problem: problemOf(`V8 rejects ${file}`, 'restart vifd, which replaces it'),
  };
  const { state, problem } = script.cachedDataRejected === true ? rejected : found;
  return {
    code: {
      file,
      state,
      ...(problem && { problem }),
      content: () => contentOf(script.createCachedData()),
      unsafe: () => unsafeIn(directory),
    },
    load() {
      const module = { exports: {} as Bundle };
      script.runInThisContext()(module.exports, require, module, filename, __dirname);
      return module.exports;
    },
  };
}

/**
 * V8 checks the version and the flags that its code is made for. It does not see that Node was built anew from the same version
 * with another configuration: hence the program's size and time. Options have files of their own, else two processes with different
 * ones would replace each other's in turns.
 */
function fittingName(id: string): string {
  const program = statsOf(process.execPath);
  const build = [program?.size, program?.mtimeMs, process.env.NODE_OPTIONS ?? '', ...process.execArgv].join(
    '\n',
  );
  // FNV-1a.
  let hash = 0x811c9dc5;
  for (let at = 0; at < build.length; at++) hash = Math.imul(hash ^ build.charCodeAt(at), 0x01000193);
  return `${process.versions.v8}-${process.arch}-${id}-${(hash >>> 0).toString(16)}`;
}

/** @returns undefined for a file that was deleted meanwhile, or lies where this user may not look. */
function statsOf(file: string): fs.Stats | undefined {
  try {
    return fs.statSync(file);
  } catch {
    return undefined;
  }
}

interface Found {
  readonly state: CodeCache['state'];
  readonly problem?: CodeProblem;
  readonly data?: Buffer;
}

/**
 * V8 runs the code without any proof of who made it, so root's must come from root alone, and another user's from root or from that
 * user: the file, its directory and all directories above are examined at each start, which takes 0.1 ms.
 */
function codeIn(directory: string | undefined, file: string | undefined): Found {
  const unsafe = unsafeIn(directory);
  if (unsafe !== undefined) return { state: 'unsafe', problem: unsafe };
  let descriptor: number | undefined;
  try {
    descriptor = fs.openSync(file!, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    return contentsOf(descriptor, file!);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { state: 'absent' };
    return unsuitable(file!, code === 'ELOOP' ? 'is a link' : `cannot be read (${code})`);
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function contentsOf(descriptor: number, file: string): Found {
  const stats = fs.fstatSync(descriptor);
  if (!stats.isFile()) return unsuitable(file, 'is no file');
  if (!isTrusted(stats)) return unsuitable(file, `belongs to user ${stats.uid}`);
  if ((stats.mode & WRITABLE_BY_OTHERS) !== 0) return unsuitable(file, 'can be written by others');
  if (stats.size < HEADER_BYTES || stats.size > FILE_BYTES_MAX) return unsuitable(file, 'is damaged');
  const bytes = Buffer.allocUnsafeSlow(stats.size);
  const data = bytes.subarray(HEADER_BYTES);
  const whole =
    fs.readSync(descriptor, bytes, 0, stats.size, 0) === stats.size &&
    bytes.readUInt32LE(0) === data.length &&
    bytes.readInt32LE(4) === checksum(data);
  return whole ? { state: 'used', data } : unsuitable(file, 'is damaged');
}

function contentOf(data: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(data.length, 0);
  header.writeInt32LE(checksum(data), 4);
  return Buffer.concat([header, data]);
}

/**
 * Of one word in 1 KiB. Code from which a disk has lost a block kills V8, and so each vifd that starts; V8 itself checks the length
 * alone. A checksum of all words would take longer than the code saves.
 */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at + 4 <= data.length; at += 1024) sum = (Math.imul(sum, 31) + data.readInt32LE(at)) | 0;
  return sum;
}

/** @returns why others could write into the directory. A directory that is missing is safe. */
function unsafeIn(directory: string | undefined): CodeProblem | undefined {
  if (directory === undefined)
    return problemOf('only root has one', 'run as root, or name a directory of your own by VIFD_CODE_CACHE');
  if (!/^(\/(?!\.\.?(\/|$))[^/]+)+$/.test(directory))
    return problemOf(`${directory} is no plain absolute path`, 'name another by VIFD_CODE_CACHE');
  for (let end = 0; end !== -1; ) {
    const next = directory.indexOf('/', end + 1);
    const path = end === 0 ? '/' : directory.slice(0, end);
    const problem = unsafeAt(path, false);
    if (problem !== undefined) return problem;
    end = next;
  }
  return unsafeAt(directory, true);
}

function unsafeAt(path: string, isLast: boolean): CodeProblem | undefined {
  let stats: fs.Stats | undefined;
  try {
    stats = fs.lstatSync(path, { throwIfNoEntry: false });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return problemOf(`${path} cannot be examined (${code})`, 'name another by VIFD_CODE_CACHE');
  }
  if (stats === undefined) return undefined;
  if (!stats.isDirectory())
    return problemOf(
      `${path} is ${stats.isSymbolicLink() ? 'a link' : 'no directory'}`,
      'name another by VIFD_CODE_CACHE',
    );
  if (!isTrusted(stats)) return problemOf(`${path} belongs to user ${stats.uid}`, `\`chown root ${path}\``);
  // Below a directory that is sticky, as /tmp is, others can neither delete nor rename it.
  const open = (stats.mode & WRITABLE_BY_OTHERS) !== 0 && (isLast || (stats.mode & STICKY) === 0);
  return open ? problemOf(`${path} can be written by others`, `\`chmod go-w ${path}\``) : undefined;
}

function isRoot(): boolean {
  return process.geteuid?.() === 0;
}

function isTrusted({ uid }: fs.Stats): boolean {
  return uid === 0 || uid === process.geteuid?.();
}

function problemOf(found: string, remedy: string): CodeProblem {
  return { found, remedy };
}

function unsuitable(file: string, why: string): Found {
  return { state: 'unsuitable', problem: problemOf(`${file} ${why}`, 'restart vifd, which replaces it') };
}

async function loadModules(): Promise<Bundle> {
  return await import(url.pathToFileURL(`${__dirname}/cli/main.js`).href);
}

function main(): void {
  const args = process.argv.slice(2);
  const serves = args[0] === 'run' || args[0] === 'worker';
  // A terminal that closes is no reason to leave guests without their network.
  if (serves) process.on('SIGHUP', () => {});
  const run = serves ? open('run') : undefined;
  if (run?.load().start(args, run.code, () => open('rehearsal')?.load())) return;
  const verbs = open('verbs');
  if (verbs !== undefined) verbs.load().start(args, verbs.code, () => open('run')?.code);
  else void loadModules().then((modules) => modules.start(args));
}

// Not for scripts and tests, which call `open`.
if (require.main === module) {
  // Node's own handler opens a debugger, through which any process that may send a signal can run code as root. So this comes first: a signal
  // before this line still opens the debugger, if Node runs without --disable-sigusr1.
  process.on('SIGUSR1', () => {});
  main();
}

export = { open };
