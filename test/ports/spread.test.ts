import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { spreadOverCpus } from '../../lib/ports/spread.js';

describe('a tap whose work is spread over processors', () => {
  let sys: string;
  const file = () => join(sys, 'class/net/vif7.0/queues/rx-1/rps_cpus');

  beforeEach(() => {
    sys = mkdtempSync(join(tmpdir(), 'vifd-sys-'));
    mkdirSync(join(sys, 'class/net/vif7.0/queues/rx-1'), { recursive: true });
    mkdirSync(join(sys, 'devices/system/cpu'), { recursive: true });
    writeFileSync(file(), '00000000,00000000\n');
  });
  afterEach(() => rmSync(sys, { recursive: true }));

  const spread = (online: string) => {
    writeFileSync(join(sys, 'devices/system/cpu/online'), `${online}\n`);
    spreadOverCpus('vif7.0', 1, sys);
    return readFileSync(file(), 'utf8');
  };

  it.each([
    ['0-1', '00000002'],
    ['0-31', 'fffffffe'],
    ['0,2-3', '0000000c'],
    ['0-3,33,64', '00000001,00000002,0000000e'],
  ])('is given all but the first of the processors %s, as %s', (online, mask) => {
    expect(spread(online).startsWith(mask)).toBe(true);
  });

  it('is left alone on one processor', () => {
    expect(spread('0')).toBe('00000000,00000000\n');
  });

  it('keeps what somebody has set', () => {
    writeFileSync(file(), '00000000,00000002\n');
    expect(spread('0-3')).toBe('00000000,00000002\n');
  });

  it('may be one that the kernel cannot spread', () => {
    rmSync(file());
    expect(() => spreadOverCpus('vif7.0', 1, sys)).not.toThrow();
  });
});
