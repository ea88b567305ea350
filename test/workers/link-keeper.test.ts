import { closeSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { addon } from '../../lib/addon.js';
import { LinkKeeper } from '../../lib/workers/link-keeper.js';
import { inodeOf, openCount, withOpen } from '../host/descriptors.js';
import { whyNoAddon } from '../native/reason.js';

describe.skipIf(whyNoAddon())('the keeper of a worker', () => {
  it('returns each descriptor that came once, and closes those that nobody took', () => {
    const before = openCount();
    {
      using keeper = new LinkKeeper((error) => {
        throw error;
      });
      withOpen(['/dev/null'], (one) => {
        const come = (...names: string[]) =>
          keeper.own(
            names,
            names.map(() => addon().duplicateDescriptor(one)),
          );
        come('vif7.0', 'vif7.0.q1', 'vif7.0.q2');
        const taken = keeper.take('vif7.0')!;
        expect(inodeOf(taken)).toBe(inodeOf(one));
        closeSync(taken);
        // The device may have been deleted since.
        expect(keeper.take('vif7.0')).toBeUndefined();
        // A tap that was made anew replaces what came.
        keeper.keep('vif7.0.q1', one);
        expect(keeper.take('vif7.0.q1')).toBeUndefined();
        keeper.drop(['vif7.0', 'vif7.0.q1', 'vif7.0.q2']);
        expect(keeper.take('vif7.0.q2')).toBeUndefined();
        // Its own of vif7.0 and vif7.0.q1, for the next supervisor, and `one`.
        expect(openCount()).toBe(before + 3);
      });
      keeper.forget('vif7.0');
      keeper.forget('missing');
      expect(openCount()).toBe(before + 1);
    }
    expect(openCount()).toBe(before);
  });
});
