import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { whyNoAddon } from './reason.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = resolve(process.env.VIFD_ADDON ?? join(root, 'build', 'Release', 'vifd.node'));
const xensim = join(dirname(file), 'xensim');
/** Node 21 brought `transfer()`. VIFD_NODES lists further programs of Node, with commas, with which to run these tests. */
const nodes = [process.execPath, ...(process.env.VIFD_NODES ?? '').split(',').filter((node) => node !== '')];

/** A guest with a page for us, `page` mapped here, and `transfer`, which moves an ArrayBuffer to another one. */
const WORLD = `
  const addon = require(${JSON.stringify(file)});
  const { Worker } = require('node:worker_threads');
  addon.useErrors((message) => Object.assign(new Error(message), { code: 'ERR_STATE' }));
  const libraries = addon.loadXen(${JSON.stringify(xensim)});
  process.env.XENSIM_DOMID = '7';
  const shared = libraries.openShares().allocate(2);
  const refs = Uint32Array.of(shared.grant(0, 0, true), shared.grant(1, 0, true));
  process.env.XENSIM_DOMID = '0';
  const grants = libraries.openGrants();
  const transfer = (buffer) => buffer.transfer === undefined ? buffer : buffer.transfer();
  // Without transfer() the buffer is the mapping's own, which is detached when that ends.
  const view = (buffer) => { try { return new Uint8Array(buffer); } catch { return new Uint8Array(0); } };
  const check = (what, ok) => { if (!ok) { console.error('not so: ' + what); process.exitCode = 1; } };
  const code = (run) => { try { run(); } catch (error) { return error.code; } };
  const gcUntil = (done, left = 50) => {
    global.gc();
    const isDone = done();
    if (!isDone && left > 0) setTimeout(gcUntil, 2, done, left - 1);
    else check('collected', isDone);
  };
`;

const PROGRAMS = {
  'a mapped page that was moved before it is unmapped': `
    const mapping = grants.map(7, refs, true);
    new Uint8Array(shared.buffer).fill(5);
    const moved = transfer(mapping.buffer);
    check('the move shows the page', new Uint8Array(moved)[0] === 5);
    check('unmapped', mapping.unmap() === 0 && mapping.unmap() === 0);
    const stale = view(moved);
    if (moved !== mapping.buffer) {
      check('zeros', stale.length === 8192 && stale.every((byte) => byte === 0));
      stale.fill(9);
    }
    check('the guest has its pages to itself', new Uint8Array(shared.buffer).every((byte) => byte === 5));
    check('the grants ended', shared.end(refs[0]) === 0 && shared.end(refs[1]) === 0);`,
  'a mapped page that was moved and collected': `
    let mapping = grants.map(7, refs, true);
    transfer(mapping.buffer);
    setTimeout(() => {
      global.gc();
      mapping.unmap();
      mapping = undefined;
      gcUntil(() => shared.end(refs[0]) === 0);
    }, 5);`,
  'a mapped page that was moved to a worker, which ends': `
    const mapping = grants.map(7, refs, true);
    const moved = transfer(mapping.buffer);
    const worker = new Worker('setInterval(() => {}, 100)', { eval: true });
    try { worker.postMessage(moved, [moved]); } catch {}
    worker.terminate().then(() => {
      check('unmapped', mapping.unmap() === 0);
      check('the grant ended', shared.end(refs[0]) === 0);
    });`,
  'shared pages that were moved before they are given back': `
    const moved = transfer(shared.buffer);
    shared.unmap();
    view(moved).fill(1);
    const other = libraries.openShares().allocate(2);
    other.unmap();`,
  'an arena that was moved, and ends': `
    const arena = addon.arena(8192);
    const moved = transfer(arena.buffer);
    new Uint8Array(moved).fill(3);
    check('unmapped', arena.unmap() === 0);
    const stale = view(moved);
    check('zeros', stale.every((byte) => byte === 0));
    stale.fill(4);`,
  'a batch whose arena was moved': `
    const arena = addon.arena(8192);
    const batch = grants.batch(7, new Uint32Array(9), new Uint8Array(arena.buffer));
    if (arena.buffer.transfer !== undefined) {
      arena.buffer.transfer();
      check('ERR_STATE', code(() => batch.copyFromGuest()) === 'ERR_STATE');
      check('ERR_STATE', code(() => batch.mapFromGuest()) === 'ERR_STATE');
    }`,
  'a batch whose arena became smaller': `
    const buffer = new ArrayBuffer(8192, { maxByteLength: 8192 });
    const ops = new Uint32Array(9);
    const batch = grants.batch(7, ops, new Uint8Array(buffer));
    ops.set([1, 0, 0, 0, refs[0], 100 << 16, 4096]);
    batch.copyFromGuest();
    check('copied', ops[1] === 0);
    buffer.resize(0);
    check('ERR_STATE', code(() => batch.copyFromGuest()) === 'ERR_STATE');`,
  'a batch that has ended': `
    const arena = addon.arena(4096);
    const batch = grants.batch(7, new Uint32Array(9), new Uint8Array(arena.buffer));
    batch.end();
    arena.unmap();
    for (const name of ['copyFromGuest', 'copyToGuest', 'mapFromGuest', 'mapToGuest'])
      check(name, code(() => batch[name]()) === 'ERR_STATE');
    batch.unmap();
    batch.end();`,
} as const;

describe.skipIf(whyNoAddon() !== undefined || !existsSync(join(xensim, 'libxengnttab.so.1')))(
  'memory that a program moves, shrinks or uses too long',
  () => {
    let machine: string;
    beforeEach(() => {
      machine = mkdtempSync(join(tmpdir(), 'vifd-moved-'));
    });
    afterEach(() => rmSync(machine, { recursive: true, force: true }));

    describe.each(nodes)('by %s', (node) => {
      it.each(Object.entries(PROGRAMS))('crashes nothing: %s', (_what, text) => {
        const ran = spawnSync(node, ['--expose-gc', '-e', WORLD + text], {
          env: { ...process.env, XENSIM: machine },
          encoding: 'utf8',
          timeout: 20_000,
        });
        expect({ status: ran.status, signal: ran.signal, stderr: ran.stderr }).toEqual({
          status: 0,
          signal: null,
          stderr: '',
        });
      });
    });
  },
);
