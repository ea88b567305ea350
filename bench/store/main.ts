/**
 * `npm run bench -- store [--json] [--write-docs]`: how many requests xenstored gets from `vifd run` for what happens to a vif, in a
 * driver domain on the model: counts, and so the same in each run. Includes the keys that say who serves the vif (daemon/ownership.ts).
 */
import { parseArgs } from 'node:util';
import { Ownership } from '../../lib/daemon/ownership.js';
import { Netback } from '../../lib/netback/netback.js';
import { pair } from '../../lib/ports/pair.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif } from '../../lib/testing/netfront/index.js';
import { Netfront } from '../../lib/testing/netfront/netfront.js';
import { StoreSession } from '../../lib/testing/xenstored/session.js';
import { align, writeSection } from '../../programs/docs.js';

const BACKEND = 1;
const NODE = `/local/domain/${BACKEND}/backend/vif`;
const OTHERS = [100, 101, 102, 103, 104, 105, 106, 107];
const GUEST = 7;
const OPERATIONS = [
  'read',
  'list',
  'write',
  'mkdir',
  'setPermissions',
  'begin',
  'end',
  'watch',
  'unwatch',
] as const;

interface Row {
  readonly what: string;
  readonly requests: number;
  readonly reads: number;
}

let counted: Record<string, number> = {};
for (const name of OPERATIONS) {
  const operation = StoreSession.prototype[name] as (...args: unknown[]) => unknown;
  Object.defineProperty(StoreSession.prototype, name, {
    value: function (this: StoreSession, ...args: unknown[]) {
      if (this.domid === BACKEND) counted[name] = (counted[name] ?? 0) + 1;
      return operation.apply(this, args);
    },
  });
}

async function measure(): Promise<Row[]> {
  const hypervisor = new ModelHypervisor();
  const toolstack = hypervisor.open(0);
  const done = async <T>(work: PromiseLike<T>): Promise<T> => {
    await hypervisor.settle();
    return work;
  };
  const rows: Row[] = [];
  const row = async (what: string, happens: () => Promise<unknown>): Promise<void> => {
    counted = {};
    await happens();
    await hypervisor.advance(1000);
    const requests = Object.values(counted).reduce((sum, count) => sum + count, 0);
    rows.push({ what, requests, reads: counted.read ?? 0 });
  };
  const write = (path: string, value: string) => done(toolstack.store.write(path, value));
  const begin = async () => {
    const xen = hypervisor.open(BACKEND);
    const ownership = new Ownership({
      store: xen.store,
      domid: BACKEND,
      kernel: undefined,
      findTap: () => undefined,
      openTap: () => pair()[0],
    });
    const listeners = ownership.listening({
      attached() {},
      detached() {},
      recovered() {},
      mended() {},
      error: (error) => console.error(error.message),
    });
    const accept = (...args: Parameters<Ownership['accept']>) => ownership.accept(...args);
    await done(Netback.open({ xen, accept, port: () => pair()[0], journals: false }, listeners));
    return xen;
  };
  const add = (domid: number) =>
    done(createVif(toolstack.store, { domid, handle: 0, backendDomid: BACKEND, mac: '00:16:3e:00:00:07' }));

  await write(NODE, '');
  for (const path of [NODE, NODE.slice(0, -4)])
    await done(toolstack.store.setPermissions(path, [{ domid: BACKEND, access: 'none' }]));
  let xen = await begin();
  for (const domid of OTHERS) await add(domid);
  await hypervisor.advance(1000);
  await row('a new vif, until InitWait', () => add(GUEST));
  const guest = hypervisor.open(GUEST);
  await row('its guest connects, until Connected', () =>
    done(Netfront.connect({ xen: guest, port: pair()[0], handle: 0, backendDomid: BACKEND })),
  );
  const back = `${NODE}/${GUEST}/0`;
  const front = `/local/domain/${GUEST}/device/vif/0`;
  await row('a key of the node that a backend writes', () => write(`${back}/feature-sg`, '1'));
  await row('a key that the toolstack writes (rate)', () => write(`${back}/rate`, '1000000,50000'));
  await row('the guest’s request-multicast-control', () => write(`${front}/request-multicast-control`, '1'));
  await row('the guest’s state, written again', () => write(`${front}/state`, '4'));
  await row('any other key of the guest’s', () => write(`${front}/other`, '1'));
  await row(`a key of a node that is no vif yet, with ${OTHERS.length + 1} vifs`, () =>
    write(`${NODE}/8/0/x`, '1'),
  );
  await done(toolstack.store.rm(`${NODE}/8`));
  for (const domid of OTHERS) await done(toolstack.store.rm(`${NODE}/${domid}`));
  hypervisor.kill(xen);
  await row('a start after SIGKILL, with that vif connected', async () => {
    xen = await begin();
  });
  await row('its guest is destroyed', () =>
    done(
      toolstack.store.transaction(async (view) => {
        await view.rm(front);
        await view.write(`${back}/online`, '0');
        await view.write(`${back}/state`, '5');
      }),
    ),
  );
  return rows;
}

const { values: flags } = parseArgs({
  options: { json: { type: 'boolean', default: false }, 'write-docs': { type: 'boolean', default: false } },
});
const rows = await measure();
const table = align([
  ['', 'requests', 'of these reads'],
  ...rows.map(({ what, requests, reads }) => [what, `${requests}`, `${reads}`]),
]);
console.log(flags.json ? JSON.stringify(rows) : table);
const EXPLANATION = `Generated by \`npm run bench -- store --write-docs\`; do not edit. Requests to xenstored for what happens to a vif, with a
transaction's begin and end, on the model in a driver domain; counts, so the same on each machine.`;
if (flags['write-docs']) writeSection('bench store', [EXPLANATION, `\`\`\`\n${table}\n\`\`\``].join('\n\n'));
process.exit();
