import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Script } from 'node:vm';
import { afterAll, describe, expect, it } from 'vitest';

const missing = ['dist/vifd.cjs', 'dist/run.bundle'].find((file) => !existsSync(file));
const folders: string[] = [];

/** A folder far from node_modules, with copies of these files of dist. @returns the program in it. */
function programWith(...files: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'vifd-bundle-'));
  folders.push(folder);
  for (const file of ['vifd.cjs', ...files]) copyFileSync(`dist/${file}`, join(folder, file));
  return join(folder, 'vifd.cjs');
}

const run = (program: string) =>
  spawnSync(process.execPath, [program, 'run'], {
    encoding: 'utf8',
    env: { ...process.env, VIFD_XEN_LIBRARIES: '/nowhere' },
  });

describe.skipIf(missing !== undefined)('the bundle that vifd run starts from', () => {
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });

  it('has compiled code that this V8 takes', () => {
    const bundle = readFileSync('dist/run.bundle');
    const length = bundle.readUInt32LE(bundle.length - 4);
    const cachedData = bundle.subarray(length, -4);
    const script = new Script(bundle.toString('latin1', 0, length), { cachedData });
    expect(script.cachedDataRejected).toBe(false);
  });

  it('has all that vifd run needs in it', () => {
    const { stderr, status } = run(programWith('run.bundle'));
    expect(stderr).toMatch(/^vifd: The native addon is not built/);
    expect(status).toBe(1);
  });

  it("runs without V8's code, as with another version of V8", () => {
    const program = programWith();
    const bundle = readFileSync('dist/run.bundle');
    const length = bundle.readUInt32LE(bundle.length - 4);
    const other = Buffer.concat([bundle.subarray(0, length), Buffer.alloc(64), bundle.subarray(-4)]);
    writeFileSync(join(program, '../run.bundle'), other);
    expect(run(program).stderr).toMatch(/^vifd: The native addon is not built/);
  });

  it('can be missing: the modules are loaded one by one then', () => {
    const program = programWith();
    symlinkSync(resolve('dist/cli'), join(program, '../cli'));
    const { stderr, status } = run(program);
    expect(stderr).toMatch(/^vifd: libxengnttab/);
    expect(status).toBe(1);
  });
});
