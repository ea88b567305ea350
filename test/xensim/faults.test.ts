import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { addon, errnoName, type XenLibraries } from '../../lib/addon.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const build = process.env.VIFD_ADDON
  ? dirname(resolve(process.env.VIFD_ADDON))
  : join(root, 'build', 'Release');
const libraries = join(build, 'xensim-faults');

describe.skipIf(!existsSync(join(libraries, 'libxengnttab.so.1')))(
  'calls of xensim that are made to fail',
  () => {
    let machine: string;
    let faults: string;

    beforeEach(() => {
      machine = mkdtempSync(join(tmpdir(), 'vifd-faults-'));
      faults = join(machine, 'faults');
      mkdirSync(faults);
      process.env.XENSIM = machine;
      process.env.XENSIM_DOMID = '7';
      process.env.XENSIM_FAULTS = faults;
    });

    afterEach(() => {
      delete process.env.XENSIM_FAULTS;
      rmSync(machine, { recursive: true, force: true });
    });

    const errnoOf = (result: unknown) => (typeof result === 'number' ? errnoName(result) : undefined);

    it('fails as often as the file demands, and counts how often it did', () => {
      const xen = addon().loadXen(libraries) as XenLibraries;
      writeFileSync(join(faults, 'gnttab_open'), 'ENOMEM 2');
      expect([1, 2, 3].map(() => errnoOf(xen.openGrants()))).toEqual(['ENOMEM', 'ENOMEM', undefined]);
      expect(existsSync(join(faults, 'gnttab_open'))).toBe(false);
      expect(statSync(join(faults, 'gnttab_open.hits')).size).toBe(2);
    });

    it('fails while the file is there', () => {
      const xen = addon().loadXen(libraries) as XenLibraries;
      const events = xen.openEvents(new Int32Array(8), () => {});
      if (typeof events === 'number') throw new Error(errnoName(events));
      writeFileSync(join(faults, 'evtchn_bind_unbound'), 'EMFILE');
      expect([1, 2, 3].map(() => errnoOf(events.bindUnbound(0)))).toEqual(['EMFILE', 'EMFILE', 'EMFILE']);
      rmSync(join(faults, 'evtchn_bind_unbound'));
      expect(events.bindUnbound(0)).toBeGreaterThan(0);
      events.close();
    });
  },
);
