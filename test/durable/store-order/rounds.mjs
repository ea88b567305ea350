// What each round of child.mjs publishes, derived from the number of the round, so that a reader of the memory can derive it too.

/** Rounds after which the counts repeat. */
export const CYCLE = 16;

/** Responses of the rounds of a cycle: of batches of any length, and of short ones. */
export const COUNTS = {
  any: [1, 128, 3, 17, 64, 2, 96, 5, 31, 128, 1, 8, 40, 100, 12, 7],
  few: [1, 2, 3, 1, 2, 1, 3, 2, 1, 1, 2, 3, 1, 2, 2, 1],
};
const LAST = CYCLE - 1;

/** The sides: 0 publishes in the from-guest ring, 1 in the to-guest ring. The second one has the counts in another order. */
const positionOf = (round, side) => (round + side * 5) % CYCLE;

export const countOf = (counts, round, side) => counts[positionOf(round, side)];

/** `rsp_prod` before this round. */
export function baseOf(counts, round, side) {
  let base = Math.floor(round / CYCLE) * counts.reduce((sum, count) => sum + count, 0);
  for (let before = round - (round % CYCLE); before < round; before++) base += countOf(counts, before, side);
  return base >>> 0;
}

/** The first pending frame of the commit, or -1 for none. */
export const firstOf = (round) => ((round % CYCLE) % 3 === 0 ? -1 : (round * 7) % 128);

/** Whether the responses are prepared in the log, or elsewhere and copied. */
export const isPrepared = (round) => round % 4 !== 2;

/** What follows the publication: 'pending' sets pending frames, 'clear' clears them. */
export const afterOf = (round) => {
  const position = round % CYCLE;
  if (position === LAST) return 'clear';
  return position % 5 === 1 ? 'pending' : 'nothing';
};

/** The value of a word of the responses. No two rounds that follow each other have an equal one. */
export const responseOf = (round, side, word) =>
  (Math.imul(round, 0x9e3779b1) ^ Math.imul(word * 2 + side + 1, 0x85ebca6b)) >>> 0;
