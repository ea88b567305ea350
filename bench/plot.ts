import type { Line, Spread } from './figures.js';
import type { Report } from './report.js';
import { DIRECTIONS } from './tables.js';

/** A loop's mark in the plot. `style` is its class, and the loop's key in a panel. */
interface Series {
  readonly style: 'on' | 'off';
  readonly label: string;
}

const SERIES: readonly Series[] = [
  { style: 'on', label: 'with its journal, as vifd runs' },
  { style: 'off', label: 'without a journal' },
];

interface Panel {
  readonly title: string;
  readonly lines: readonly Line[];
  /** The loop of each series; undefined: not measured. */
  readonly loops: Readonly<Record<Series['style'], string | undefined>>;
}

const WIDTH = 860;
const LEFT = 132;
const RIGHT = 828;
const TOP = 76;
const ROW = 20;
/** Above a panel's first row, for its title and the ticks, and below its last. */
const PANEL_HEAD = 48;
const PANEL_FOOT = 12;
const FOOT = 40;
const TICKS = [0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50];

/** Both colours of a reader, and a background of its own, as docs/demo.svg has them. */
const STYLE = `
    svg { color-scheme: light dark }
    text { font: 12px system-ui, sans-serif; fill: #424a53 }
    .title { font-size: 15px; font-weight: 600; fill: #1f2328 }
    .panel { font-weight: 600; fill: #1f2328 }
    .ground { fill: #ffffff; stroke: #d0d7de }
    .grid { stroke: #d8dee4 }
    .one { stroke: #1a7f37; stroke-width: 2 }
    .on { stroke: #0969da; stroke-width: 2; fill: #0969da }
    .off { stroke: #9a6700; stroke-width: 2; fill: #ffffff }
    @media (prefers-color-scheme: dark) {
      text { fill: #9198a1 }
      .title, .panel { fill: #f0f6fc }
      .ground { fill: #0d1117; stroke: #3d444d }
      .grid { stroke: #2a313c }
      .one { stroke: #3fb950 }
      .on { stroke: #58a6ff; fill: #58a6ff }
      .off { stroke: #d29922; fill: #0d1117 }
    }`;

/** Returns an SVG: for each row the ratio to C++ and its spread, on a logarithmic axis. */
export function plot(result: Report): string {
  const panels = panelsOf(result);
  const spreads = panels.flatMap(({ lines, loops }) =>
    lines.flatMap(({ figures }) => SERIES.flatMap(({ style }) => figures[loops[style] ?? '']?.ratio ?? [])),
  );
  const ticks = ticksFor(spreads);
  const [least, most] = [ticks[0], ticks[ticks.length - 1]];
  const x = (value: number) =>
    round(LEFT + (Math.log(value / least) / Math.log(most / least)) * (RIGHT - LEFT));
  let top = TOP;
  const drawn = panels.map((panel) => {
    const text = panelSvg(panel, top, ticks, x);
    top += heightOf(panel);
    return text;
  });
  const height = top + FOOT;
  const { date, commit, cpu = '', node = '', load = '' } = result.where;
  const machine = `${date}, ${commit}: ${cpu}, Node ${node.split(' ')[0]}, load ${load}`;
  const title = "The time of a frame in vifd's data path, where 1 is C++";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(title)}">
  <style>${STYLE}
  </style>
  <rect class="ground" x=".5" y=".5" width="${WIDTH - 1}" height="${height - 1}" rx="6"/>
  <text class="title" x="16" y="26">${escaped(title)}</text>
  <text x="16" y="48">further left is faster; a mark is the median of the processes, its bar has the middle half of them</text>
  ${SERIES.map(legend).join('\n  ')}
  ${drawn.join('\n  ')}
  <text x="${RIGHT}" y="${height - 12}" text-anchor="end">${escaped(machine)}</text>
</svg>
`;
}

function panelsOf({ lines, tap }: Report): Panel[] {
  const plain = DIRECTIONS.map((direction) => ({
    title: direction === 'from-guest' ? 'from the guest' : 'to the guest',
    lines: lines.filter((line) => line.direction === direction),
    loops: { on: 'native', off: 'no journal' },
  }));
  if (typeof tap === 'string') return plain;
  return [...plain, { title: 'from the guest into a tap', lines: tap, loops: { on: 'tap', off: undefined } }];
}

function heightOf({ lines }: Panel): number {
  return PANEL_HEAD + lines.length * ROW + PANEL_FOOT;
}

/** From the last tick below all to the first above all; 1 is one of them. */
function ticksFor(spreads: readonly Spread[]): number[] {
  const least = Math.min(1, ...spreads.map(({ low }) => low));
  const most = Math.max(1.5, ...spreads.map(({ high }) => high));
  const first = TICKS.findLastIndex((tick) => tick < least);
  const last = TICKS.findIndex((tick) => tick >= most);
  return TICKS.slice(Math.max(0, first), last < 0 ? TICKS.length : last + 1);
}

function panelSvg(
  { title, lines, loops }: Panel,
  top: number,
  ticks: readonly number[],
  x: (value: number) => number,
): string {
  const first = top + PANEL_HEAD;
  const bottom = first + lines.length * ROW;
  const grid = ticks.map(
    (tick) =>
      `<path class="${tick === 1 ? 'one' : 'grid'}" d="M${x(tick)} ${first - 4}V${bottom}"/>` +
      `<text x="${x(tick)}" y="${first - 10}" text-anchor="middle">${tick}</text>`,
  );
  const rows = lines.flatMap((line, row) => {
    const y = first + (row + 0.5) * ROW;
    const name = `<text x="${LEFT - 12}" y="${y + 4}" text-anchor="end">${line.frame}, batch ${line.batch}</text>`;
    const marks = SERIES.map(({ style }, i) => {
      const of = line.figures[loops[style] ?? '']?.ratio;
      // One above the other, so that neither hides the other.
      return of === undefined ? '' : mark(style, of, y + (i - 0.5) * 7, x);
    });
    return [name, ...marks];
  });
  return [
    `<text class="panel" x="16" y="${first - 28}">${title}</text>`,
    ...grid,
    ...rows.filter((text) => text !== ''),
  ].join('\n  ');
}

function mark(
  style: Series['style'],
  { median, low, high }: Spread,
  y: number,
  x: (value: number) => number,
): string {
  return (
    `<path class="${style}" d="M${x(low)} ${y}H${x(high)}"/>` +
    `<circle class="${style}" cx="${x(median)}" cy="${y}" r="3"/>`
  );
}

function legend({ style, label }: Series, i: number): string {
  const left = LEFT + i * 240;
  return (
    `<path class="${style}" d="M${left} 66H${left + 24}"/><circle class="${style}" cx="${left + 12}" cy="66" r="3"/>` +
    `<text x="${left + 32}" y="70">${label}</text>`
  );
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
