import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Store } from '../../lib/xen/seam.js';

export interface StoreWorld extends AsyncDisposable {
  /** A new connection to the one store. */
  open(domid: number): Promise<Store>;
}

const refusal = (errno: string): unknown => expect.objectContaining({ code: 'ERR_STORE', errno });

/** Waits until events that are on their way have arrived. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Everything that callers of `Store` rely on, for each implementation. */
export function storeContract(name: string, makeWorld: () => Promise<StoreWorld>): void {
  describe(name, () => {
    let world: StoreWorld;
    let dom0: Store;

    beforeEach(async () => {
      world = await makeWorld();
      dom0 = await world.open(0);
    });

    afterEach(async () => {
      await dom0[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    });

    nodes(() => dom0);
    permissions(
      () => dom0,
      (domid) => world.open(domid),
    );
    transactions(
      () => dom0,
      () => world.open(0),
    );
    watches(
      () => dom0,
      (domid) => world.open(domid),
    );
    limits(
      () => dom0,
      (domid) => world.open(domid),
    );

    it('refuses every call after its disposal', async () => {
      const other = await world.open(0);
      await other[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
      await expect(other.read('/tool')).rejects.toMatchObject({ code: 'ERR_STATE' });
      await expect(other.transaction(async () => {})).rejects.toMatchObject({ code: 'ERR_STATE' });
      await expect(other.watch('/tool', () => {})).rejects.toMatchObject({ code: 'ERR_STATE' });
    });
  });
}

function nodes(dom0: () => Store): void {
  it('reads what was written, as UTF-8', async () => {
    await dom0().write('/a/b', 'vif 7.0 – größer');
    expect(await dom0().read('/a/b')).toBe('vif 7.0 – größer');
    await dom0().write('/a/b', '');
    expect(await dom0().read('/a/b')).toBe('');
  });

  it('reads nothing where nothing is', async () => {
    expect(await dom0().read('/no/such/node')).toBeUndefined();
    expect(await dom0().list('/no/such/node')).toEqual([]);
  });

  it('creates missing parents, empty, and lists children in the order of their making', async () => {
    await dom0().write('/a/b/z', '1');
    await dom0().mkdir('/a/b/c');
    await dom0().write('/a/b/z', '2');
    expect(await dom0().read('/a/b')).toBe('');
    expect(await dom0().list('/a/b')).toEqual(['z', 'c']);
    expect(await dom0().list('/a/b/z')).toEqual([]);
  });

  it('leaves a node alone that is to be made again', async () => {
    await dom0().write('/a', 'kept');
    await dom0().mkdir('/a');
    expect(await dom0().read('/a')).toBe('kept');
  });

  it('removes a node and all below it, and does not mind when there is none', async () => {
    await dom0().write('/a/b/c/d', '1');
    await dom0().rm('/a/b');
    expect(await dom0().read('/a/b/c/d')).toBeUndefined();
    expect(await dom0().list('/a')).toEqual([]);
    await dom0().rm('/a/b');
    await dom0().rm('/no/parent/either');
    await expect(dom0().rm('/')).rejects.toEqual(refusal('EINVAL'));
  });

  it('responds to many calls that were made at once, in order', async () => {
    const store = dom0();
    await Promise.all(Array.from({ length: 200 }, (_, index) => store.write(`/many/n${index}`, `${index}`)));
    const values = await Promise.all(
      Array.from({ length: 200 }, (_, index) => store.read(`/many/n${index}`)),
    );
    expect(values).toEqual(Array.from({ length: 200 }, (_, index) => `${index}`));
  });

  it('reads several nodes by one call: values in the order of the paths, or the first error', async () => {
    const store = dom0();
    for (const name of ['a', 'b', 'c']) await store.write(`/three/${name}`, name);
    const paths = ['c', 'absent', 'a', 'b', 'a'].map((name) => `/three/${name}`);
    const values = ['c', undefined, 'a', 'b', 'a'];
    expect(await store.readAll(paths)).toEqual(values);
    expect(await store.transaction((view) => view.readAll(paths))).toEqual(values);
    expect(await store.readAll([])).toEqual([]);
    await expect(store.readAll(['/three/a', 'no path'])).rejects.toEqual(refusal('EINVAL'));
  });

  it('lists more names than fit in a message', async () => {
    const names = Array.from({ length: 700 }, (_, index) => `child-number-${index}`);
    await Promise.all(names.map((name) => dom0().write(`/big/${name}`, '')));
    expect(await dom0().list('/big')).toEqual(names);
    expect(await dom0().transaction((view) => view.list('/big'))).toEqual(names);
  });

  it.each(['', 'relative', '//a', '/a/', '/a b', '/ä', '/a:b', '@releaseDomain'])(
    'refuses the path %j',
    async (path) => {
      await expect(dom0().write(path, 'x')).rejects.toEqual(refusal('EINVAL'));
      await expect(dom0().read(path)).rejects.toEqual(refusal('EINVAL'));
    },
  );

  it('never sends a path that ends early', async () => {
    await dom0().write('/a', 'kept');
    await expect(dom0().rm('/a\0/b')).rejects.toEqual(refusal('EINVAL'));
    await expect(dom0().write('/a\0b', 'x')).rejects.toEqual(refusal('EINVAL'));
    expect(await dom0().read('/a')).toBe('kept');
  });

  it('names the path and the errno in its errors', async () => {
    await expect(dom0().getPermissions('/gone')).rejects.toThrow(/get perms of "\/gone" failed with ENOENT/);
  });
}

function permissions(dom0: () => Store, open: (domid: number) => Promise<Store>): void {
  it('hands permissions down from parent to child', async () => {
    await dom0().mkdir('/p');
    expect(await dom0().getPermissions('/p')).toEqual([{ domid: 0, access: 'none' }]);
    const shared = [
      { domid: 3, access: 'none' },
      { domid: 5, access: 'read' },
    ] as const;
    await dom0().setPermissions('/p', shared);
    await dom0().write('/p/below/it', 'x');
    expect(await dom0().getPermissions('/p/below/it')).toEqual(shared);
  });

  it('lets a guest do what the node permits, and no more', async () => {
    await dom0().write('/g/mine', 'm');
    await dom0().write('/g/seen', 's');
    await dom0().write('/g/hidden', 'h');
    await dom0().setPermissions('/g/mine', [{ domid: 5, access: 'none' }]);
    await dom0().setPermissions('/g/seen', [
      { domid: 0, access: 'none' },
      { domid: 5, access: 'read' },
    ]);
    await using guest = await open(5);
    expect(await guest.read('/g/mine')).toBe('m');
    expect(await guest.read('/g/seen')).toBe('s');
    await expect(guest.read('/g/hidden')).rejects.toEqual(refusal('EACCES'));
    await expect(guest.read('/g/absent')).rejects.toEqual(refusal('EACCES'));
    await expect(guest.write('/g/seen', 'x')).rejects.toEqual(refusal('EACCES'));
    await expect(guest.rm('/g/seen')).rejects.toEqual(refusal('EACCES'));
    await expect(guest.write('/new', 'x')).rejects.toEqual(refusal('EACCES'));
    await guest.write('/g/mine/own', 'x');
    expect(await guest.read('/g/mine/absent')).toBeUndefined();
    expect(await dom0().getPermissions('/g/mine/own')).toEqual([{ domid: 5, access: 'none' }]);
  });

  it('lets only the owner share a node, and only dom0 give it away', async () => {
    await dom0().write('/g', 'x');
    await dom0().setPermissions('/g', [
      { domid: 5, access: 'none' },
      { domid: 6, access: 'both' },
    ]);
    await using owner = await open(5);
    await using other = await open(6);
    await other.write('/g', 'y');
    await expect(other.setPermissions('/g', [{ domid: 6, access: 'both' }])).rejects.toEqual(
      refusal('EACCES'),
    );
    await expect(owner.setPermissions('/g', [{ domid: 6, access: 'both' }])).rejects.toEqual(
      refusal('EPERM'),
    );
    await owner.setPermissions('/g', [{ domid: 5, access: 'read' }]);
    expect(await other.read('/g')).toBe('y');
    await expect(other.write('/g', 'z')).rejects.toEqual(refusal('EACCES'));
  });

  it('takes a guest’s relative path from its own home', async () => {
    await dom0().write('/local/domain/5/data/x', 'home');
    await dom0().setPermissions('/local/domain/5/data/x', [{ domid: 5, access: 'none' }]);
    await using guest = await open(5);
    expect(await guest.read('data/x')).toBe('home');
  });
}

function transactions(dom0: () => Store, another: () => Promise<Store>): void {
  it('shows a transaction its own changes, and others only after the commit', async () => {
    const seen = await dom0().transaction(async (view) => {
      await view.write('/t/a', '1');
      await view.write('/t/b', '2');
      await view.rm('/tool/xenstored');
      expect(await dom0().read('/t/a')).toBeUndefined();
      return [await view.read('/t/a'), await view.list('/t'), await view.list('/tool')];
    });
    expect(seen).toEqual(['1', ['a', 'b'], []]);
    expect(await dom0().list('/t')).toEqual(['a', 'b']);
    expect(await dom0().list('/tool')).toEqual([]);
  });

  it('undoes everything when the body throws', async () => {
    const body = dom0().transaction(async (view) => {
      await view.write('/t', '1');
      throw new Error('changed my mind');
    });
    await expect(body).rejects.toThrow('changed my mind');
    expect(await dom0().read('/t')).toBeUndefined();
  });

  it('runs the body again when what it read has changed', async () => {
    await using other = await another();
    await dom0().write('/t', '1');
    let runs = 0;
    await dom0().transaction(async (view) => {
      const value = await view.read('/t');
      runs += 1;
      if (runs < 3) await other.write('/t', `${value}+`);
      await view.write('/t', `${value}!`);
    });
    expect(runs).toBe(3);
    expect(await dom0().read('/t')).toBe('1++!');
  });

  it('takes a node that appeared, and one that vanished, for a conflict', async () => {
    await using other = await another();
    await dom0().write('/t/gone', '');
    let runs = 0;
    const counts = await dom0().transaction(async (view) => {
      const names = await view.list('/t');
      const missing = await view.read('/u');
      runs += 1;
      if (runs === 1) await other.rm('/t/gone');
      if (runs === 2) await other.write('/u', 'here');
      await view.write('/count', `${names.length} ${missing}`);
      return [names.length, missing];
    });
    expect(runs).toBe(3);
    expect(counts).toEqual([0, 'here']);
  });

  it('does not mind changes elsewhere', async () => {
    await dom0().mkdir('/t');
    await dom0().mkdir('/elsewhere');
    let runs = 0;
    await dom0().transaction(async (view) => {
      runs += 1;
      await view.write('/t/a', '1');
      await dom0().write('/elsewhere/b', '1');
    });
    expect(runs).toBe(1);
  });

  it('gives up after as many attempts as its option allows', async () => {
    await dom0().write('/t', '1');
    let runs = 0;
    const body = dom0().transaction(async (view) => {
      runs += 1;
      await view.read('/t');
      await dom0().write('/t', String(runs));
      await view.write('/u', '');
    }, 5);
    await expect(body).rejects.toEqual(refusal('EAGAIN'));
    expect(runs).toBe(5);
  });

  it('loses no increment of many that compete', async () => {
    const stores = await Promise.all(Array.from({ length: 4 }, () => another()));
    const increment = (store: Store): Promise<void> =>
      store.transaction(async (view) => view.write('/n', String(Number(await view.read('/n')) + 1)), 1000);
    await dom0().write('/n', '0');
    await Promise.all(stores.flatMap((store) => Array.from({ length: 8 }, () => increment(store))));
    expect(await dom0().read('/n')).toBe('32');
    await Promise.all(stores.map((store) => store[Symbol.asyncDispose]()));
  });

  it('refuses a view whose transaction is over', async () => {
    const view = await dom0().transaction(async (inner) => inner);
    await expect(view.read('/tool')).rejects.toMatchObject({ code: 'ERR_STATE' });
  });
}

function watches(dom0: () => Store, open: (domid: number) => Promise<Store>): void {
  it('fires once at registration, after `watch` has resolved', async () => {
    let resolved = false;
    const early = vi.fn((path: string) => expect([path, resolved]).toEqual(['/w/absent', true]));
    const watch = await dom0().watch('/w/absent', early);
    resolved = true;
    await settle();
    expect(early).toHaveBeenCalledTimes(1);
    await watch.close();
  });

  it('fires at and below the path, and nowhere else', async () => {
    const paths: string[] = [];
    await using _watch = await dom0().watch('/w', (path) => paths.push(path));
    await settle();
    await dom0().write('/w/a/b', '1');
    await settle();
    await dom0().mkdir('/w/c');
    await dom0().mkdir('/w/c');
    await settle();
    await dom0().setPermissions('/w', [{ domid: 1, access: 'none' }]);
    await dom0().write('/wider', '1');
    await dom0().write('/other', '1');
    await settle();
    expect(paths).toEqual(['/w', '/w/a/b', '/w/c', '/w']);
  });

  it('fires a watch on a child when its parent is removed', async () => {
    await dom0().write('/w/a/b', '1');
    const paths: string[] = [];
    await using _deep = await dom0().watch('/w/a/b', (path) => paths.push(`deep ${path}`));
    await using _high = await dom0().watch('/', (path) => paths.push(`high ${path}`));
    await settle();
    paths.length = 0;
    await dom0().rm('/w');
    await settle();
    expect(paths.toSorted()).toEqual(['deep /w/a/b', 'high /w']);
  });

  it('fires after the commit, and not at all for what was undone', async () => {
    const paths: string[] = [];
    await using _watch = await dom0().watch('/w', (path) => paths.push(path));
    await settle();
    paths.length = 0;
    await dom0().transaction(async (view) => {
      await view.write('/w/a', '1');
      await view.write('/w/b', '2');
      await settle();
      expect(paths).toEqual([]);
    });
    await settle();
    expect(paths).toEqual(['/w/a', '/w/b']);
    await expect(
      dom0().transaction(async (view) => {
        await view.write('/w/c', '1');
        throw new Error('no');
      }),
    ).rejects.toThrow('no');
    await settle();
    expect(paths).toEqual(['/w/a', '/w/b']);
  });

  it('fires no more once it is closed', async () => {
    const onChange = vi.fn();
    const watch = await dom0().watch('/w', onChange);
    await settle();
    onChange.mockClear();
    const written = dom0().write('/w', '1');
    await watch.close();
    await watch.close();
    await written;
    await settle();
    expect(onChange).not.toHaveBeenCalled();
  });

  it('keeps two watches on one path apart', async () => {
    const calls: string[] = [];
    const first = await dom0().watch('/w', () => calls.push('first'));
    await using _second = await dom0().watch('/w', () => calls.push('second'));
    await settle();
    calls.length = 0;
    await dom0().write('/w', '1');
    await settle();
    expect(calls).toEqual(['first', 'second']);
    await first.close();
    await dom0().write('/w', '2');
    await settle();
    expect(calls).toEqual(['first', 'second', 'second']);
  });

  it('merges a storm of events, and loses none of what a reader would find', async () => {
    const paths = new Set<string>();
    let calls = 0;
    await using _watch = await dom0().watch('/w', (path) => {
      calls += 1;
      paths.add(path);
    });
    const writes = Array.from({ length: 3000 }, (_, index) => dom0().write(`/w/n${index % 3}`, `${index}`));
    await Promise.all(writes);
    await settle();
    expect([...paths].toSorted()).toEqual(['/w', '/w/n0', '/w/n1', '/w/n2']);
    expect(calls).toBeLessThanOrEqual(3001);
  });

  it('fires for a guest only at nodes that it may read', async () => {
    await dom0().write('/g/open', '');
    await dom0().setPermissions('/g/open', [{ domid: 0, access: 'read' }]);
    await using guest = await open(5);
    const paths: string[] = [];
    await using _watch = await guest.watch('/g', (path) => paths.push(path));
    await settle();
    await dom0().write('/g/open', 'x');
    await dom0().write('/g/secret', 'x');
    await settle();
    expect(paths).toEqual(['/g', '/g/open']);
    await dom0().setPermissions('/g/open', [{ domid: 0, access: 'none' }]);
    await settle();
    expect(paths).toEqual(['/g', '/g/open', '/g/open']);
  });

  it('refuses to watch what is no path', async () => {
    await expect(dom0().watch('no/path', () => {})).rejects.toEqual(refusal('EINVAL'));
    await using _special = await dom0().watch('@releaseDomain', () => {});
  });
}

function limits(dom0: () => Store, open: (domid: number) => Promise<Store>): void {
  it('takes a payload of 4096 bytes and refuses one more', async () => {
    const value = 'x'.repeat(4096 - '/l\0'.length);
    await dom0().write('/l', value);
    expect(await dom0().read('/l')).toBe(value);
    await expect(dom0().write('/l', `${value}x`)).rejects.toEqual(refusal('E2BIG'));
    expect(await dom0().read('/l')).toBe(value);
  });

  it('takes a path of 3072 bytes and refuses one more', async () => {
    const path = `/${'p'.repeat(3071)}`;
    await dom0().write(path, 'x');
    expect(await dom0().read(path)).toBe('x');
    await expect(dom0().write(`${path}p`, 'x')).rejects.toEqual(refusal('EINVAL'));
  });

  describe('for a guest', () => {
    let guest: Store;
    beforeEach(async () => {
      await dom0().mkdir('/q');
      await dom0().setPermissions('/q', [{ domid: 5, access: 'none' }]);
      guest = await open(5);
    });
    afterEach(async () => {
      await guest[Symbol.asyncDispose]();
    });

    it('ends at 128 watches', async () => {
      const made = await Promise.all(Array.from({ length: 128 }, () => guest.watch('/q', () => {})));
      await expect(guest.watch('/q', () => {})).rejects.toEqual(refusal('E2BIG'));
      await made[0]!.close();
      await using _again = await guest.watch('/q', () => {});
    });

    it('ends at nodes of 2 KiB', async () => {
      await guest.write('/q/n', 'x'.repeat(1900));
      await expect(guest.write('/q/n', 'x'.repeat(2048))).rejects.toEqual(refusal('ENOSPC'));
      await dom0().write('/q/n', 'x'.repeat(2048));
    });

    it('ends at 1000 nodes, in a transaction too', async () => {
      const names = (from: number, to: number) =>
        Array.from({ length: to - from }, (_, at) => `/q/d${(from + at) % 20}/n${from + at}`);
      await Promise.all(names(0, 950).map((path) => guest.write(path, '')));
      const more = names(950, 1000);
      const all = guest.transaction(
        async (view) => void (await Promise.all(more.map((path) => view.write(path, '')))),
      );
      await expect(all).rejects.toEqual(refusal('ENOSPC'));
      const results = await Promise.allSettled(more.map((path) => guest.write(path, '')));
      // /q itself and the 20 directories count too.
      expect(results.filter(({ status }) => status === 'fulfilled').length).toBe(1000 - 950 - 21);
      await guest.rm('/q/d0');
      await guest.write('/q/d1/again', '');
    });

    it('stays below 10 open transactions: the others wait for their turn, in order', async () => {
      const begun: number[] = [];
      let open = 0;
      let openMost = 0;
      const bodies = Array.from({ length: 30 }, (_, index) =>
        guest.transaction(async (view) => {
          begun.push(index);
          open += 1;
          openMost = Math.max(openMost, open);
          await view.write(`/q/t${index}`, '');
          open -= 1;
        }),
      );
      await Promise.all(bodies);
      expect(openMost).toBe(5);
      const firsts = begun.filter((index, at) => begun.indexOf(index) === at);
      expect(firsts).toEqual(Array.from({ length: 30 }, (_, index) => index));
      expect(await guest.list('/q')).toHaveLength(30);
    });

    it('a transaction that throws gives its turn away', async () => {
      const wrong = Array.from({ length: 8 }, () =>
        guest.transaction(async () => {
          throw new Error('mine');
        }),
      );
      for (const outcome of await Promise.allSettled(wrong)) expect(outcome.status).toBe('rejected');
      await guest.transaction((view) => view.write('/q/after', ''));
    });

    it('ends at 5 permissions a node', async () => {
      const list = (length: number) =>
        Array.from({ length }, (_, at) => ({ domid: 5 + at, access: 'none' }) as const);
      await guest.setPermissions('/q', list(5));
      await expect(guest.setPermissions('/q', list(6))).rejects.toEqual(refusal('ENOSPC'));
    });
  });
}
