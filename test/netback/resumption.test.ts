/** Which parts vifd resumes and which it resets when it attaches (design.md, "Attaching again"). */
import { describe, expect, it } from 'vitest';
import type { Ignored } from '../../lib/durable/journal-head.js';
import { type Evidence, type Resumption, resumptionOf } from '../../lib/netback/vif/resumption.js';

/** A guest that has just connected, to a vif whose journal is new. */
const NEW: Evidence = {
  queuesServed: false,
  control: undefined,
  fresh: true,
  ignored: undefined,
  isKnown: false,
  foundConnected: false,
};
const BEGINS: Resumption = {
  resumed: false,
  multicast: 'anew',
  controlWrap: 'anew',
  hash: 'anew',
  stagedAfter: undefined,
  dropsOld: true,
};
const RESUMES: Resumption = {
  resumed: true,
  multicast: 'continued',
  controlWrap: 'continued',
  hash: 'anew',
  stagedAfter: undefined,
  dropsOld: false,
};

describe('what a process resumes and what it begins anew', () => {
  it.each<[string, Partial<Evidence>, Resumption]>([
    ['a new connection', {}, BEGINS],
    ['a new connection with a control ring', { control: { responded: 0, wrapped: false } }, BEGINS],
    [
      'a new connection with the names of one that passed 2^32',
      { control: { responded: 0, wrapped: true } },
      BEGINS,
    ],
    ['rings that were served, no control ring', { queuesServed: true, fresh: false }, RESUMES],
    ['rings that were served, no journal', { queuesServed: true }, RESUMES],
    [
      'rings that were served, a control ring that was not used',
      { queuesServed: true, control: { responded: 0, wrapped: false } },
      RESUMES,
    ],
    [
      'a control ring that was used, and no frame yet',
      { control: { responded: 3, wrapped: false } },
      { ...RESUMES, hash: 'continued', stagedAfter: 3 },
    ],
    [
      'a control ring that was used, and frames',
      { queuesServed: true, control: { responded: 0xffffffff, wrapped: false } },
      { ...RESUMES, hash: 'continued', stagedAfter: 0xffffffff },
    ],
    [
      'a control ring at 0 whose index has passed 2^32',
      { queuesServed: true, control: { responded: 0, wrapped: true } },
      { ...RESUMES, hash: 'continued', stagedAfter: 0 },
    ],
    [
      'a control ring that was used since its index passed 2^32',
      { queuesServed: true, control: { responded: 7, wrapped: true } },
      { ...RESUMES, hash: 'continued', stagedAfter: 7 },
    ],
  ])('%s', (_what, evidence, expected) => {
    expect(resumptionOf({ ...NEW, ...evidence })).toEqual(expected);
  });
});

describe('frames in the port of a connection whose rings no backend served', () => {
  it.each<[string, Partial<Evidence>, boolean]>([
    ['are old if nothing records that it began', {}, true],
    ['are its own if the journal records that it began', { fresh: false }, false],
    ['are its own if this process has attached to it before', { isKnown: true }, false],
    ['are its own if the vif was found Connected', { foundConnected: true }, false],
    [
      'are its own if the journal of a Connected vif is damaged',
      { foundConnected: true, ignored: 'damaged' },
      false,
    ],
    [
      'are old if the journal of a Connected vif is another connection’s',
      { foundConnected: true, ignored: 'foreign' },
      true,
    ],
    ['are old if the journal of another vif is damaged', { ignored: 'damaged' }, true],
  ])('%s', (_what, evidence, expected) => {
    expect(resumptionOf({ ...NEW, ...evidence }).dropsOld).toBe(expected);
  });
});

const EITHER = [false, true];
const CONTROLS: Evidence['control'][] = [
  undefined,
  ...[0, 1, 0xffffffff].flatMap((responded) => EITHER.map((wrapped) => ({ responded, wrapped }))),
];
const IGNORED: (Ignored | undefined)[] = [undefined, 'foreign', 'unknown-version', 'damaged'];

describe('all evidence there can be', () => {
  const all = EITHER.flatMap((queuesServed) =>
    CONTROLS.flatMap((control) =>
      EITHER.flatMap((fresh) =>
        IGNORED.flatMap((ignored) =>
          EITHER.flatMap((isKnown) =>
            EITHER.map((foundConnected) => ({
              queuesServed,
              control,
              fresh,
              ignored,
              isKnown,
              foundConnected,
            })),
          ),
        ),
      ),
    ),
  );

  it('has rings decide about what the guest programmed, and nothing else', () => {
    for (const evidence of all) {
      const { dropsOld: _port, ...programmed } = resumptionOf(evidence);
      const { queuesServed, control } = evidence;
      const { dropsOld: _too, ...byRings } = resumptionOf({ ...NEW, queuesServed, control });
      expect(programmed).toEqual(byRings);
    }
    expect(all).toHaveLength(2 * 7 * 2 * 4 * 2 * 2);
  });

  it('never keeps more of a connection than its rings bear out', () => {
    for (const evidence of all) {
      const { resumed, multicast, hash, stagedAfter, dropsOld } = resumptionOf(evidence);
      if (!resumed) expect([multicast, hash, stagedAfter]).toEqual(['anew', 'anew', undefined]);
      else expect(dropsOld).toBe(false);
      expect(hash === 'continued').toBe(stagedAfter !== undefined);
      if (evidence.control === undefined) expect(hash).toBe('anew');
    }
  });
});
