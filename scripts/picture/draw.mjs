/** Draws a run of the demo as an SVG: what all connections moved together, and each end of the backend. */

const WIDTH = 860;
const HEIGHT = 310;
const PLOT = { left: 56, top: 62, right: 844, bottom: 262 };
const TICKS_MAX = 5;
const SECONDS_TICKS_MAX = 12;

/** GitHub shows a picture in its reader's colours: the background is part of it, so that it is legible where the media query has no effect. */
const STYLE = `
    svg { color-scheme: light dark }
    text { font: 12px system-ui, sans-serif; fill: #424a53 }
    .title { font-size: 15px; font-weight: 600; fill: #1f2328 }
    .ground { fill: #ffffff; stroke: #d0d7de }
    .grid { stroke: #d0d7de }
    .curve { fill: #54aeff; fill-opacity: .35; stroke: #0969da; stroke-width: 1.5; stroke-linejoin: round }
    .SIGTERM { stroke: #9a6700; stroke-width: 1.5; stroke-dasharray: 4 3 }
    .SIGKILL { stroke: #cf222e; stroke-width: 2 }
    @media (prefers-color-scheme: dark) {
      text { fill: #9198a1 }
      .title { fill: #f0f6fc }
      .ground { fill: #0d1117; stroke: #3d444d }
      .grid { stroke: #3d444d }
      .curve { fill: #1f6feb; stroke: #58a6ff }
      .SIGTERM { stroke: #d29922 }
      .SIGKILL { stroke: #f85149 }
    }`;

/**
 * Returns the SVG.
 * @param {{ cellMs: number, bytes: readonly number[], restarts: readonly { ending: 'SIGTERM' | 'SIGKILL', atMs: number }[] }} history
 *   as the demo prints it with --json.
 * @param {{ title: string, machine: string }} words the heading, and where the run was.
 */
export function draw({ cellMs, bytes, restarts }, { title, machine }) {
  const gbits = bytes.map((count) => (count * 8) / cellMs / 1e6);
  const tick = tickOf(Math.max(...gbits, 0.001), TICKS_MAX);
  const top = Math.ceil(Math.max(...gbits, tick) / tick) * tick;
  const lastMs = bytes.length * cellMs;
  const x = (ms) => round(PLOT.left + (ms / lastMs) * (PLOT.right - PLOT.left));
  const y = (value) => round(PLOT.bottom - (value / top) * (PLOT.bottom - PLOT.top));

  const grid = steps(tick, top).map(
    (value) =>
      `<path class="grid" d="M${PLOT.left} ${y(value)}H${PLOT.right}"/>` +
      `<text x="${PLOT.left - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`,
  );
  const everyS = Math.max(1, tickOf(lastMs / 1000, SECONDS_TICKS_MAX));
  const seconds = steps(everyS, lastMs / 1000).map(
    (second) =>
      `<text x="${x(second * 1000)}" y="${PLOT.bottom + 18}" text-anchor="middle">${second}${second === 0 ? ' s' : ''}</text>`,
  );
  // A cell's value stands in its middle.
  const points = gbits.map((value, cell) => `${x((cell + 0.5) * cellMs)} ${y(value)}`);
  const curve = `<path class="curve" d="M${x(0)} ${y(0)}L${points.join('L')}L${x(lastMs)} ${y(0)}Z"/>`;
  const ends = restarts.map(
    ({ ending, atMs }) => `<path class="${ending}" d="M${x(atMs)} ${PLOT.top}V${PLOT.bottom}"/>`,
  );

  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">
  <style>${STYLE}
  </style>
  <rect class="ground" x=".5" y=".5" width="${WIDTH - 1}" height="${HEIGHT - 1}" rx="6"/>
  <text class="title" x="16" y="26">${escaped(title)}</text>
  <text x="16" y="48">Gbit/s, all connections</text>
  ${legend('SIGTERM', 620)}
  ${legend('SIGKILL', 736)}
  ${grid.join('\n  ')}
  ${seconds.join('\n  ')}
  ${curve}
  ${ends.join('\n  ')}
  <text x="${PLOT.right}" y="${HEIGHT - 8}" text-anchor="end">${escaped(machine)}</text>
</svg>
`;
}

function legend(ending, left) {
  return `<path class="${ending}" d="M${left} 44H${left + 28}"/><text x="${left + 36}" y="48">${ending}</text>`;
}

/** Returns 1, 2 or 5 times a power of ten, of which at most `count` reach `most`. */
function tickOf(most, count) {
  const power = 10 ** Math.floor(Math.log10(most / count));
  return [1, 2, 5, 10].map((factor) => factor * power).find((tick) => most / tick <= count) ?? 10 * power;
}

/** From 0 to `most`, both included. */
function steps(step, most) {
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) =>
    Number((i * step).toPrecision(6)),
  );
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
