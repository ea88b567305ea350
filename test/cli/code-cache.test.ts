import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { codeCacheCheck } from '../../lib/cli/checks/code-cache.js';
import { storeCodeLater } from '../../lib/daemon/code-later.js';
import type { CodeCache } from '../../lib/host/code-cache.js';
import type { VifState } from '../../lib/netback/vif-info.js';
import type { Clock } from '../../lib/xen/seam.js';

const SOMEONE = 12_345;
const HEADER_BYTES = 8;
const FIXTURE = resolve('test/cli/open-bundle.cjs');
const missing = ['dist/vifd.cjs', 'dist/run.bundle'].find((file) => !existsSync(file));
const isRoot = process.getuid?.() === 0;
const canMount = isRoot && spawnSync('unshare', ['-m', 'true']).status === 0;

interface Opened extends Pick<CodeCache, 'file' | 'state'> {
  readonly found?: string;
  readonly remedy?: string;
  readonly failure?: string;
  readonly exported: string[];
}

/** @returns a file of the cache as another version of V8 would have made it. */
function ofAnotherV8(file: Buffer): Buffer {
  const other = Buffer.from(file);
  // V8's header: a magic number, then the hash of its version.
  other.writeUInt32LE((file.readUInt32LE(HEADER_BYTES + 4) ^ 1) >>> 0, HEADER_BYTES + 4);
  return other;
}

describe.skipIf(missing !== undefined)(`the code cache${missing ? ` (skipped: no ${missing})` : ''}`, () => {
  let base: string;
  let cache: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'vifd-code-'));
    chmodSync(base, 0o755);
    cache = join(base, 'cache');
  });
  afterEach(() => rmSync(base, { recursive: true }));

  const environment = (more: NodeJS.ProcessEnv = {}) => {
    const { NODE_OPTIONS: _, ...env } = process.env;
    return { ...env, VIFD_CODE_CACHE: cache, ...more };
  };
  const command = (step: string, ...more: string[]) => [
    FIXTURE,
    resolve('dist/vifd.cjs'),
    'run',
    step,
    ...more,
  ];
  const parsed = (output: string, errors: string): Opened => {
    if (output === '') throw new Error(errors);
    return JSON.parse(output);
  };
  const open = (step = 'open', env: NodeJS.ProcessEnv = {}): Opened => {
    const { stdout, stderr } = spawnSync(process.execPath, command(step), {
      encoding: 'utf8',
      env: environment(env),
    });
    return parsed(stdout, stderr);
  };
  const store = (env: NodeJS.ProcessEnv = {}) => open('store', env);
  /** @returns the file of a cache that was written. */
  const stored = (): string => {
    expect(store()).toMatchObject({ state: 'absent' });
    const [name] = readdirSync(cache);
    return join(cache, name!);
  };

  describe('of a Node', () => {
    it('is absent before the first start, used by the next ones, and readable for all', () => {
      const first = store();
      expect(first).toMatchObject({ state: 'absent', exported: ['start'] });
      expect(readdirSync(cache)).toEqual([first.file?.split('/').at(-1)]);
      expect(statSync(first.file!).mode & 0o777).toBe(0o644);
      expect(statSync(cache).mode & 0o022).toBe(0);
      expect(open()).toMatchObject({ file: first.file, state: 'used', exported: ['start'] });
    });

    it('is used by the next start, although `vifd run` serializes it with other options of V8', () => {
      expect(open('store-later')).toMatchObject({ state: 'absent' });
      expect(open()).toMatchObject({ state: 'used' });
    });

    it('has the version of V8, the architecture and the bundle in its name', () => {
      const id = readFileSync('dist/run.bundle', 'latin1').slice(-16);
      expect(id).toMatch(/^[0-9a-f]{16}$/);
      expect(open().file).toContain(`${cache}/run-${process.versions.v8}-${process.arch}-${id}-`);
    });

    it('is no use to a Node with other options, which has a file of its own', () => {
      const plain = store();
      const other = store({ NODE_OPTIONS: '--max-old-space-size=300' });
      expect(other).toMatchObject({ state: 'absent' });
      expect(other.file).not.toBe(plain.file);
      expect(open()).toMatchObject({ state: 'used' });
      expect(open('open', { NODE_OPTIONS: '--max-old-space-size=300' })).toMatchObject({ state: 'used' });
    });

    it('is no use to a Node that was built anew, even from the same version', () => {
      const node = join(base, 'node');
      copyFileSync(process.execPath, node);
      const version = () => {
        const { stdout, stderr } = spawnSync(node, command('store'), {
          encoding: 'utf8',
          env: environment(),
        });
        return parsed(stdout, stderr);
      };
      expect(version()).toMatchObject({ state: 'absent' });
      expect(version()).toMatchObject({ state: 'used' });
      utimesSync(node, 1, 1);
      expect(version()).toMatchObject({ state: 'absent' });
    });
  });

  describe('that cannot be used', () => {
    const isReplaced = (found: RegExp) => {
      expect(open()).toMatchObject({
        state: 'unsuitable',
        found: expect.stringMatching(found),
        remedy: 'restart vifd, which replaces it',
        exported: ['start'],
      });
      expect(store()).toMatchObject({ state: 'unsuitable' });
      expect(open()).toMatchObject({ state: 'used' });
    };

    it('since another V8 made it, is noticed and replaced', () => {
      const file = stored();
      writeFileSync(file, ofAnotherV8(readFileSync(file)));
      isReplaced(/^V8 rejects \/.*\.code$/);
    });

    it.each([0, 7, 100, 100_000])('since only %i bytes of it are left', (length) => {
      const file = stored();
      writeFileSync(file, readFileSync(file).subarray(0, length));
      isReplaced(/ is damaged$/);
    });

    it('since a block of the disk was lost, which would kill V8', () => {
      const file = stored();
      const bytes = readFileSync(file);
      bytes.fill(0, 8192, 12_288);
      writeFileSync(file, bytes);
      isReplaced(/ is damaged$/);
    });

    it('since it is a link', () => {
      const file = stored();
      renameSync(file, join(base, 'elsewhere'));
      symlinkSync(join(base, 'elsewhere'), file);
      isReplaced(/ is a link$/);
      expect(readdirSync(base)).toContain('elsewhere');
    });

    it('since others can write it', () => {
      chmodSync(stored(), 0o666);
      isReplaced(/ can be written by others$/);
    });

    it.skipIf(!isRoot)('since it is of another user', () => {
      chownSync(stored(), SOMEONE, SOMEONE);
      isReplaced(/ belongs to user 12345$/);
    });

    it('since a folder stands in its place, is not replaced, and vifd starts all the same', () => {
      const { file } = open();
      mkdirSync(file!, { recursive: true });
      expect(store()).toMatchObject({ state: 'unsuitable', failure: 'EISDIR', exported: ['start'] });
      expect(readdirSync(cache)).toHaveLength(1);
    });
  });

  describe('in a directory that others could change', () => {
    const isUnsafe = (found: string, remedy: string) => {
      const content = existsSync(cache) ? readdirSync(cache) : [];
      expect(store()).toMatchObject({ state: 'unsafe', found, remedy, exported: ['start'] });
      expect(existsSync(cache) ? readdirSync(cache) : []).toEqual(content);
    };

    it('is neither read nor written: one that is open to others', () => {
      stored();
      chmodSync(cache, 0o777);
      isUnsafe(`${cache} can be written by others`, `\`chmod go-w ${cache}\``);
      chmodSync(cache, 0o1777);
      isUnsafe(`${cache} can be written by others`, `\`chmod go-w ${cache}\``);
      chmodSync(cache, 0o755);
      expect(open()).toMatchObject({ state: 'used' });
    });

    it('is neither read nor written: one below an open folder, unless that is sticky as /tmp is', () => {
      chmodSync(base, 0o777);
      isUnsafe(`${base} can be written by others`, `\`chmod go-w ${base}\``);
      expect(existsSync(cache)).toBe(false);
      chmodSync(base, 0o1777);
      expect(store()).toMatchObject({ state: 'absent' });
      expect(open()).toMatchObject({ state: 'used' });
    });

    it.skipIf(!isRoot)('is neither read nor written: one of another user, or below one', () => {
      stored();
      chownSync(cache, SOMEONE, SOMEONE);
      isUnsafe(`${cache} belongs to user ${SOMEONE}`, `\`chown root ${cache}\``);
      chownSync(cache, 0, 0);
      chownSync(base, SOMEONE, SOMEONE);
      isUnsafe(`${base} belongs to user ${SOMEONE}`, `\`chown root ${base}\``);
    });

    it('is neither read nor written: a link, or a path that is not absolute and plain', () => {
      stored();
      renameSync(cache, join(base, 'real'));
      symlinkSync(join(base, 'real'), cache);
      isUnsafe(`${cache} is a link`, 'name another by VIFD_CODE_CACHE');
      for (const path of ['cache', `${base}/real/`, `${base}/../x`, `${base}//real`])
        expect(open('open', { VIFD_CODE_CACHE: path })).toMatchObject({
          state: 'unsafe',
          found: `${path} is no plain absolute path`,
        });
      expect(open('open', { VIFD_CODE_CACHE: '/dev/null' })).toMatchObject({
        state: 'unsafe',
        found: '/dev/null is no directory',
      });
    });
  });

  describe.skipIf(!isRoot)('of a user who is not root', () => {
    const openAs = (uid: number, step: string, env: NodeJS.ProcessEnv = {}): Opened => {
      // Wherever the checkout lies, that user can read this one.
      const program = join(base, 'vifd.cjs');
      for (const file of ['vifd.cjs', 'run.bundle']) copyFileSync(`dist/${file}`, join(base, file));
      const args = [FIXTURE, program, 'run', step, `${uid}`];
      const { stdout, stderr } = spawnSync(process.execPath, args, {
        encoding: 'utf8',
        env: environment(env),
      });
      return parsed(stdout, stderr);
    };

    it('is there only if the user names a directory', () => {
      expect(openAs(SOMEONE, 'open', { VIFD_CODE_CACHE: '' })).toMatchObject({
        state: 'unsafe',
        found: 'only root has one',
        exported: ['start'],
      });
    });

    it("lies in a directory of that user's own", () => {
      mkdirSync(cache, { mode: 0o700 });
      chownSync(cache, SOMEONE, SOMEONE);
      expect(openAs(SOMEONE, 'store')).toMatchObject({ state: 'absent' });
      expect(openAs(SOMEONE, 'open')).toMatchObject({ state: 'used' });
      chownSync(cache, SOMEONE + 1, SOMEONE);
      expect(openAs(SOMEONE, 'open')).toMatchObject({ state: 'unsafe' });
    });

    it("may be root's", () => {
      mkdirSync(cache, { mode: 0o700 });
      chownSync(cache, SOMEONE, SOMEONE);
      const { file } = openAs(SOMEONE, 'store');
      for (const path of [cache, file!]) chownSync(path, 0, 0);
      chmodSync(cache, 0o755);
      expect(openAs(SOMEONE, 'open')).toMatchObject({ state: 'used' });
      chownSync(file!, SOMEONE + 1, SOMEONE);
      expect(openAs(SOMEONE, 'open')).toMatchObject({ state: 'unsuitable' });
    });
  });

  describe('that several processes write', () => {
    it('is whole at each moment, and nothing else is left', async () => {
      const children: ChildProcess[] = Array.from({ length: 5 }, () =>
        spawn(process.execPath, command('store'), {
          env: environment(),
          stdio: ['ignore', 'pipe', 'inherit'],
        }),
      );
      const outputs = await Promise.all(
        children.map(async (child) => {
          const output = text(child.stdout!);
          await once(child, 'exit');
          return parsed(await output, '');
        }),
      );
      expect(outputs.filter(({ failure }) => failure !== undefined)).toEqual([]);
      expect(readdirSync(cache)).toEqual([outputs[0]!.file!.split('/').at(-1)]);
      expect(open()).toMatchObject({ state: 'used' });
    });

    it('has at most eight files of a bundle, and forgets what a killed writer left', () => {
      mkdirSync(cache);
      const put = (name: string, secondsAgo: number) => {
        const atSeconds = Date.now() / 1000 - secondsAgo;
        writeFileSync(join(cache, name), '');
        utimesSync(join(cache, name), atSeconds, atSeconds);
      };
      for (let age = 1; age <= 10; age++) put(`run-v${age}.code`, 100 * age);
      put('run-a.code.1-2.new', 120);
      put('run-b.code.1-3.new', 0);
      put('verbs-v.code', 10_000);
      const { file } = store();
      const own = file!.split('/').at(-1)!;
      const left = ['run-b.code.1-3.new', 'verbs-v.code', own];
      for (let age = 1; age <= 7; age++) left.push(`run-v${age}.code`);
      expect(readdirSync(cache).sort()).toEqual(left.sort());
    });
  });

  describe.skipIf(!canMount)('that has no room', () => {
    const storeOn = (options: string): Opened => {
      mkdirSync(cache);
      const script = `mount -t tmpfs -o ${options} tmpfs "$0" && "$@"; code=$?; ls "$0" >&2; exit $code`;
      const { stdout, stderr } = spawnSync(
        'unshare',
        ['-m', 'sh', '-c', script, cache, process.execPath, ...command('store')],
        { encoding: 'utf8', env: environment() },
      );
      expect(stderr).toBe('');
      return parsed(stdout, stderr);
    };

    it('is not written, and vifd starts all the same: a file system that is read-only', () => {
      expect(storeOn('mode=755,ro')).toMatchObject({
        state: 'absent',
        failure: 'EROFS',
        exported: ['start'],
      });
    });

    it('is not written, and leaves nothing: a file system that is full', () => {
      expect(storeOn('mode=755,size=64k')).toMatchObject({ state: 'absent', failure: 'ENOSPC' });
    });
  });

  describe('is reported by `vifd check --json`', () => {
    const check = () => {
      const args = ['dist/vifd.cjs', 'check', '--libraries', '/nowhere', '--json'];
      const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env: environment() });
      expect(stderr).toBe('');
      return JSON.parse(stdout).checks.find(({ name }: { name: string }) => name === 'code cache');
    };

    it('as missing on a Node on which vifd never ran; that verb, as each that succeeds, writes both files', () => {
      expect(check()).toMatchObject({
        state: 'ok',
        found: expect.stringMatching(/^none for Node v\d+.* yet/),
      });
      const names = [expect.stringMatching(/^run-.*\.code$/), expect.stringMatching(/^verbs-.*\.code$/)];
      expect(readdirSync(cache).sort()).toEqual(names);
      const { file } = open();
      expect(check()).toEqual({ name: 'code cache', state: 'ok', found: file });
    });

    it('as rejected by V8, where that verb replaces both files', () => {
      check();
      const files = readdirSync(cache).map((name) => join(cache, name));
      for (const file of files) writeFileSync(file, ofAnotherV8(readFileSync(file)));
      expect(check()).toMatchObject({
        state: 'warn',
        found: expect.stringMatching(/: V8 rejects .*run-.*\.code$/),
        remedy: 'restart vifd, which replaces it',
      });
      expect(open()).toMatchObject({ state: 'used' });
      expect(check()).toMatchObject({ state: 'ok' });
    });

    it('and what that verb writes of `vifd run` has all functions, as what the package writes when it is installed', () => {
      check();
      const bytes = () => statSync(open().file!).size;
      const written = bytes();
      rmSync(cache, { recursive: true });
      spawnSync(process.execPath, ['scripts/code-cache.mjs'], { env: environment() });
      // Without functions that did not run it is a third.
      expect(written).toBeGreaterThan(0.9 * bytes());
    });

    it('with the reason why it is not used, and what to do', () => {
      const file = stored();
      chmodSync(file, 0o666);
      expect(check()).toEqual({
        name: 'code cache',
        state: 'warn',
        found: `not used, so starts take longer: ${file} can be written by others`,
        remedy: 'restart vifd, which replaces it',
      });
      expect(statSync(file).mode & 0o777).toBe(0o644);
    });
  });
});

describe('vifd check: the code cache', () => {
  const code = (parts: Partial<CodeCache>): CodeCache => ({
    file: '/nowhere/vifd/run-x.code',
    state: 'absent',
    content: () => new Uint8Array(),
    unsafe: () => undefined,
    ...parts,
  });

  it('is missing where vifd starts from single modules', () => {
    expect(codeCacheCheck(undefined)).toMatchObject({
      state: 'warn',
      found: expect.stringMatching(/dist\/run\.bundle/),
      remedy: 'install vifd again',
    });
  });

  it('that is unsafe is reported with its reason and remedy', () => {
    const problem = { found: '/x can be written by others', remedy: '`chmod go-w /x`' };
    expect(codeCacheCheck(code({ state: 'unsafe', problem }))).toEqual({
      name: 'code cache',
      state: 'warn',
      found: 'not used, so starts take longer: /x can be written by others',
      remedy: '`chmod go-w /x`',
    });
  });

  it('that cannot be written is reported with the errno', () => {
    expect(codeCacheCheck(code({ file: '/proc/vifd/run-x.code' }))).toMatchObject({
      state: 'warn',
      found: expect.stringMatching(/run-x\.code is missing, and cannot be written \(E[A-Z]+\)$/),
      remedy: expect.stringMatching(/VIFD_CODE_CACHE/),
    });
  });
});

describe('vifd run', () => {
  /** A clock whose timers fire by hand, and a cache that only counts how often it is to be written. */
  const world = (state: CodeCache['state'], vif: { state: VifState }) => {
    const delays: number[] = [];
    let fire: (() => void) | undefined;
    let writes = 0;
    const clock: Clock = {
      now: () => 0,
      after: (delayMs, then) => {
        delays.push(delayMs);
        fire = then;
        return { [Symbol.dispose]: () => (fire = undefined) };
      },
    };
    const code: CodeCache = {
      file: '/proc/never/written.code',
      state,
      content: () => new Uint8Array(),
      unsafe: () => undefined,
    };
    const counted = new Proxy(code, {
      get: (target, name) => {
        if (name === 'file') writes++;
        return Reflect.get(target, name);
      },
    });
    const ending = storeCodeLater(counted, clock, () => [vif]);
    return { delays, turn: () => fire?.(), writes: () => writes, end: () => ending[Symbol.dispose]() };
  };

  it('writes the code once it has served a guest for some seconds, and once only', () => {
    const vif: { state: VifState } = { state: 'waiting' };
    const { delays, turn, writes } = world('absent', vif);
    turn();
    turn();
    expect({ delays, writes: writes() }).toEqual({ delays: [5000, 5000, 5000], writes: 0 });
    vif.state = 'connected';
    turn();
    expect({ delays: delays.length, writes: writes() }).toEqual({ delays: 3, writes: 1 });
  });

  it.each(['used', 'unsafe'] as const)('waits for nothing if the code is %s', (state) => {
    expect(world(state, { state: 'connected' }).delays).toEqual([]);
  });

  it('replaces code that is unsuitable, and writes none once it stops', () => {
    const { delays, turn, writes, end } = world('unsuitable', { state: 'connected' });
    expect(delays).toEqual([5000]);
    end();
    turn();
    expect(writes()).toBe(0);
  });
});
