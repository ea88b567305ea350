import { InvalidArgumentError } from 'commander';
import { afterEach, describe, expect, it } from 'vitest';
import { isInside } from '../programs/namespaces.js';
import { wholeNumber } from '../programs/whole-number.js';

describe('what the programs share', () => {
  it.each([
    ['3', 3],
    ['0x10', undefined],
    ['2', undefined],
    ['86400', 86_400],
    ['86401', undefined],
    ['4.5', undefined],
    ['-4', undefined],
    ['', undefined],
    ['1e3', undefined],
  ])('takes %j from 3 to 86400 as %j', (text, value) => {
    const parse = () => wholeNumber(3, 86_400)(text);
    if (value === undefined) expect(parse).toThrow(InvalidArgumentError);
    else expect(parse()).toBe(value);
  });

  describe('in namespaces', () => {
    afterEach(() => {
      delete process.env.VIFD_FRAMES_INSIDE;
    });

    it('distinguishes a program in its own namespaces from one that another program started', () => {
      process.env.VIFD_FRAMES_INSIDE = '1';
      expect([isInside('frames'), isInside('demo')]).toEqual([true, false]);
    });
  });
});
