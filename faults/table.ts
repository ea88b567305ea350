import picocolors from 'picocolors';
import type { Verdict } from './judge.js';

/** Receives verdicts while the rows run. */
export interface Table {
  /** A row begins. */
  begin(fault: string): void;
  row(verdict: Verdict): void;
  end(verdicts: readonly Verdict[]): void;
}

const EXPLAINED_MAX = 8;

export function tableFor(json: boolean, names: readonly string[]): Table {
  return json ? jsonTable() : textTable(names);
}

function jsonTable(): Table {
  const write = (value: object) =>
    process.stdout.write(`${JSON.stringify({ schemaVersion: 1, ...value })}\n`);
  return {
    begin: () => undefined,
    row: (verdict) => write({ event: 'fault', ...verdict }),
    end: (verdicts) => write({ event: 'summary', ...countsOf(verdicts) }),
  };
}

/** Columns: fault, line, served again after ms, neighbour, leaks. On a terminal it shows the present row too. */
function textTable(names: readonly string[]): Table {
  const terminal = process.stdout.isTTY === true;
  const { red, green, dim, bold } = picocolors.createColors(terminal && process.env.NO_COLOR === undefined);
  const width = Math.max(...names.map((name) => name.length), 5);
  const clear = terminal ? '\r\x1b[K' : '';
  const write = (text: string) => process.stdout.write(`${clear}${text}\n`);
  write(
    bold(
      `${'FAULT'.padEnd(width)}  ${'LINE'.padStart(7)}  ${'SERVED'.padStart(7)}  ${'NEIGHBOUR'.padStart(9)}  LEFT OVER`,
    ),
  );
  let done = 0;
  return {
    begin: (fault) => {
      if (terminal) process.stdout.write(dim(`${clear}${done + 1} of ${names.length}: ${fault}`));
    },
    row: (verdict) => {
      done += 1;
      const { fault, lineAfterMs, servedAfterMs, neighbour, left, harmed, line, mendedLine } = verdict;
      const cell = (text: string, bad: boolean, size: number) => (bad ? red : green)(text.padStart(size));
      const late = verdict.stuck && servedAfterMs !== undefined;
      write(
        [
          fault.padEnd(width),
          cell(
            lineAfterMs !== undefined ? `${lineAfterMs} ms` : verdict.silent ? 'SILENT' : 'none',
            verdict.silent,
            7,
          ),
          cell(
            servedAfterMs === undefined || late ? 'STUCK' : `${servedAfterMs.toFixed(0)} ms`,
            verdict.stuck,
            7,
          ),
          cell(harmed.length > 0 ? 'HARMED' : `${neighbour.worstMs.toFixed(0)} ms`, harmed.length > 0, 9),
          left.length === 0 ? green('nothing') : red('LEAKED'),
        ].join('  '),
      );
      if (line !== undefined) write(dim(`    ${line}`));
      if (mendedLine !== undefined) write(dim(`    ${mendedLine}`));
      const wrong = [
        ...left,
        ...harmed,
        ...(late ? ['served again, but the end of the fault is not logged'] : []),
      ];
      for (const one of wrong.slice(0, EXPLAINED_MAX)) write(red(`    ! ${one}`));
      if (verdict.silent || verdict.stuck)
        for (const one of verdict.log.slice(0, EXPLAINED_MAX)) write(dim(`    log: ${one}`));
    },
    end: (verdicts) => write(summaryOf(verdicts)),
  };
}

export interface Counts {
  readonly faults: number;
  readonly silent: number;
  readonly stuck: number;
  readonly leaked: number;
  readonly harmed: number;
}

export function countsOf(verdicts: readonly Verdict[]): Counts {
  const count = (holds: (verdict: Verdict) => boolean) => verdicts.filter(holds).length;
  return {
    faults: verdicts.length,
    silent: count(({ silent }) => silent),
    stuck: count(({ stuck }) => stuck),
    leaked: count(({ leaked }) => leaked),
    harmed: count(({ harmed }) => harmed.length > 0),
  };
}

/** `45 faults, 0 silent, 0 stuck, 0 leaked`; the line above has the other failures. */
export function summaryOf(verdicts: readonly Verdict[]): string {
  const { faults, silent, stuck, leaked, harmed } = countsOf(verdicts);
  const others = harmed === 0 ? '' : `${harmed} harmed others\n`;
  return `${others}${faults} faults, ${silent} silent, ${stuck} stuck, ${leaked} leaked`;
}
