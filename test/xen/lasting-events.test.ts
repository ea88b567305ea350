/** Event channels on xensim that outlive the process which has bound them. */
import { closeSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { addon } from '../../lib/addon.js';
import { Link } from '../../lib/workers/link.js';
import { startWorker } from '../../lib/workers/start-worker.js';
import { openXen } from '../../lib/xen/native/open.js';
import type { Store, StoredEvents, StoredPort, Xen } from '../../lib/xen/seam.js';
import { XENSIM_LIBRARIES } from '../../worlds/places.js';
import { until } from '../../worlds/processes/until.js';

const FRONTEND = 7;
const SOON_MS = 5000;
const soon = async (holds: () => unknown) => expect(await until(holds, SOON_MS)).toBeTruthy();
const OPEN = new URL('../../dist/xen/native/open.js', import.meta.url);
const ADDON = new URL('../../dist/addon.js', import.meta.url);
const noStore = { [Symbol.asyncDispose]: async () => {} } as unknown as Store;

describe.skipIf(!existsSync(OPEN) || !existsSync(join(XENSIM_LIBRARIES, 'libxenevtchn.so.1')))(
  'lasting event channels',
  () => {
    let machine: string;
    let backend: Xen;
    let frontend: Xen;
    let theirEvents: number;
    let descriptors: number[];

    const enter = (domid: number) => {
      vi.stubEnv('XENSIM_DOMID', String(domid));
      return openXen({ libraries: XENSIM_LIBRARIES, store: noStore, domid });
    };
    beforeEach(async () => {
      machine = mkdtempSync(join(tmpdir(), 'vifd-lasting-'));
      vi.stubEnv('XENSIM', machine);
      frontend = await enter(FRONTEND);
      backend = await enter(0);
      [theirEvents, descriptors] = [0, []];
    });
    afterEach(async () => {
      for (const descriptor of descriptors) closeSync(descriptor);
      await backend[Symbol.asyncDispose]();
      await frontend[Symbol.asyncDispose]();
      vi.unstubAllEnvs();
      rmSync(machine, { recursive: true, force: true });
    });

    const theirPort = () => {
      const theirs = frontend.events.bindUnbound(0, () => {
        theirEvents++;
        theirs.unmask();
      });
      return theirs;
    };

    /** A process binds these ports of the frontend, swallows the first event of each, and is killed. @returns what it has stored. */
    async function killedAfterBinding(...remotePorts: number[]): Promise<StoredEvents> {
      const program = `
        const { openXen } = await import(${JSON.stringify(OPEN.href)});
        const { addon } = await import(${JSON.stringify(ADDON.href)});
        const libraries = ${JSON.stringify(XENSIM_LIBRARIES)};
        const xen = await openXen({ libraries, store: { [Symbol.asyncDispose]: async () => {} }, domid: 0 });
        const events = xen.openLastingEvents();
        let left = ${remotePorts.length};
        const swallow = () => {
          if (--left > 0) return;
          const { descriptor, ports } = events.stored;
          addon().sendMessage(3, Buffer.from(JSON.stringify(ports)), [descriptor]);
        };
        for (const port of ${JSON.stringify(remotePorts)}) events.bind(${FRONTEND}, port, swallow);`;
      const worker = await startWorker(['-e', `(async () => {${program}})()`]);
      let ports: StoredPort[] = [];
      using _link = new Link(worker.descriptor, {
        onMessage: (message, received) => {
          ports = message as StoredPort[];
          descriptors.push(...received);
        },
        onEnd: () => {},
      });
      await soon(() => descriptors.length);
      worker.signal('SIGKILL');
      await worker.gone;
      return { descriptor: descriptors[0], ports };
    }

    it('stay bound when the process is killed that has bound them, and are taken over with an event pending', async () => {
      const theirs = theirPort();
      const stored = await killedAfterBinding(theirs.port);
      expect(stored.ports).toEqual([{ domid: FRONTEND, remotePort: theirs.port, port: expect.any(Number) }]);
      // While a handle has it, nothing else can bind it.
      expect(() => backend.events.bind(FRONTEND, theirs.port, () => {})).toThrow(
        expect.objectContaining({ code: 'ERR_XEN_EVENT' }),
      );
      using events = backend.openLastingEvents!(stored);
      let ourEvents = 0;
      const ours = events.bind(FRONTEND, theirs.port, () => ourEvents++);
      expect(ours.port).toBe(stored.ports[0].port);
      expect(events.stored.ports).toEqual(stored.ports);
      await soon(() => ourEvents === 1);
      // The killed process has left it masked.
      theirs.notify();
      ours.unmask();
      await soon(() => ourEvents === 2);
      const before = theirEvents;
      ours.notify();
      await soon(() => theirEvents > before);
      theirs.close();
    });

    it('are unbound at disposal, also those that nothing took over, although another process has the handle', async () => {
      const theirs = [theirPort(), theirPort()];
      const stored = await killedAfterBinding(...theirs.map(({ port }) => port));
      const events = backend.openLastingEvents!(stored);
      events.bind(FRONTEND, theirs[0].port, () => {});
      events[Symbol.dispose]();
      for (const { port } of theirs) backend.events.bind(FRONTEND, port, () => {}).close();
      for (const one of theirs) one.close();
    });

    it('bind anew what is not bound any more, and refuse a descriptor of another kind', async () => {
      const theirs = theirPort();
      const stored = await killedAfterBinding(theirs.port);
      const stale = { domid: FRONTEND, remotePort: theirs.port, port: 4000 };
      backend.openLastingEvents!(stored)[Symbol.dispose]();
      using events = backend.openLastingEvents!({ ...stored, ports: [stale] });
      let ourEvents = 0;
      expect(events.bind(FRONTEND, theirs.port, () => ourEvents++).port).not.toBe(4000);
      await soon(() => ourEvents === 1);
      theirs.close();
      const pair = addon().socketPair() as [number, number];
      descriptors.push(...pair);
      expect(() => backend.openLastingEvents!({ ...stored, descriptor: pair[0] })).toThrow(
        expect.objectContaining({ code: 'ERR_HOST' }),
      );
    });
  },
);
