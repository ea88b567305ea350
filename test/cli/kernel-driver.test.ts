import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isKernels } from '../../lib/cli/kernel-driver.js';

const vif = { domid: 3, handle: 0 };

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

  it('is ours where no driver is loaded', () => {
    expect(isKernels(vif, bus)).toBe(false);
    expect(isKernels(vif, join(bus, 'no-such-bus'))).toBe(false);
  });

  it('is the kernel’s while the driver takes what comes', () => {
    driver('1\n');
    expect(isKernels(vif, bus)).toBe(true);
  });

  it('is ours where the driver takes nothing by itself, unless it serves it', () => {
    driver('0\n');
    expect(isKernels(vif, bus)).toBe(false);
    mkdirSync(join(bus, 'devices/vif-3-0/driver'), { recursive: true });
    expect(isKernels(vif, bus)).toBe(true);
    expect(isKernels({ domid: 3, handle: 1 }, bus)).toBe(false);
  });
});
