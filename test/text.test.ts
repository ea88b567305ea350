import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonLine, printable, quoted, shown } from '../lib/text.js';

/** The characters that no line of a log, a table or a terminal may have. */
const HARMFUL = /[\p{C}\p{Zl}\p{Zp}]/u;
const anything = fc.string({ unit: 'binary', maxLength: 300 });
const harmful = [
  '\n',
  '\r',
  '\0',
  '\x1b',
  '\x7f',
  '\x9b',
  '\u2028',
  '\u2029',
  '\u202e',
  '\u2066',
  '\ufeff',
  '\ud800',
];

describe('foreign text', () => {
  it('never brings a control character, a line, a bidi control or half a character into a line', () => {
    fc.assert(
      fc.property(anything, fc.constantFrom(...harmful), (text, one) => {
        for (const made of [printable, quoted, shown, (value: string) => jsonLine({ value })])
          expect(made(`${text}${one}${text}`)).not.toMatch(HARMFUL);
      }),
    );
  });

  it('stays as it is where it is plain', () => {
    expect(printable('Bridge xenbr0 is büro 橋')).toBe('Bridge xenbr0 is büro 橋');
    expect(quoted('xenbr0')).toBe("'xenbr0'");
    expect(shown('xenbr0')).toBe('xenbr0');
    expect(shown('00:16:3e:00:00:07')).toBe('00:16:3e:00:00:07');
  });

  it('is escaped as in JSON', () => {
    expect(quoted("1'\n<0>\x1b[2J\u202e\u{e0041}\\")).toBe("'1\\'\\n<0>\\u001b[2J\\u202e\\udb40\\udc41\\\\'");
    expect(shown('a b')).toBe("'a b'");
    expect(shown('')).toBe("''");
  });

  it('is cut to what is shown of it, in whole characters and escapes, with its length', () => {
    expect(quoted('A'.repeat(1500))).toBe(`'${'A'.repeat(64)}'… (1500 characters)`);
    expect(quoted('\n'.repeat(100), 5)).toBe("'\\n\\n'… (100 characters)");
    fc.assert(
      fc.property(anything, fc.integer({ min: 0, max: 80 }), (text, max) => {
        expect(quoted(text, max).length).toBeLessThanOrEqual(max + "''… (1234567 characters)".length);
      }),
    );
  });

  it('is the same value for who parses a line of JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), (value) => {
        expect(JSON.parse(jsonLine(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });
});
