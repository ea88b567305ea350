/** Makes the layout of all journals as Markdown, which docs/journal.md has between its two markers. */

const BEGIN = '<!-- layout of the journals: `npm run layout` writes these lines -->';
const END = '<!-- end of the layout -->';
const WORD_BYTES = 4;

/** The description of each kind of journal. A kind that is missing here has no caption. */
const CAPTIONS = {
  vif: 'Of a vif (`vif7.0.journal`)',
  queue: 'Of a queue (`vif7.0.q0.journal`)',
  counters: 'Of a vif, whatever its connections (`vif7.0.counters.journal`)',
};

/**
 * @param document the Markdown that has the markers.
 * @param layouts LAYOUTS of lib/durable/layout.ts.
 * @returns the document with the table of these layouts.
 */
export function withLayoutTable(document, layouts) {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error('the markers of the layout table are missing');
  return `${document.slice(0, begin + BEGIN.length)}\n\n${layoutTable(layouts)}\n\n${document.slice(end)}`;
}

function layoutTable(layouts) {
  const versions = Object.keys(layouts);
  const kinds = [...new Set(versions.flatMap((version) => Object.keys(layouts[version])))];
  return kinds.map((kind) => tableOf(kind, versions, layouts)).join('\n\n');
}

/** A part has a row, with the byte at which it begins in each version. */
function tableOf(kind, versions, layouts) {
  const rows = new Map();
  for (const version of versions) {
    const layout = layouts[version][kind];
    if (layout === undefined) continue;
    for (const { name, at, words, shape } of layout.words.parts)
      place(
        rows,
        [`\`${name}\``, `${words * WORD_BYTES}`, asCode(describe(shape))],
        version,
        at * WORD_BYTES,
      );
    for (const [name, { at, bytes }] of Object.entries(layout.arenas))
      place(rows, [`arena \`${name}\``, `${bytes}`, 'frames, each behind its vnet header'], version, at);
    place(rows, ['end', '', ''], version, layout.bytes);
  }
  // The end stands last, also if a later version has more parts than the first.
  const all = [...rows.values()];
  const sorted = [
    ...all.filter((row) => row.cells[0] !== 'end'),
    ...all.filter((row) => row.cells[0] === 'end'),
  ];
  const places = (row) => versions.map((version) => row.at.get(version) ?? '');
  const lines = sorted.map((row) => line([...row.cells, ...places(row)]));
  const head = ['part', 'bytes', 'has, in words', ...versions.map((version) => `at, in version ${version}`)];
  return [`${CAPTIONS[kind] ?? kind}:`, '', line(head), line(head.map(() => '---')), ...lines].join('\n');
}

/** A part that has another shape in another version has a row of its own. */
function place(rows, cells, version, at) {
  const key = cells.join('|');
  const row = rows.get(key) ?? { cells, at: new Map() };
  row.at.set(version, at);
  rows.set(key, row);
}

const line = (cells) => `| ${cells.join(' | ')} |`;

const asCode = (text) => (text === '' ? '' : `\`${text}\``);

/** A part of a single word needs no description besides its name. */
function describe(shape) {
  if (typeof shape === 'number') return shape === 1 ? '' : `${shape}`;
  return 'each' in shape ? `${shape.count} × (${partsOf(shape.each)})` : partsOf(shape);
}

function partsOf({ parts }) {
  return parts.map(({ name, shape }) => described(name, shape)).join(', ');
}

function described(name, shape) {
  const what = describe(shape);
  if (what === '') return name;
  const isStruct = typeof shape === 'object' && 'parts' in shape;
  return isStruct ? `${name} (${what})` : `${name} ${what}`;
}
