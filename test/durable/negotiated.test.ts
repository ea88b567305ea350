import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DurableWords } from '../../lib/durable/durable-words.js';
import { NEGOTIATED } from '../../lib/durable/layout.js';
import type { FrontendSettings } from '../../lib/netback/settings.js';
import { recordedNegotiated, recordNegotiated } from '../../lib/netback/state/negotiated.js';

const word = fc.nat({ max: 0xffff_ffff });
const rings = fc.record({ txRingRef: word, rxRingRef: word, txPort: word, rxPort: word });
const settings: fc.Arbitrary<FrontendSettings> = fc.record({
  queues: fc.array(rings, { minLength: 1, maxLength: 16 }),
  scatterGather: fc.boolean(),
  gsoV4: fc.boolean(),
  gsoV6: fc.boolean(),
  checksumV4: fc.boolean(),
  checksumV6: fc.boolean(),
  rxNotify: fc.boolean(),
  multicastControl: fc.boolean(),
  xdpHeadroom: fc.nat({ max: 2048 }),
  control: fc.option(fc.record({ ringRef: word, port: word }), { nil: undefined }),
});

const memory = (afterStore?: () => void) => DurableWords.ofProcess(NEGOTIATED.words, afterStore);

describe('what a connection negotiated', () => {
  it('is read as it was recorded', () => {
    fc.assert(
      fc.property(settings, settings, (first, second) => {
        const words = memory();
        recordNegotiated(words, first);
        expect(recordedNegotiated(words)).toEqual(first);
        recordNegotiated(words, second);
        expect(recordedNegotiated(words)).toEqual(second);
      }),
    );
  });

  it('is what it was, what it is, or not recorded, wherever a kill falls', () => {
    fc.assert(
      fc.property(settings, settings, (first, second) => {
        for (let at = 1; ; at++) {
          let steps = Number.NEGATIVE_INFINITY;
          const words = memory(() => {
            if (++steps === at) throw new Error('killed');
          });
          recordNegotiated(words, first);
          steps = 0;
          try {
            recordNegotiated(words, second);
            break;
          } catch {
            expect([undefined, first, second]).toContainEqual(recordedNegotiated(words));
          }
        }
      }),
      { numRuns: 20 },
    );
  });

  it('is not stored again where it is recorded already', () => {
    fc.assert(
      fc.property(settings, (one) => {
        let stores = 0;
        const words = memory(() => stores++);
        recordNegotiated(words, one);
        stores = 0;
        recordNegotiated(words, one);
        expect(stores).toBe(0);
      }),
    );
  });

  it('of a spoilt journal is what a connection can negotiate, or not recorded', () => {
    fc.assert(
      fc.property(fc.array(word, { minLength: NEGOTIATED.words, maxLength: NEGOTIATED.words }), (noise) => {
        const words = memory();
        for (const [at, value] of noise.entries()) words.store(at, value);
        const found = recordedNegotiated(words);
        if (found === undefined) return;
        expect(found.queues.length).toBeLessThanOrEqual(16);
        expect(found.xdpHeadroom).toBeLessThanOrEqual(2048);
      }),
    );
    expect(recordedNegotiated(memory())).toBeUndefined();
  });
});
