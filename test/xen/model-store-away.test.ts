import { beforeEach, describe, expect, it } from 'vitest';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';

describe.each([undefined, 5])('the model’s xenstored that stops and starts (seed %s)', (seed) => {
  let hypervisor: ModelHypervisor;
  let xen: ModelXen;
  const heard: string[] = [];

  beforeEach(async () => {
    hypervisor = new ModelHypervisor(seed === undefined ? {} : { seed });
    xen = hypervisor.open(0);
    heard.length = 0;
    xen.store.onConnection((lost) => heard.push(lost?.code ?? 'back'));
    const watching = xen.store.watch('/w', (path) => heard.push(path));
    await hypervisor.settle();
    await watching;
    const writing = xen.store.write('/w/n', '1');
    await hypervisor.settle();
    await writing;
    heard.length = 0;
  });

  it('is reported before any watch fires, and each fires once', async () => {
    hypervisor.store.stop();
    hypervisor.store.stop();
    await hypervisor.settle();
    expect(heard).toEqual(['ERR_STORE_GONE']);
    hypervisor.store.start();
    hypervisor.store.start();
    await hypervisor.settle();
    expect(heard).toEqual(['ERR_STORE_GONE', 'back', '/w']);
  });

  it('does what was asked meanwhile in its order, with its contents or without', async () => {
    for (const contents of ['preserved', 'lost'] as const) {
      hypervisor.store.stop();
      const done: unknown[] = [];
      const { store } = xen;
      const note = (value: unknown) => done.push(value);
      store.read('/w/n').then(note);
      store.write('/a', contents).then(() => note('write'));
      store.transaction((view) => view.write('/t', contents)).then(() => note('transaction'));
      store.watch('/late', () => note('late')).then(() => note('watch'));
      await hypervisor.advance(100_000);
      expect(done).toEqual([]);
      hypervisor.store.start(contents);
      await hypervisor.settle();
      expect([...done].sort()).toEqual(
        [contents === 'preserved' ? '1' : undefined, 'write', 'transaction', 'watch', 'late'].sort(),
      );
      const reading = Promise.all([store.read('/a'), store.read('/t')]);
      await hypervisor.settle();
      expect(await reading).toEqual([contents, contents]);
    }
  });

  it('loses no call and no watch, at whatever microtask it stops and starts', async () => {
    for (let at = 0; at < 24; at += 1) {
      const { store } = xen;
      let fired = 0;
      let runs = 0;
      const work = Promise.all([
        store.watch(`/p/${at}`, () => {
          fired += 1;
        }),
        store.write('/first', String(at)),
        store.transaction(async (view) => {
          runs += 1;
          await view.write('/count', String(at));
        }),
        store.read('/first'),
      ]);
      for (let tick = 0; tick < at; tick += 1) await undefined;
      hypervisor.store.stop();
      for (let tick = 0; tick < at % 5; tick += 1) await undefined;
      hypervisor.store.start();
      await hypervisor.settle();
      const [watch] = await work;
      expect(fired).toBeGreaterThan(0);
      expect(runs).toBeGreaterThan(0);
      fired = 0;
      const change = store.write(`/p/${at}/x`, '1');
      await hypervisor.settle();
      await change;
      expect(fired).toBe(1);
      const rest = Promise.all([store.read('/first'), store.read('/count'), watch.close()]);
      await hypervisor.settle();
      expect((await rest).slice(0, 2)).toEqual([String(at), String(at)]);
    }
    expect(hypervisor.store.watches.count(0)).toBe(1);
  });

  it('lets a watch be closed, and the connection be disposed, at once', async () => {
    const watching = xen.store.watch('/v', (path) => heard.push(path));
    await hypervisor.settle();
    const watch = await watching;
    hypervisor.store.stop();
    await hypervisor.settle();
    heard.length = 0;
    await watch.close();
    const call = expect(xen.store.read('/a')).rejects.toMatchObject({ code: 'ERR_STATE' });
    await xen.store[Symbol.asyncDispose]();
    await call;
    hypervisor.store.start();
    await hypervisor.settle();
    expect(heard).toEqual([]);
    expect(hypervisor.store.watches.count(0)).toBe(0);
  });

  it('reports nothing to a process that was killed', async () => {
    hypervisor.kill(xen);
    hypervisor.store.stop();
    hypervisor.store.start();
    await hypervisor.settle();
    expect(heard).toEqual([]);
  });

  it('can be met by a process that begins while it is stopped', async () => {
    hypervisor.store.stop();
    const other = hypervisor.open(0);
    const reading = other.store.read('/tool');
    hypervisor.store.start();
    await hypervisor.settle();
    expect(await reading).toBe('');
  });
});
