import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Taps } from '../../lib/daemon/taps.js';
import { LocalKeeper } from '../../lib/host/local-keeper.js';
import { interfaces } from '../../lib/host/netlink-interfaces.js';
import type { Port } from '../../lib/ports/port.js';
import { ip, withTaps } from '../tap-network.js';

const rethrow = (error: Error) => {
  throw error;
};

function runTests(): void {
  let kept: LocalKeeper;
  const ports: Port[] = [];
  /** The taps of a process that begins now. */
  const begin = () => new Taps({ keeper: kept.forProcess(), network: interfaces(), multiQueue: true });
  const open = (taps: Taps, vif = 'vif7.0') => {
    const port = taps.open({ vif, persist: true, up: true });
    ports.push(port);
    return port;
  };
  const changes = () => readFileSync('/sys/class/net/vif7.0/carrier_changes', 'utf8').trim();
  const carrier = () => readFileSync('/sys/class/net/vif7.0/carrier', 'utf8').trim();
  afterEach(async () => {
    for (const port of ports.splice(0)) await port.remove?.();
    kept[Symbol.dispose]();
  });

  it('keep their carrier between two processes', async () => {
    kept = new LocalKeeper(rethrow);
    const first = open(begin());
    first.setCarrier?.(true);
    const before = changes();
    await first[Symbol.asyncDispose]();
    expect(carrier()).toBe('1');
    open(begin());
    expect([carrier(), changes()]).toEqual(['1', before]);
  });

  it('are each a vif’s, by name', async () => {
    kept = new LocalKeeper(rethrow);
    const taps = begin();
    open(taps, 'vif7.1');
    open(taps, 'vif7.10');
    expect(kept.names.sort()).toEqual(['vif7.1', 'vif7.10']);
    const next = begin();
    ip('link', 'set', 'vif7.10', 'down');
    ip('link', 'set', 'vif7.10', 'name', 'web0');
    expect([open(next, 'vif7.10'), open(next, 'vif7.1')].map((port) => port.name)).toEqual([
      'web0',
      'vif7.1',
    ]);
  });

  it('are forgotten when they are removed', async () => {
    kept = new LocalKeeper(rethrow);
    await open(begin()).remove?.();
    expect(kept.names).toEqual([]);
  });
}

withTaps(import.meta.url, () => describe('taps that a keeper has stored', runTests));
