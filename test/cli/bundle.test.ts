import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const BUNDLES = ['run.bundle', 'verbs.bundle', 'rehearsal.bundle'];
const missing = ['vifd.cjs', ...BUNDLES].find((file) => !existsSync(`dist/${file}`));
const folders: string[] = [];

/** A folder far from node_modules, with copies of these files of dist. @returns the program in it. */
function programWith(...files: string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'vifd-bundle-'));
  folders.push(folder);
  for (const file of ['vifd.cjs', ...files]) copyFileSync(`dist/${file}`, join(folder, file));
  return join(folder, 'vifd.cjs');
}

const run = (program: string, ...args: string[]) =>
  spawnSync(process.execPath, [program, 'run', ...args], {
    encoding: 'utf8',
    env: { ...process.env, VIFD_XEN_LIBRARIES: '/nowhere' },
  });

describe.skipIf(missing !== undefined)('the bundles that vifd starts from', () => {
  afterAll(() => {
    for (const folder of folders) rmSync(folder, { recursive: true });
  });

  it.each(BUNDLES)(
    'have only source in them, and at their end the hash by which their code is found: %s',
    (name) => {
      const bundle = readFileSync(`dist/${name}`, 'latin1');
      const id = createHash('sha256').update(bundle.slice(0, -16)).digest('hex').slice(0, 16);
      expect(bundle).toMatch(/^[\t\n\x20-\x7e]*$/);
      expect(bundle.slice(-16)).toBe(id);
    },
  );

  it('have all that vifd run needs', () => {
    const { stderr, status } = run(programWith('run.bundle'));
    expect(stderr).toMatch(/^vifd: The native addon is not built/);
    expect(status).toBe(1);
  });

  it('leave commander out of the start of vifd run: it costs a tenth of it', () => {
    const contains = (name: string) =>
      readFileSync(`dist/${name}`, 'latin1').includes('InvalidArgumentError');
    expect(BUNDLES.filter(contains)).toEqual(['verbs.bundle']);
  });

  it('have all that the other verbs need', () => {
    const program = programWith('verbs.bundle');
    const help = spawnSync(process.execPath, [program, 'adopt', '--help'], { encoding: 'utf8' });
    expect(help.stdout).toMatch(/^Usage: vifd adopt/);
    const wrong = spawnSync(process.execPath, [program, 'show', 'eth0'], { encoding: 'utf8' });
    expect(wrong.stderr).toMatch(/^vifd: .*eth0/);
    expect(wrong.status).toBe(2);
    // Arguments of `run` that are no plain start are for the other bundle too.
    expect(run(program, '--help').stdout).toMatch(/^Usage: vifd run/);
  });

  it('may be missing: the modules are loaded one by one then', () => {
    const program = programWith();
    symlinkSync(resolve('dist/cli'), join(program, '../cli'));
    const { stderr, status } = run(program);
    expect(stderr).toMatch(/^vifd: libxengnttab/);
    expect(status).toBe(1);
    expect(run(program, '--help').stdout).toMatch(/^Usage: vifd run/);
  });
});
