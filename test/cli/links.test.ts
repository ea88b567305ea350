import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SystemLinks } from '../../lib/cli/link-setup.js';

const MAC = 'fe:ff:ff:ff:ff:ff';

describe('how an interface is set up', () => {
  let net: string;
  const said: string[][] = [];
  beforeEach(() => {
    net = mkdtempSync(join(tmpdir(), 'vifd-net-'));
    said.length = 0;
    for (const name of ['xenbr0', 'ovs-system']) mkdirSync(join(net, name));
  });
  afterEach(() => rmSync(net, { recursive: true }));

  const links = () => new SystemLinks(net, async (...args) => void said.push(args));
  const file = (name: string) => readFileSync(join(net, 'vif7.0', name), 'utf8');
  function link(files: Record<string, string>, master?: string): void {
    mkdirSync(join(net, 'vif7.0'));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(net, 'vif7.0', name), text);
    if (master !== undefined) symlinkSync(`../${master}`, join(net, 'vif7.0/master'));
  }
  function bridged(files: Record<string, string>, flags: Record<string, string>): void {
    link(files, 'xenbr0');
    mkdirSync(join(net, 'vif7.0/brport'));
    for (const [name, text] of Object.entries(flags)) writeFileSync(join(net, 'vif7.0/brport', name), text);
  }

  it('is read: bridge, flags of its port, address, MTU, and whether it is up', () => {
    bridged(
      { address: `${MAC}\n`, mtu: '9000\n', flags: '0x1003\n' },
      { isolated: '1\n', learning: '1\n', path_cost: '2\n' },
    );
    expect(links().read('vif7.0')).toEqual({
      bridge: 'xenbr0',
      mac: MAC,
      mtu: 9000,
      up: true,
      port: { isolated: '1', learning: '1' },
    });
  });

  it('is read of one that is in no bridge, and down', () => {
    link({ address: MAC, mtu: '1500', flags: '0x1002' });
    expect(links().read('vif7.0')).toEqual({ mac: MAC, mtu: 1500, up: false, port: {} });
  });

  it('is not what vifd can keep in a switch of another kind', () => {
    link({ address: MAC, mtu: '1500', flags: '0x1003' }, 'ovs-system');
    expect(() => links().read('vif7.0')).toThrow(/vif7\.0 is in ovs-system, which is not a Linux bridge/);
  });

  it('is written: what differs, and going up last', async () => {
    link({ address: '02:00:00:00:00:01', mtu: '1500', flags: '0x1002' });
    const settings = { bridge: 'xenbr0', mac: MAC, mtu: 9000, up: true, port: {} };
    await links().apply('vif7.0', settings);
    expect(said).toEqual([['link', 'set', 'dev', 'vif7.0', 'address', MAC, 'master', 'xenbr0']]);
    expect(file('mtu')).toBe('9000');
    expect(file('flags')).toBe('0x1003');
  });

  it('is left as it is where nothing differs', async () => {
    bridged({ address: MAC, mtu: '9000', flags: '0x1003' }, { isolated: '0' });
    await links().apply('vif7.0', {
      bridge: 'xenbr0',
      mac: MAC,
      mtu: 9000,
      up: true,
      port: { isolated: '1' },
    });
    expect(said).toEqual([]);
    expect(file('brport/isolated')).toBe('1');
    expect(file('flags')).toBe('0x1003');
  });

  it('says which step failed', async () => {
    link({ address: MAC, mtu: '1500', flags: '0x1003' });
    const settings = { mac: MAC, mtu: 1500, up: true, port: { isolated: '1' } };
    mkdirSync(join(net, 'vif7.0/brport'));
    mkdirSync(join(net, 'vif7.0/brport/isolated'));
    expect(() => links().finish('vif7.0', settings)).toThrow();
    expect(() => links().read('vif8.0')).toThrow(/interface vif8\.0 cannot be looked at/);
  });
});
