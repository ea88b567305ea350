import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { XenNetbackControl } from '../../lib/cli/kernel-control.js';
import { Ownership } from '../../lib/daemon/ownership.js';
import type { VifInfo } from '../../lib/netback/vif-info.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';

const vif: VifInfo = { id: 'vif3.0', domid: 3, handle: 0, mac: '', bridge: undefined, mtu: undefined };

describe("a vif beside the kernel's driver", () => {
  let bus: string;
  beforeEach(() => {
    bus = mkdtempSync(join(tmpdir(), 'vifd-bus-'));
  });
  afterEach(() => rmSync(bus, { recursive: true }));

  const driver = (autoprobe: string) => {
    mkdirSync(join(bus, 'drivers/vif'), { recursive: true });
    writeFileSync(join(bus, 'drivers_autoprobe'), autoprobe);
  };

  /** @param found which vif, among those that a guest has. */
  async function isOurs(found: Partial<VifInfo> = {}, folder = bus): Promise<boolean> {
    const { store } = new ModelHypervisor({ autorun: true }).open(0);
    for (const handle of [0, 1])
      await store.write(`/local/domain/0/backend/vif/3/${handle}/frontend`, '/local/domain/3/device/vif/0');
    const findTap = () => undefined;
    const openTap = () => expect.fail('nothing is opened by asking');
    const kernel = new XenNetbackControl(folder);
    return new Ownership({ store, domid: 0, kernel, findTap, openTap }).accept({ ...vif, ...found }, false);
  }

  it('is ours where no driver is loaded', async () => {
    expect(await isOurs()).toBe(true);
    expect(await isOurs({}, join(bus, 'no-such-bus'))).toBe(true);
  });

  it('is the kernel’s while the driver takes what comes', async () => {
    driver('1\n');
    expect(await isOurs()).toBe(false);
  });

  it('is ours where the driver takes nothing by itself, unless it serves it', async () => {
    driver('0\n');
    expect(await isOurs()).toBe(true);
    mkdirSync(join(bus, 'devices/vif-3-0/driver'), { recursive: true });
    expect(await isOurs()).toBe(false);
    expect(await isOurs({ handle: 1 })).toBe(true);
  });

  it('is the kernel’s until its interface is gone, also after the driver was unbound', async () => {
    driver('0\n');
    mkdirSync(join(bus, 'devices/vif-3-0/net/renamed'), { recursive: true });
    writeFileSync(join(bus, 'drivers/vif/unbind'), 'untouched');
    expect(await isOurs()).toBe(false);
    // An adopt that was killed has unbound the driver already: a second unbind does not fail.
    new XenNetbackControl(bus).unbind(vif);
    expect(readFileSync(join(bus, 'drivers/vif/unbind'), 'utf8')).toBe('untouched');
    rmSync(join(bus, 'devices/vif-3-0/net'), { recursive: true });
    expect(await isOurs()).toBe(true);
  });

  it('is bound and unbound by its name on the bus', () => {
    driver('1\n');
    for (const file of ['bind', 'unbind']) writeFileSync(join(bus, 'drivers/vif', file), '');
    new XenNetbackControl(bus).bind(vif);
    new XenNetbackControl(bus).unbind(vif);
    for (const file of ['bind', 'unbind'])
      expect(readFileSync(join(bus, 'drivers/vif', file), 'utf8')).toBe('vif-3-0');
  });

  const PROBE = '/sys/bus/platform/drivers_probe';
  it.skipIf(!isWritable(PROBE))(
    'is unbound by a file that not even root may read (root and sysfs needed)',
    () => {
      driver('1\n');
      symlinkSync(PROBE, join(bus, 'drivers/vif/unbind'));
      // The bus refuses a name that it does not have, so the error shows that it was asked.
      expect(() => new XenNetbackControl(bus).unbind(vif)).toThrow(
        expect.objectContaining({ errno: 'ENODEV' }),
      );
    },
  );

  it('reports that the driver refused it, with the reason', () => {
    driver('1\n');
    expect(() => new XenNetbackControl(bus).bind(vif)).toThrow(
      expect.objectContaining({
        code: 'ERR_KERNEL_DRIVER',
        errno: 'ENOENT',
        message: "The kernel's xen-netback refused to bind vif-3-0 (ENOENT): see `dmesg`.",
      }),
    );
  });

  it('is not probed while the driver is loaded; what came meanwhile is, afterwards', async () => {
    driver('1\n');
    mkdirSync(join(bus, 'devices/vif-3-0'), { recursive: true });
    writeFileSync(join(bus, 'drivers_probe'), '');
    // Instead of modprobe: writes down what it found, and lets a disk and a vif appear.
    const bin = join(bus, 'bin');
    mkdirSync(bin);
    const script = `#!/bin/sh\ncp ${bus}/drivers_autoprobe ${bus}/seen; mkdir ${bus}/devices/vbd-3-768 ${bus}/devices/vif-3-1\n`;
    writeFileSync(join(bin, 'modprobe'), script, { mode: 0o755 });
    const path = process.env.PATH;
    process.env.PATH = `${bin}:${path}`;
    try {
      await new XenNetbackControl(bus).load();
    } finally {
      process.env.PATH = path;
    }
    expect(readFileSync(join(bus, 'seen'), 'utf8')).toBe('0\n');
    expect(readFileSync(join(bus, 'drivers_autoprobe'), 'utf8')).toBe('1\n');
    expect(readFileSync(join(bus, 'drivers_probe'), 'utf8')).toBe('vbd-3-768');
    expect(existsSync(join(bus, 'devices/vif-3-1/driver'))).toBe(false);
  });
});

function isWritable(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
