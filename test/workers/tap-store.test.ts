import { closeSync, openSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DescriptorKeeper } from '../../lib/host/descriptor-keeper.js';
import { TapStore } from '../../lib/workers/tap-store.js';

describe('the descriptors of all workers', () => {
  const manager: string[] = [];
  const keeper: DescriptorKeeper = {
    take: () => undefined,
    keep: (name) => void manager.push(`keep ${name}`),
    forget: (name) => void manager.push(`forget ${name}`),
  };
  const open = () => openSync('/dev/null', 'r');
  const descriptors = () => readdirSync('/proc/self/fd').length;
  const rethrow = (error: Error) => {
    throw error;
  };
  let before: number;
  let store: TapStore;

  beforeEach(() => {
    manager.length = 0;
    before = descriptors();
    store = new TapStore(keeper, new Map([['vif7.0', open()]]), rethrow);
  });
  afterEach(() => {
    store[Symbol.dispose]();
    expect(descriptors()).toBe(before);
  });

  it('are those of the previous process, and what workers send, which the service manager gets too', () => {
    store.own('vif7.0.q1', open());
    store.own('vif7.00', open());
    store.own('vif71.0', open());
    expect([...store.of('vif7.0').keys()]).toEqual(['vif7.0', 'vif7.0.q1']);
    expect([...store.of('vif8.0')]).toEqual([]);
    expect(manager).toEqual(['keep vif7.0.q1', 'keep vif7.00', 'keep vif71.0']);
    store.forget('vif7.0');
    expect([...store.of('vif7.0').keys()]).toEqual(['vif7.0.q1']);
    expect(manager.at(-1)).toBe('forget vif7.0');
  });

  it('are stored once for each name, however often a worker sends one', () => {
    for (let i = 0; i < 3; i++) store.own('vif8.0', open());
    expect(manager).toEqual(['keep vif8.0', 'forget vif8.0', 'keep vif8.0', 'forget vif8.0', 'keep vif8.0']);
  });

  it('are lent as duplicates to the sweep of this process', () => {
    const taken = store.take('vif7.0')!;
    expect(taken).not.toBe(store.of('vif7.0').get('vif7.0'));
    store.keep('vif7.0', taken);
    closeSync(taken);
    expect(store.take('vif9.0')).toBeUndefined();
    expect(manager).toEqual(['keep vif7.0']);
  });
});
