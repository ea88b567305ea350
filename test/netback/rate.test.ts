import { beforeEach, describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { memoryJournals } from '../../lib/durable/journal.js';
import { CREDIT } from '../../lib/durable/layout.js';
import { Credit, parseRate } from '../../lib/netback/guest/credit.js';
import { Netback } from '../../lib/netback/netback.js';
import { ModelHypervisor, type ModelXen } from '../../lib/testing/model/index.js';
import { RawGuest } from '../../worlds/model/raw-guest.js';
import { TestPort } from '../../worlds/model/test-port.js';

const BACKEND = '/local/domain/0/backend/vif/7/0';

describe("a guest's rate", () => {
  let hypervisor: ModelHypervisor;
  let toolstack: ModelXen;
  let guest: RawGuest;
  let port: TestPort;
  let dom0: ModelXen;
  const errors: string[] = [];
  let journals = memoryJournals();
  beforeEach(async () => {
    hypervisor = new ModelHypervisor();
    toolstack = hypervisor.open(0);
    guest = new RawGuest(hypervisor.open(7));
    port = new TestPort();
    errors.length = 0;
    journals = memoryJournals();
    const connecting = guest.connect(toolstack);
    await hypervisor.settle();
    await connecting;
  });

  async function setRate(rate: string): Promise<void> {
    const writing = toolstack.store.write(`${BACKEND}/rate`, rate);
    await hypervisor.settle();
    await writing;
    await hypervisor.settle();
  }

  async function start(): Promise<Netback> {
    dom0 = hypervisor.open(0);
    const opening = Netback.open(
      { xen: dom0, port: () => port, journals },
      { error: ({ message }) => errors.push(message) },
    );
    await hypervisor.settle();
    return opening;
  }

  /** Sends frames of 1000 bytes for this time, with the ring always full. @returns the sent bytes. */
  async function flood(ms: number, stepMs = 5): Promise<number> {
    const before = port.written.length;
    for (let passed = 0; passed < ms; passed += stepMs) {
      const room = 256 - ((guest.tx[0] - guest.tx[2]) >>> 0);
      guest.send(Array.from({ length: room }, () => ({ size: 1000 })));
      await hypervisor.advance(stepMs);
    }
    return (port.written.length - before) * 1000;
  }

  it('is exact over ten intervals', async () => {
    await setRate('200000,50000');
    await start();
    await flood(50);
    expect(await flood(500)).toBe(10 * 200_000);
  });

  it('is exact for frames that do not divide it: what is left counts for the next interval', async () => {
    await setRate('100500,50000');
    await start();
    await flood(50);
    const sent = await flood(500);
    expect(Math.abs(sent - 1_005_000)).toBeLessThan(1000);
  });

  it('lets a burst pass after a pause, of 128 KiB at most', async () => {
    await setRate('1000,50000');
    await start();
    await hypervisor.advance(60_000);
    expect(await flood(10)).toBe(131_000);
    expect(await flood(500)).toBe(10_000);
  });

  it.each(['killed', 'stopped'] as const)(
    'is as it was after the backend was %s: no fresh credit',
    async (how) => {
      await setRate('200000,50000');
      const first = await start();
      const begun = await flood(20);
      expect(begun).toBe(200_000);
      if (how === 'killed') dom0.kill();
      else {
        const stopping = first[Symbol.asyncDispose]();
        await hypervisor.settle();
        await stopping;
      }
      await start();
      expect(await flood(25)).toBe(0);
      expect(await flood(10)).toBe(200_000);
    },
  );

  it('changes while the guest waits for it', async () => {
    await setRate('2000,1000000');
    await start();
    expect(await flood(50)).toBe(2000);
    await setRate('');
    expect(await flood(5)).toBeGreaterThanOrEqual(200_000);
    await setRate('0,0');
    expect(await flood(5)).toBeGreaterThanOrEqual(200_000);
  });

  it('does not delay frames to the guest', async () => {
    await setRate('2000,1000000');
    await start();
    await flood(20);
    guest.post([guest.ref(0)]);
    port.put(new Uint8Array(60));
    await hypervisor.settle();
    guest.post([guest.ref(1)]);
    port.put(new Uint8Array(60));
    await hypervisor.settle();
    expect(guest.rxResponses()).toHaveLength(2);
  });

  it('that cannot be read limits nothing, and is reported once', async () => {
    await setRate('lots');
    await start();
    await setRate('lots');
    expect(await flood(5)).toBeGreaterThanOrEqual(200_000);
    expect(errors).toEqual([
      "vif7.0: rate is 'lots', not bytes and microseconds with a comma: nothing is limited",
    ]);
  });
});

describe('Credit', () => {
  it('believes what stands in its memory as far as the rate allows', () => {
    for (let seed = 1; seed < 200; seed++) {
      const words = DurableWords.ofProcess(CREDIT.words);
      for (let at = 0; at < CREDIT.words; at++) words.store(at, (at + seed) * 0x9e3779b1);
      const credit = new Credit(words);
      credit.limit({ bytes: 1000, intervalMs: 50 }, 100);
      expect(credit.available(100)).toBeLessThanOrEqual(131_072);
      expect(credit.waitMs(100)).toBeLessThanOrEqual(50);
    }
  });
});

describe('parseRate', () => {
  it.each([
    ['1000,50', { bytes: 1000, intervalMs: 0.05 }],
    ['0,50000', { bytes: 0, intervalMs: 50 }],
    ['1000,0', undefined],
    ['', undefined],
  ])('reads %j', (text, rate) => expect(parseRate(text)).toEqual(rate));

  it.each(['1000', '1000,', 'a,b', '-1,50', '4294967296,50', '1e3,50', '1000,50,1'])('refuses %j', (text) => {
    expect(parseRate(text)).toHaveProperty('wrong');
  });
});
