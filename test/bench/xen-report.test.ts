import { describe, expect, it } from 'vitest';
import type { Values } from '../../lab/bench/measure.js';
import { comparison, figureOf, payloadModes, type Results, table } from '../../lab/bench/xen-report.js';
import { replaceSection } from '../../programs/docs.js';

/** @param rounds by subject: the measurements of each round. */
function resultsOf(rounds: Record<string, readonly Values[]>): Results {
  const subjects = Object.keys(rounds);
  const turns = subjects.flatMap((subject) =>
    (rounds[subject] ?? []).map((values, round) => ({ round, subject, values })),
  );
  return { where: {}, subjects, turns };
}

describe('the report of bench:xen', () => {
  const results = resultsOf({
    kernel: [{ tcpFrom: 1000 }, { tcpFrom: 800 }, { tcpFrom: 1200 }],
    'vifd copy': [{ tcpFrom: 500 }, { tcpFrom: 600 }, { tcpFrom: 300 }],
    'vifd map': [{ tcpFrom: 400 }, { tcpFrom: 700 }, { tcpFrom: 200 }],
  });

  it('compares within rounds: a slow minute slows all that were measured in it', () => {
    expect(figureOf(results, 'vifd copy', 'tcpFrom')).toEqual({ median: 500, spread: 0.3, ratio: 0.5 });
    expect(figureOf(results, 'kernel', 'tcpFrom')?.ratio).toBeUndefined();
  });

  it('calls a payload mode faster only if every round does', () => {
    expect(payloadModes(results)[0]).toBe(
      'TCP from guest: no clear difference (copy to map 1.25, the rounds disagree)',
    );
    const clear = resultsOf({ 'vifd copy': [{ tcpFrom: 30 }], 'vifd map': [{ tcpFrom: 20 }] });
    expect(payloadModes(clear)[0]).toBe('TCP from guest: copy is faster, 1.50 times map');
    expect(payloadModes(clear)[1]).toBe('TCP to guest: not measured');
  });

  it('shows a part that failed as a gap, and keeps the columns', () => {
    const text = table(resultsOf({ kernel: [{ tcpFrom: 1000 }], QEMU: [{}] }));
    const [head, tcp] = text.split('\n');
    expect(head).toMatch(/^ +kernel +\+- +QEMU +\+- +ratio$/);
    expect(tcp).toMatch(/^TCP from guest, Mbit\/s +1000 +0 % +-$/);
  });

  it('shows builds as ratios to the first, of the same round, with how far they reach', () => {
    const text = comparison(
      resultsOf({
        'vifd copy': [{ tcpFrom: 100 }, { tcpFrom: 50 }, { tcpFrom: 80 }],
        'vifd copy late': [{ tcpFrom: 50 }, { tcpFrom: 20 }],
        'vifd copy gone': [{}],
      }),
    );
    const [head, tcp] = text.split('\n');
    expect(head).toMatch(/^ +vifd copy +late +gone$/);
    expect(tcp).toMatch(/^TCP from guest, Mbit\/s +80\.0 +0\.45 \(0\.40-0\.50\) +-$/);
  });

  it('writes into its own section of a page', () => {
    const page = 'before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n';
    expect(replaceSection(page, 'a', 'new')).toBe(
      'before\n<!-- begin a -->\n\nnew\n\n<!-- end a -->\nafter\n',
    );
    expect(() => replaceSection(page, 'b', 'new')).toThrow('<!-- begin b -->');
  });
});
