import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { journalFiles } from '../../lib/host/journal-files.js';
import { AT_FRAMES, AT_FROM_GUEST, AT_QUEUES } from '../../lib/netback/frames/counter-layout.js';
import type { Vif } from '../../lib/netback/public-vif.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const PAGE_BYTES = 4096;
/** vifd looks once a second. */
const LOOK_MS = 1100;

describe('the file of a vif’s counters', () => {
  let directory: string;
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-counters-'));
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    world.journals = journalFiles(join(directory, 'run'));
    guest = await world.guest(7);
  });
  afterEach(async () => {
    await world.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const path = () => join(directory, 'run', 'vif7.0.counters.journal');
  const vif = () => world.netback.vifs.get('vif7.0') as Vif;
  const counted = () => vif().stats.fromGuest.frames;
  /** Returns the content of the file. */
  const stands = () => readFileSync(path()).readDoubleLE(8 * (AT_QUEUES + AT_FROM_GUEST + AT_FRAMES));

  async function send(frames: number): Promise<void> {
    for (let i = 0; i < frames; i++) guest.send([{ size: 60 }]);
    await world.settle();
  }

  it('is one page, which other programs can read while vifd counts', async () => {
    await world.start('copy', [guest]);
    for (const frames of [1, 2, 3]) {
      await send(1);
      expect([stands(), counted()]).toEqual([frames, frames]);
    }
    expect(readFileSync(path())).toHaveLength(PAGE_BYTES);
  });

  it.each<[what: string, how: RegExp, lose: () => void]>([
    [
      'deleted',
      /^vif7\.0: Journal \S+counters\.journal was deleted while it was in use: it is made anew$/,
      () => rmSync(path()),
    ],
    [
      'replaced',
      /^vif7\.0: Journal \S+counters\.journal was deleted while it was in use: it is made anew$/,
      () => {
        rmSync(path());
        writeFileSync(path(), 'another');
      },
    ],
    [
      'emptied',
      /^vif7\.0: Journal \S+counters\.journal was truncated while it was in use: it is made anew$/,
      () => truncateSync(path(), 0),
    ],
    [
      'cut short',
      /^vif7\.0: Journal \S+counters\.journal was truncated while it was in use: it is made anew$/,
      () => truncateSync(path(), 100),
    ],
  ])('is made again with all counts when it is %s while in use', async (_what, how, lose) => {
    await world.start('copy', [guest]);
    await send(5);
    expect(counted()).toBe(5);
    lose();
    await send(2);
    expect(counted()).toBe(7);
    await hypervisor.advance(LOOK_MS);
    expect(world.errors.map(({ code, message }) => [code, message])).toEqual([
      ['ERR_JOURNAL', expect.stringMatching(how)],
    ]);
    expect([world.mended, vif().faults]).toEqual([world.errors, []]);
    // The connection has nothing to do with it.
    expect(world.detached).toEqual([]);
    expect([stands(), counted()]).toEqual([7, 7]);
    await send(1);
    world.kill();
    await world.start('copy');
    expect([counted(), world.errors.length]).toEqual([8, 1]);
  });

  it('that was deleted and cannot be made again is reported by what hinders that, once, until it can', async () => {
    await world.start('copy', [guest]);
    await send(5);
    rmSync(path());
    mkdirSync(path());
    await hypervisor.advance(5 * LOOK_MS);
    await send(1);
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^vif7\.0: Journal \S+ was deleted while it was in use: it is made anew$/),
      expect.stringMatching(
        /^vif7\.0: Journal \S+ cannot be used \((EISDIR|EEXIST)\): its counters end with/,
      ),
    ]);
    expect(vif().faults).toEqual([world.errors[1]]);
    rmdirSync(path());
    await hypervisor.advance(LOOK_MS);
    expect([vif().faults, stands(), counted()]).toEqual([[], 6, 6]);
  });

  it('that cannot be had is counted in memory, reported once, and had later with what was counted', async () => {
    mkdirSync(path(), { recursive: true });
    await world.start('copy', [guest]);
    await send(3);
    await hypervisor.advance(3 * LOOK_MS);
    const why = `Journal ${path()} cannot be used (EISDIR): its counters end with this process. Remove what stands in its place; it is tried again.`;
    expect(world.errors.map(({ message }) => message)).toEqual([`vif7.0: ${why}`]);
    expect(counted()).toBe(3);
    rmdirSync(path());
    await hypervisor.advance(LOOK_MS);
    expect([stands(), counted()]).toEqual([3, 3]);
    expect(world.mended).toEqual(world.errors);
  });

  it('is not reported besides the connection’s journals where the same hinders both', async () => {
    writeFileSync(join(directory, 'run'), '');
    await world.start('copy', [guest]);
    await hypervisor.advance(3 * LOOK_MS);
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('vif7.0.q0.journal'),
    ]);
    await send(2);
    rmSync(join(directory, 'run'));
    await hypervisor.advance(2 * LOOK_MS);
    expect(world.mended).toEqual(world.errors);
    expect([stands(), counted()]).toEqual([2, 2]);
  });

  it('stays when vifd stops, and goes with the vif', async () => {
    await world.start('copy', [guest]);
    await send(1);
    await world.stop();
    expect(stands()).toBe(1);
    await world.start('copy');
    await world.rm('/local/domain/0/backend/vif/7/0');
    expect(existsSync(path())).toBe(false);
    expect(readdirSync(join(directory, 'run'))).toEqual([]);
  });
});
