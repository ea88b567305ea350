import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openStore } from '../../lib/xen/store/client.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

let directory: string;
let children: ChildProcess[] = [];

/** Compiles the program alone, so that the test needs no build and no other folder's state. */
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'vifd-serve-'));
  await writeFile(join(directory, 'package.json'), '{"type":"module"}');
  const options =
    '--ignoreConfig --target es2022 --lib es2023,esnext.disposable --module node20 --types node --strict --skipLibCheck';
  const files = ['--rootDir', 'lib', '--outDir', directory, 'lib/testing/xenstored/serve.ts'];
  await run('node_modules/.bin/tsc', [...options.split(' '), ...files], { cwd: root });
}, 60_000);

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  children = [];
});

afterAll(async () => {
  await rm(directory, { recursive: true });
});

async function serve(...endpoints: string[]): Promise<{ child: ChildProcess; ready: string }> {
  const program = join(directory, 'testing/xenstored/serve.js');
  const child = spawn(process.execPath, [program, ...endpoints], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = await once(child.stdout!, 'data');
  return { child, ready: String(line) };
}

describe('the store as a program', () => {
  it('serves a domain at each socket, reports that, and removes its sockets at its end', async () => {
    const [dom0Path, guestPath] = [join(directory, 'zero'), join(directory, 'five')];
    const { child, ready } = await serve(dom0Path, `${guestPath}=5`);
    expect(ready).toBe(`ready ${dom0Path} ${guestPath}\n`);
    const dom0 = await openStore({ path: dom0Path });
    const guest = await openStore({ path: guestPath });
    await dom0.write('/g', 'x');
    await expect(guest.read('/g')).rejects.toMatchObject({ errno: 'EACCES' });
    await dom0.setPermissions('/g', [{ domid: 5, access: 'none' }]);
    expect(await guest.read('/g')).toBe('x');
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect([existsSync(dom0Path), existsSync(guestPath)]).toEqual([false, false]);
    await dom0[Symbol.asyncDispose]();
    await guest[Symbol.asyncDispose]();
  });

  it('can start again after SIGKILL, and a client continues', async () => {
    const path = join(directory, 'killed');
    const { child } = await serve(path);
    await using store = await openStore({ path, pauseMs: 5, pauseMsMax: 50 });
    await store.write('/a', '1');
    child.kill('SIGKILL');
    await once(child, 'exit');
    expect(existsSync(path)).toBe(true);
    const call = store.read('/a');
    await serve(path);
    // The tree died with the process.
    expect(await call).toBeUndefined();
  });

  it('prints its usage', async () => {
    const program = join(directory, 'testing/xenstored/serve.js');
    await expect(run(process.execPath, [program])).rejects.toMatchObject({ code: 2, stderr: /Usage/ });
    await expect(run(process.execPath, [program, '/a=x'])).rejects.toMatchObject({ code: 2 });
  });
});
