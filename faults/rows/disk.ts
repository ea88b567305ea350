import { closeSync, existsSync, ftruncateSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command } from '../../worlds/processes/children.js';
import { COPY, type Row } from '../row.js';
import type { FaultWorld } from '../world/fault-world.js';

const kind = 'disk';
const setting = COPY;
const JOURNAL = 'vif7.0.q0.journal';

/** Fills the runtime directory's file system. */
async function fill({ runtime }: FaultWorld): Promise<void> {
  await command('sh', '-c', `dd if=/dev/zero of=${join(runtime, 'filler')} bs=64k 2>/dev/null || true`);
}

export const diskRows: readonly Row[] = [
  {
    name: 'runtime directory full when a guest connects',
    kind,
    setting,
    line: { cause: /journal.*ENOSPC/, remedy: /free|space|room/ },
    inject: async (world) => {
      // vifd removes the journals of the last connection too; the space that they free must not be enough.
      await world.victim.shutdown();
      await fill(world);
      await world.victim.boot();
      return world.victim.published();
    },
    mend: ({ runtime }) => rmSync(join(runtime, 'filler')),
    short: true,
  },
  {
    name: 'runtime directory read-only when a guest connects',
    kind,
    setting,
    line: { cause: /journal.*EROFS/, remedy: /writable|remount|mount/ },
    inject: async ({ inject, victim }) => {
      // The kernel refuses to remount for reading only while the neighbour's journals are mapped for writing.
      inject.system('open', { errno: 'EROFS', match: '.journal' });
      return victim.reconnect();
    },
    mend: ({ inject }) => inject.system('open', undefined),
  },
  {
    name: 'mapping a journal: ENOMEM',
    kind,
    setting,
    line: { cause: /journal.*ENOMEM/, remedy: /memory/ },
    inject: ({ inject, victim }) => {
      inject.system('mmap', { errno: 'ENOMEM', match: '.journal' });
      return victim.reconnect();
    },
    mend: ({ inject }) => inject.system('mmap', undefined),
  },
  {
    name: 'runtime directory deleted while vifd runs',
    kind,
    setting,
    line: { names: 'no vif', cause: /deleted|gone|missing/, remedy: /made again|restart|again/ },
    inject: ({ journals }) => rmSync(journals, { recursive: true }),
    mendsItself: true,
    mend: ({ victim }) => victim.reconnect().then(() => undefined),
  },
  {
    name: 'a journal deleted while there is no room for another',
    kind,
    setting,
    line: { cause: /journal.*ENOSPC/, remedy: /free|space|room/ },
    inject: ({ inject, journals, victim }) => {
      const name = `${victim.vif}.q0.journal`;
      inject.system('posix_fallocate', { errno: 'ENOSPC', match: name });
      rmSync(join(journals, name));
    },
    mend: ({ inject }) => inject.system('posix_fallocate', undefined),
  },
  {
    name: 'a journal cannot be removed: EPERM',
    kind,
    setting,
    line: { cause: /EPERM/, remedy: /./ },
    mended: 'not logged',
    inject: ({ inject, victim }) => {
      inject.system('unlink', { errno: 'EPERM', match: '.journal' });
      return victim.reconnect();
    },
    mend: ({ inject }) => inject.system('unlink', undefined),
  },
  {
    name: 'a journal unlinked while in use',
    kind,
    setting,
    line: { cause: /journal.*(deleted|gone|unlinked)/, remedy: /made anew|again|restart/ },
    inject: ({ journals }) => rmSync(join(journals, JOURNAL)),
    mendsItself: true,
    mend: () => undefined,
  },
  {
    name: 'a journal truncated while in use',
    kind,
    setting,
    line: { cause: /journal.*(truncated|cut|shorter|SIGBUS)/, remedy: /made anew|again|restart/ },
    inject: ({ journals }) => {
      const file = openSync(join(journals, JOURNAL), 'r+');
      ftruncateSync(file, 0);
      closeSync(file);
    },
    mendsItself: true,
    mend: () => undefined,
  },
  {
    name: 'the query socket deleted',
    kind,
    setting,
    line: { names: 'no vif', cause: /socket.*(deleted|gone|missing)/, remedy: /made again|again/ },
    inject: ({ journals }) => rmSync(join(journals, 'socket')),
    mendsItself: true,
    mend: () => undefined,
  },
  {
    name: 'the run lock deleted',
    kind,
    setting,
    line: { names: 'no vif', cause: /lock.*(deleted|gone|missing)/, remedy: /made again|again|restart/ },
    inject: ({ journals }) => rmSync(join(journals, 'lock')),
    mendsItself: true,
    mend: () => undefined,
  },
  {
    name: 'a journal of noise where a guest connects',
    kind,
    setting,
    line: { cause: /journal/i, remedy: /anew|begun/ },
    mended: 'not logged',
    inject: async ({ journals, victim }) => {
      await victim.shutdown();
      for (const name of readdirSync(journals).filter((file) => file.startsWith('vif7.0')))
        rmSync(join(journals, name));
      writeFileSync(join(journals, JOURNAL), Buffer.alloc(4096, 0xa5));
      await victim.boot();
      return victim.published();
    },
    mend: ({ journals }) => {
      if (!existsSync(journals)) throw new Error('the runtime directory is gone');
    },
  },
];
