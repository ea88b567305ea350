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

const LEGEND = `
VIOLATIONS  of the ring protocol as Linux's frontend checks it, and of what vifd promises of frames
REPEATED    frames after one kill, at most; a batch has up to 128
LOST FROM   the guest, of frames that it was told were sent: only with a journal that was spoilt, or that went with a
            guest that rebooted while no backend ran
LOST TO     the guest, of frames that a life had read: one batch at most, as a kill caught it at reading, or as a journal
            was spoilt that kept them; by a stop alone none. Frames that were dropped and counted, since a queue that the
            guest chose by its hash had no room for them, are not among these
`;

/** For people: a line for each part, in columns, and every failure with how to see it again. */
export function reportText(parts: readonly Part[]): string {
  const rows = [
    COLUMNS.map(([title]) => title),
    ...parts.map((part) => COLUMNS.map(([, cell]) => cell(part))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  '),
  );
  return `${lines.join('\n')}\n${LEGEND}${parts.flatMap(failures).join('')}`;
}

function failures({ tally }: Part): string[] {
  return tally.failures.map(({ what, faults, trace }) => {
    const said = faults.map((fault) => `  ! ${fault}\n`).join('');
    return `\n${what}\n${said}${trace.map((line) => `    ${line}\n`).join('')}`;
  });
}

/** For machines. */
export function reportJson(parts: readonly Part[]): string {
  const summary = {
    schemaVersion: 1,
    event: 'summary',
    parts: parts.map(({ name, tally, seconds }) => ({ name, ...tally, seconds: Number(seconds.toFixed(3)) })),
  };
  return `${JSON.stringify(summary)}\n`;
}

export function isClean(parts: readonly Part[]): boolean {
  return parts.every(({ tally }) => tally.violations === 0);
}
