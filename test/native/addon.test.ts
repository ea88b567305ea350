import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, errnoName, type NativePages, type XenLibraries } from '../../lib/addon.js';
import { openXen } from '../../lib/xen/native/open.js';
import { probeLibraries } from '../../lib/xen/native/probe.js';
import { OP_ARENA, OP_SPAN, OPS_COUNT, OPS_HEADER_WORDS, PAGE_SIZE } from '../../lib/xen/seam.js';
import { whyNoAddon } from './reason.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = resolve(process.env.VIFD_ADDON ?? join(root, 'build', 'Release', 'vifd.node'));
const xensim = join(dirname(file), 'xensim');
const noXensim = !existsSync(join(xensim, 'libxengnttab.so.1'));

/** Runs a program of its own on the addon: what it tests would end this one. */
function program(text: string, env: Record<string, string> = {}): { status: number | null; stderr: string } {
  const source = `const addon = require(${JSON.stringify(file)});\n${text}`;
  const ran = spawnSync(process.execPath, ['-e', source], {
    env: { ...process.env, ...env },
    encoding: 'utf8',
    timeout: 10_000,
  });
  return { status: ran.status, stderr: ran.stderr };
}

function newArena(bytes: number): NativePages {
  const pages = addon().arena(bytes);
  if (typeof pages === 'number') throw new Error(errnoName(pages));
  return pages;
}

describe.skipIf(whyNoAddon())('the addon', () => {
  it('loads where there is no Xen, and reports what is missing', () => {
    const missing = addon().loadXen('/nowhere');
    expect(missing).toMatchObject({ library: 'libxengnttab.so.1' });
    expect(missing).toHaveProperty('reason', expect.stringContaining('/nowhere'));
  });

  it('gives memory that begins at a page', () => {
    const { buffer } = newArena(3 * PAGE_SIZE);
    expect(buffer.byteLength).toBe(3 * PAGE_SIZE);
    expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
  });

  it('returns the errno when there is no such memory', () => {
    expect(errnoName(addon().arena(2 ** 52) as number)).toBe('ENOMEM');
  });

  it('frees arenas without references', () => {
    // Finalizers run in turns of the event loop.
    const text = `
      const before = process.memoryUsage().rss;
      const turn = (left) => {
        for (let i = 0; i < 16; i++) new Uint8Array(addon.arena(1 << 20).buffer).fill(1);
        global.gc();
        if (left > 0) setImmediate(turn, left - 1);
        else setTimeout(() => process.exit(process.memoryUsage().rss - before < 128 << 20 ? 0 : 1), 20);
      };
      turn(24);`;
    expect(program(text, { NODE_OPTIONS: '--expose-gc' })).toMatchObject({ status: 0 });
  });
});

describe.skipIf(whyNoAddon() !== undefined || noXensim)('the addon on xensim', () => {
  let machine: string;
  let libraries: XenLibraries;

  beforeEach(() => {
    machine = mkdtempSync(join(tmpdir(), 'vifd-addon-'));
    process.env.XENSIM = machine;
    process.env.XENSIM_DOMID = '0';
    libraries = addon().loadXen(xensim) as XenLibraries;
  });
  afterEach(() => rmSync(machine, { recursive: true, force: true }));

  function grants() {
    const opened = libraries.openGrants();
    if (typeof opened === 'number') throw new Error(`openGrants: ${opened}`);
    return opened;
  }

  it('refuses a batch whose memory was taken away', () => {
    const ops = new Uint32Array(OPS_HEADER_WORDS + 5);
    const batch = grants().batch(7, ops, new Uint8Array(newArena(PAGE_SIZE).buffer));
    structuredClone(ops, { transfer: [ops.buffer] });
    expect(() => batch.copyFromGuest()).toThrow(
      expect.objectContaining({ code: 'ERR_STATE', message: expect.stringContaining('detached') }),
    );
  });

  it('does not take an arena offset near the end of 32 bits for one near the start', () => {
    const ops = new Uint32Array(OPS_HEADER_WORDS + 5);
    const batch = grants().batch(7, ops, new Uint8Array(newArena(PAGE_SIZE).buffer));
    ops[OPS_COUNT] = 1;
    ops[OPS_HEADER_WORDS + OP_SPAN] = 64 << 16;
    ops[OPS_HEADER_WORDS + OP_ARENA] = 0xffff_fff0;
    batch.copyToGuest();
    expect(ops[OPS_HEADER_WORDS + 4] | 0).toBe(-10);
  });

  const waiting = `
    const libraries = addon.loadXen(${JSON.stringify(xensim)});
    const events = libraries.openEvents(new Int32Array(9), () => {});
    const port = events.bindUnbound(1);`;

  it('keeps the process alive while a port is bound, and only then', () => {
    const still = `${waiting} setTimeout(() => { console.error('alive'); process.exit(3); }, 200).unref();
      setTimeout(() => {}, 50);`;
    expect(program(still)).toMatchObject({ status: 3 });
    expect(program(`${waiting} events.unbind(port);`)).toMatchObject({ status: 0 });
    expect(program(`${waiting} events.close();`)).toMatchObject({ status: 0 });
  });

  it('survives the end of a worker that listens for events', () => {
    const text = `
      const { Worker } = require('node:worker_threads');
      const worker = new Worker(${JSON.stringify(`
        const addon = require(${JSON.stringify(file)});
        ${waiting}
        const mapped = addon.arena(4096);
        require('node:worker_threads').parentPort.postMessage('ready');`)}, { eval: true });
      worker.once('message', () => worker.terminate().then(() => console.error('ended')));`;
    expect(program(text)).toEqual({ status: 0, stderr: 'ended\n' });
  });

  it('has no pages left mapped when a mapping was forgotten', () => {
    const text = `
      const libraries = addon.loadXen(${JSON.stringify(xensim)});
      process.env.XENSIM_DOMID = '7';
      const shared = libraries.openShares().allocate(1);
      const ref = shared.grant(0, 0, true);
      process.env.XENSIM_DOMID = '0';
      const grants = libraries.openGrants();
      for (let i = 0; i < 10; i++) grants.map(7, Uint32Array.of(ref), true);
      if (shared.end(ref) !== -16) process.exit(4);
      global.gc();
      setTimeout(() => { global.gc(); setTimeout(() => process.exit(shared.end(ref) === 0 ? 0 : 5), 20); }, 20);`;
    expect(program(text, { NODE_OPTIONS: '--expose-gc' })).toMatchObject({ status: 0 });
  });
});

describe.skipIf(whyNoAddon())('openXen', () => {
  it('names the library that is missing and what to do', async () => {
    await expect(openXen({ libraries: '/nowhere' })).rejects.toMatchObject({
      code: 'ERR_XEN_UNAVAILABLE',
      message: expect.stringMatching(/libxengnttab\.so\.1 .*\/nowhere.*npm run build:native/),
    });
  });

  it('closes the store that it was given when it fails', async () => {
    let closed = 0;
    const store = { [Symbol.asyncDispose]: async () => void closed++ } as never;
    await expect(openXen({ libraries: '/nowhere', store })).rejects.toThrow();
    expect(closed).toBe(1);
  });

  it('refuses a domain that cannot be', async () => {
    await expect(openXen({ domid: 70_000 })).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  it.skipIf(noXensim)('reports that the simulated Xen needs a directory', async () => {
    process.env.XENSIM = '/nowhere/at/all';
    await expect(openXen({ libraries: xensim })).rejects.toMatchObject({
      code: 'ERR_XEN_UNAVAILABLE',
      errno: 'ENOENT',
      message: expect.stringMatching(/\/nowhere\/at\/all.*XENSIM/),
    });
  });
});

describe.skipIf(whyNoAddon() || noXensim)('a Xen that is disposed of', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-open-'));
    process.env.XENSIM = directory;
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('closes its other parts when one cannot be closed', async () => {
    let closed = 0;
    const store = { [Symbol.asyncDispose]: async () => void closed++ };
    const xen = await openXen({ libraries: xensim, store: store as never });
    Object.assign(xen.events, {
      [Symbol.dispose]: () => {
        throw new Error('events');
      },
    });
    await expect(xen[Symbol.asyncDispose]()).rejects.toThrow('events');
    expect(closed).toBe(1);
  });
});

describe.skipIf(whyNoAddon())('probeLibraries', () => {
  it('reports what is missing and what to do, and does not throw', () => {
    expect(probeLibraries('/nowhere')).toEqual({
      missing: 'Xen libraries',
      found: expect.stringContaining('/nowhere'),
      remedy: expect.stringContaining('name a directory'),
    });
  });

  it.skipIf(noXensim)('recognises a simulated Xen', () => {
    expect(probeLibraries(xensim)).toEqual({ directory: xensim, grantCopy: true, simulated: true });
  });
});

describe('without the addon', () => {
  it('reports in one line how to build it', () => {
    const script = `
      import { addon } from ${JSON.stringify(join(root, 'dist', 'addon.js'))};
      try { addon(); } catch (error) { console.log(error.code, error.message); }`;
    if (!existsSync(join(root, 'dist', 'addon.js'))) return;
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, VIFD_ADDON: '/nowhere/vifd.node' },
      encoding: 'utf8',
    });
    expect(said).toMatch(/^ERR_ADDON_MISSING .*\/nowhere\/vifd\.node.*npm run build:native.*\n$/);
  });
});
