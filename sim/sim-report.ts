import type { MutationResult } from './mutate.js';
import type { Tally } from './tally.js';

export interface Part {
  readonly name: string;
  readonly tally: Tally;
  readonly seconds: number;
}

const COLUMNS = [
  ['', ({ name }: Part) => name],
  ['RUNS', ({ tally }: Part) => `${tally.runs}`],
  ['KILL POINTS', ({ tally }: Part) => `${tally.kills}`],
  ['STOPS', ({ tally }: Part) => `${tally.stops}`],
  ['FRAMES', ({ tally }: Part) => `${tally.frames}`],
  ['VIOLATIONS', ({ tally }: Part) => `${tally.violations}`],
  ['REPEATED', ({ tally }: Part) => `${tally.repeated}`],
  ['LOST FROM', ({ tally }: Part) => `${tally.lostFromGuest}`],
  ['LOST TO', ({ tally }: Part) => `${tally.lostToGuest}`],
  ['SECONDS', ({ seconds }: Part) => seconds.toFixed(1)],
] as const;

const MUTATION_COLUMNS = [
  ['WRONG ORDER', ({ name }: MutationResult) => name],
  ['PAYLOAD', ({ payload }: MutationResult) => payload],
  ['KILLS', ({ kills }: MutationResult) => `${kills}`],
  ['AT STEP', ({ found }: MutationResult) => (found === undefined ? 'NOT FOUND' : `${found.atStep}`)],
  ['STALE WORDS', ({ found }: MutationResult) => found?.words ?? ''],
  ['FOUND BY', ({ found }: MutationResult) => shortened(found?.fault ?? '')],
] as const;
const FAULT_MAX = 90;

function shortened(text: string): string {
  return text.length > FAULT_MAX ? `${text.slice(0, FAULT_MAX)}...` : text;
}

const MUTATION_LEGEND = `
WRONG ORDER  two stores to the journals change places, or a store and a deed. Kills between the two are tried in turn until a promise is
             broken
STALE WORDS  what was not stored yet at that kill, or was stored too early
`;

const LEGEND = `
VIOLATIONS  of the ring protocol as Linux's frontend checks it, and of what vifd promises of frames
REPEATED    frames after one kill, at most; a batch has up to 128
LOST FROM   the guest, of frames that have a response "sent": only with a journal that was spoilt, or that was lost with a
            guest that rebooted while no backend ran
LOST TO     the guest, of frames that a process had read: one batch at most, when a kill came during the read, or when a
            journal with pending frames was spoilt; by a stop alone none. Frames that were dropped and counted, since a
            queue that the guest chose by its hash had no room for them, do not count here
`;

/** Prints for people: a line for each part, in columns, and every failure with the command that repeats it. */
export function reportText(parts: readonly Part[]): string {
  const promises = parts.filter(({ tally }) => tally.mutations.length === 0);
  const mutations = parts.flatMap(({ tally }) => tally.mutations);
  const lines = promises.length === 0 ? '' : tableOf(promises, COLUMNS, false) + LEGEND;
  const orders = mutations.length === 0 ? '' : tableOf(mutations, MUTATION_COLUMNS, true) + MUTATION_LEGEND;
  const between = lines === '' || orders === '' ? '' : '\n';
  return `${lines}${between}${orders}${promises.flatMap(failures).join('')}`;
}

/** @param left whether all columns begin at the left; otherwise only the first one. */
function tableOf<T>(
  rows: readonly T[],
  columns: readonly (readonly [string, (row: T) => string])[],
  left: boolean,
): string {
  const cells = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, cell]) => cell(row)))];
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const lines = cells.map((row) =>
    row
      .map((cell, i) => (left || i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

function failures({ tally }: Part): string[] {
  return tally.failures.map(({ what, faults, trace }) => {
    const broken = faults.map((fault) => `  ! ${fault}\n`).join('');
    return `\n${what}\n${broken}${trace.map((line) => `    ${line}\n`).join('')}`;
  });
}

/** Prints for machines: with the mutations that were tried, and their results. */
export function reportJson(parts: readonly Part[]): string {
  const summary = {
    schemaVersion: 1,
    event: 'summary',
    parts: parts.map(({ name, tally, seconds }) => ({ name, ...tally, seconds: Number(seconds.toFixed(3)) })),
  };
  return `${JSON.stringify(summary)}\n`;
}

export function isClean(parts: readonly Part[]): boolean {
  return parts.every(
    ({ tally }) => tally.violations === 0 && tally.mutations.every(({ found }) => found !== undefined),
  );
}
