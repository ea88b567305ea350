/**
 * The xenstored of the table of faults, as a process of its own: it can be killed, stopped, started again with or without its contents, and
 * made to refuse requests. vifd connects to one socket, the toolstack and the guests to others, so that a fault for vifd does not concern the
 * rest of the world.
 *
 * `node store-program.js VIFD_SOCKET TOOLS_SOCKET [SOCKET=DOMID]...`, with an IPC channel for `StoreCommand`.
 */

import { StoreServer } from '../../lib/testing/xenstored/server.js';
import type { SessionEvents, StoreSession } from '../../lib/testing/xenstored/session.js';
import { ModelStore } from '../../lib/testing/xenstored/store.js';
import type { Permission } from '../../lib/xen/seam.js';
import { storeError } from '../../lib/xen/store/wire.js';
import type { Refusal, StoreCommand, StoredNode, StoreState } from './store-messages.js';

type Operation = (...args: unknown[]) => unknown;

const store = new ModelStore();
const quiet = { onEvent: () => undefined, onReleased: () => undefined, onLost: () => undefined };
/** May read and write everything, for `state` and `load`. */
const own = store.connect(0, quiet);
let refusal: { readonly errno: string; readonly path: RegExp; readonly types: readonly string[] } | undefined;

const [vifdSocket = '', toolsSocket = '', ...guests] = process.argv.slice(2);
const servers = { vifd: new StoreServer(refusing(store)), others: new StoreServer(store) };

process.on('message', ({ id, ...command }: StoreCommand & { id: number }) => {
  void perform(command as StoreCommand).then((result) => process.send?.({ id, result }));
});
process.on('disconnect', () => process.exit(0));
process.send?.({ ready: true });

async function perform(command: StoreCommand): Promise<unknown> {
  switch (command.do) {
    case 'load':
      return load(command.nodes);
    case 'listen':
      if (command.at === 'host') {
        await servers.vifd.listen(vifdSocket, 0);
        await servers.others.listen(toolsSocket, 0);
        return undefined;
      }
      for (const guest of guests) {
        const [path = '', domid] = guest.split('=');
        store.introduce(Number(domid));
        await servers.others.listen(path, Number(domid));
      }
      return undefined;
    case 'state':
      return state();
    case 'refuse':
      refusal = parse(command.refusal);
      return undefined;
  }
}

function parse(wanted: Refusal | undefined): typeof refusal {
  return wanted && { ...wanted, path: new RegExp(wanted.path) };
}

function state(): StoreState {
  return { nodes: [...nodesBelow('/')], watches: store.watches.count(0) };
}

function* nodesBelow(path: string): Generator<StoredNode> {
  const { value, permissions, children } = own.read(0, path);
  yield { path, value: value.toString('base64'), permissions };
  for (const child of children) yield* nodesBelow(path === '/' ? `/${child}` : `${path}/${child}`);
}

function load(nodes: readonly StoredNode[]): void {
  const transaction = own.begin(0);
  for (const { path, value, permissions } of nodes) {
    if (path !== '/') own.write(transaction, path, Buffer.from(value, 'base64'));
    own.setPermissions(transaction, path, permissions as Permission[]);
  }
  own.end(transaction, true);
}

/** The same store, whose sessions refuse the requests of `refusal`. */
function refusing(real: ModelStore): ModelStore {
  return new Proxy(real, {
    get(target, key) {
      if (key === 'connect')
        return (domid: number, events: SessionEvents) => hindered(target.connect(domid, events));
      return bound(target, key);
    },
  });
}

function hindered(session: StoreSession): StoreSession {
  return new Proxy(session, {
    get(target, key) {
      const value = bound(target, key);
      const name = String(key);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]) => {
        const path = String(name === 'watch' ? args[0] : (args[1] ?? ''));
        if (refusal?.types.includes(name) && refusal.path.test(path))
          throw storeError(refusal.errno, 0, path);
        return (value as Operation)(...args);
      };
    },
  });
}

function bound(target: object, key: string | symbol): unknown {
  const value: unknown = Reflect.get(target, key);
  return typeof value === 'function' ? value.bind(target) : value;
}
