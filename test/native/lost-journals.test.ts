import { existsSync, mkdtempSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const QUEUE_JOURNAL_BYTES = LAYOUTS[JOURNAL_VERSION].queue.bytes;

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { JOURNAL_VERSION, LAYOUTS } from '../../lib/durable/layout.js';
import { VifdError } from '../../lib/errors.js';
import { journalFiles } from '../../lib/host/journal-files.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { modelMachine } from '../../worlds/model/machine.js';
import type { RawGuest } from '../../worlds/model/raw-guest.js';
import { World } from '../../worlds/model/raw-world.js';

const FRAMES = 3;

describe('a journal that is lost while it is in use is made anew, and it is reported', () => {
  let directory: string;
  let hypervisor: ModelHypervisor;
  let world: World;
  let guest: RawGuest;
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'vifd-lost-'));
    hypervisor = new ModelHypervisor();
    world = await World.open(modelMachine(hypervisor));
    world.journals = journalFiles(join(directory, 'run'));
    guest = await world.guest(7);
    await world.start('copy', [guest]);
  });
  afterEach(async () => {
    await world.close();
    rmSync(directory, { recursive: true, force: true });
  });

  const queueFile = () => join(directory, 'run', 'vif7.0.q0.journal');
  const vifFile = () => join(directory, 'run', 'vif7.0.journal');

  it.each<[what: string, word: RegExp, lose: () => void]>([
    ['its file deleted', /deleted/, () => rmSync(queueFile())],
    [
      'another file put in its place',
      /deleted/,
      () => {
        writeFileSync(`${queueFile()}.other`, 'other');
        renameSync(`${queueFile()}.other`, queueFile());
      },
    ],
    ['the file of the vif deleted', /vif7\.0\.journal was deleted/, () => rmSync(vifFile())],
    ['the whole directory deleted', /deleted/, () => rmSync(join(directory, 'run'), { recursive: true })],
  ])('%s: nothing is lost, and the next process resumes from the new one', async (_what, word, lose) => {
    for (let i = 0; i < FRAMES; i++) world.port('vif7.0').put(new Uint8Array(60).fill(i + 1));
    // Fewer buffers than frames: those that were read wait in the journal.
    guest.post([guest.ref(100)]);
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(1);
    const waiting = () => world.netback.vifs.get('vif7.0')?.show().connection?.queues[0]?.pendingFrames;
    expect(waiting()).toBe(FRAMES - 1);
    lose();
    await hypervisor.advance(1000);
    // The directory has the vif's counters, too.
    const ofConnection = (errors: readonly VifdError[]) =>
      errors.filter(({ message }) => !message.includes('counters'));
    expect(ofConnection(world.errors).map(({ code, message }) => `${code} ${message}`)).toEqual([
      expect.stringMatching(new RegExp(`^ERR_JOURNAL vif7\\.0: .*${word.source}.*made anew`)),
    ]);
    expect(world.mended).toEqual(world.errors);
    expect(world.detached).toEqual(['journal-renewed']);
    expect(world.attached.at(-1)?.resumed).toBe(true);
    expect(waiting()).toBe(FRAMES - 1);
    expect(statSync(queueFile()).size).toBe(QUEUE_JOURNAL_BYTES);
    expect(existsSync(vifFile())).toBe(true);
    world.kill();
    await world.start('copy');
    expect(ofConnection(world.errors)).toHaveLength(1);
    for (let i = 1; i < FRAMES; i++) guest.post([guest.ref(100 + i)]);
    await world.settle();
    expect(guest.rxResponses()).toHaveLength(FRAMES);
  });

  it('one that cannot be opened is reported once, however often it is tried', async () => {
    world.kill();
    const files = world.journals;
    let tries = 0;
    const open = (name: string) => {
      tries++;
      throw new VifdError('ERR_JOURNAL', `Journal /run/${name} cannot be used (ENOSPC).`, {
        errno: 'ENOSPC',
      });
    };
    world.journals = { names: files.names, remove: files.remove, replace: files.replace, open };
    await world.start('copy');
    await hypervisor.advance(5000);
    expect(tries).toBeGreaterThan(5);
    expect(world.errors.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^vif7\.0: Journal .*ENOSPC/),
    ]);
  });

  it.each([[0], [4096], [100_000]])(
    'its file truncated to %i bytes: the process survives, and frames move on',
    async (bytes) => {
      truncateSync(queueFile(), bytes);
      for (let i = 0; i < 40; i++) {
        guest.send([{ size: 1000, page: i }]);
        await world.settle();
      }
      expect(world.port('vif7.0').written).toHaveLength(40);
      await hypervisor.advance(1000);
      expect(world.errors[0]?.message).toMatch(
        /^vif7\.0: Journal .*vif7\.0\.q0\.journal was truncated while it was in use/,
      );
      expect(world.netback.vifs.get('vif7.0')?.faults).toEqual([]);
      expect(statSync(queueFile()).size).toBe(QUEUE_JOURNAL_BYTES);
      guest.send([{ size: 60 }]);
      await world.settle();
      expect(world.port('vif7.0').written).toHaveLength(41);
      expect(guest.txResponses()).toHaveLength(41);
    },
  );
});
