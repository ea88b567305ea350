import type { LastingEvents, Store, StoredEvents, StoredPort, Xen } from '../xen/seam.js';

/** What the warm-up uses of this process's own hypervisor. */
export type OwnXen = Pick<Xen, 'store' | 'openLastingEvents'>;

/**
 * Returns the model for a turn of the warm-up, with as much of the real hypervisor as needs no guest: the real store is asked whatever the model's
 * is asked, and the handles of event channels are real. So the code for them runs, too.
 */
export function warmUpXen(model: Xen, own: OwnXen): Xen {
  const { domid, grants, clock, shares, events } = model;
  const { openLastingEvents } = own;
  return {
    ...{ domid, grants, clock, shares, events },
    store: askingBoth(model.store, own.store),
    ...(openLastingEvents && {
      openLastingEvents: (stored?: StoredEvents) => lastingOf(model, own, stored),
    }),
    [Symbol.asyncDispose]: () => model[Symbol.asyncDispose](),
  };
}

/** The model's channels, by a handle of the real hypervisor on which nothing is bound. */
function lastingOf({ events }: Xen, own: OwnXen, stored: StoredEvents | undefined): LastingEvents {
  const handle = own.openLastingEvents?.(stored && { ...stored, ports: [] }) as LastingEvents;
  const ports: StoredPort[] = [];
  return {
    bind: (domid, remotePort, ...listeners) => {
      const channel = events.bind(domid, remotePort, ...listeners);
      ports.push({ domid, remotePort, port: channel.port });
      return channel;
    },
    bindUnbound: (...end) => events.bindUnbound(...end),
    get stored() {
      return { descriptor: handle.stored.descriptor, ports };
    },
    [Symbol.dispose]: () => handle[Symbol.dispose](),
  };
}

/** A store whose results are the first one's. Only the second one's time counts: what it has is ignored, and so are its errors. */
function askingBoth(store: Store, other: Store): Store {
  const both = async <T>(result: Promise<T>, asked: Promise<unknown>): Promise<T> => {
    const [first] = await Promise.all([result, asked.catch(() => undefined)]);
    return first;
  };
  return {
    read: (path) => both(store.read(path), other.read(path)),
    readAll: (paths) => both(store.readAll(paths), other.readAll(paths)),
    list: (path) => both(store.list(path), other.list(path)),
    watch: async (path, onChange) => {
      const watching = other.watch(path, () => {});
      const watch = await both(store.watch(path, onChange), watching);
      const close = () =>
        both(
          watch.close(),
          watching.then((one) => one.close()),
        );
      return { close, [Symbol.asyncDispose]: close };
    },
    write: (path, value) => store.write(path, value),
    mkdir: (path) => store.mkdir(path),
    rm: (path) => store.rm(path),
    getPermissions: (path) => store.getPermissions(path),
    setPermissions: (path, permissions) => store.setPermissions(path, permissions),
    transaction: (body, attempts) => store.transaction(body, attempts),
    onConnection: (listener) => store.onConnection(listener),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}
