import { align } from '../programs/docs.js';
import type { Figure, Line } from './figures.js';
import type { Direction } from './measure.js';
import { OBSERVERS } from './observers.js';
import type { Report } from './report.js';
import { CXX, CXX_WRITE } from './subjects.js';

export const DIRECTIONS: readonly Direction[] = ['from-guest', 'to-guest'];

export interface Table {
  readonly title: string;
  readonly text: string;
}

interface Column {
  readonly title: string;
  readonly text: (line: Line) => string;
}

const DIRECTION: Column = { title: 'direction', text: ({ direction }) => direction };
const FRAME: Column = { title: 'frame', text: ({ frame }) => frame };
const BATCH: Column = { title: 'batch', text: ({ batch }) => String(batch) };

const PLAIN: readonly Column[] = [
  ...[FRAME, BATCH, ns('C++', CXX), ns('native', 'native'), ratio('native'), spread('native')],
  ...[ns('no journal', 'no journal'), ratio('no journal'), ns('map', 'map'), ns('staged', 'staged')],
  ns('model', 'model'),
];
const TAP: readonly Column[] = [
  ...[FRAME, BATCH, ns('C++', CXX), ns('native', 'tap'), ratio('tap'), spread('tap')],
  ...[ns('C++ write', CXX_WRITE), ratio(CXX_WRITE), ns('map', 'tap map')],
];
const ROUNDS: readonly Column[] = [
  ...[DIRECTION, FRAME, BATCH, ...percentiles('C++', CXX), ...percentiles('native', 'native')],
  ...garbage('native'),
];

function ns(title: string, loop: string, of: (figure: Figure) => number = ({ ns: { p50 } }) => p50): Column {
  const text = (value: number) => value.toFixed(value < 100 ? 1 : 0);
  return { title, text: ({ figures: { [loop]: figure } }) => (figure === undefined ? '' : text(of(figure))) };
}

function percentiles(title: string, loop: string): Column[] {
  return [
    ns(`${title} p50`, loop),
    ns('p90', loop, (figure) => figure.ns.p90),
    ns('p99', loop, (figure) => figure.ns.p99),
  ];
}

function ratio(loop: string): Column {
  return { title: 'ratio', text: ({ figures }) => figures[loop]?.ratio?.median.toFixed(2) ?? '' };
}

function spread(loop: string): Column {
  const text = (line: Line) => {
    const of = line.figures[loop]?.ratio;
    return of === undefined ? '' : `${of.low.toFixed(2)}-${of.high.toFixed(2)}`;
  };
  return { title: 'spread', text };
}

function garbage(loop: string): Column[] {
  const of = ({ figures }: Line) => figures[loop]?.garbage;
  return [
    { title: 'B/batch', text: (line) => of(line)?.bytesPerBatch.toFixed(0) ?? '' },
    { title: 'GCs', text: (line) => of(line)?.collections.toFixed(0) ?? '' },
  ];
}

function tableOf(columns: readonly Column[], lines: readonly Line[]): string {
  return align([
    columns.map(({ title }) => title),
    ...lines.map((line) => columns.map(({ text }) => text(line))),
  ]);
}

/** The same cells with and without a program that looks at each frame: a row for each program. */
function observersTable(lines: readonly Line[]): string {
  const observed = lines.filter(({ figures }) => OBSERVERS.some(({ name }) => figures[name] !== undefined));
  const rows = observed.flatMap((line) => {
    const without = line.figures.native?.ratio?.median;
    return ['native', ...OBSERVERS.map(({ name }) => name)].map((loop) => {
      const own = line.figures[loop]?.ratio?.median;
      const more = own === undefined || without === undefined ? '' : (own / without).toFixed(2);
      const columns = [ns('', CXX), ns('', loop), ratio(loop), spread(loop), ...garbage(loop)];
      const texts = columns.map(({ text }) => text(line));
      return [line.direction, loop === 'native' ? 'no hook' : loop, ...texts, more];
    });
  });
  return align([
    ['direction', 'program', 'C++', 'ns', 'ratio', 'spread', 'B/batch', 'GCs', 'to no hook'],
    ...rows,
  ]);
}

/** Tables with a title each, aligned. */
export function tablesOf({ lines, tap }: Report): Table[] {
  const of = (direction: Direction) => lines.filter((line) => line.direction === direction);
  return [
    ...DIRECTIONS.map((direction) => ({
      title: `${direction}, ns a frame`,
      text: tableOf(PLAIN, of(direction)),
    })),
    {
      title: 'from-guest into a real tap, ns a frame',
      text: typeof tap === 'string' ? `not measured: ${tap}` : tableOf(TAP, tap),
    },
    { title: 'The rounds, ns a frame, and what native allocates', text: tableOf(ROUNDS, lines) },
    { title: 'A filter, a hook, and frames(): 60 B, batch 64', text: observersTable(lines) },
  ];
}
