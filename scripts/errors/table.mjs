/** The table of docs/errors.md, as text. */

const BEGIN = '<!-- begin codes: `npm run errors` writes them from lib/error-table.ts -->';
const END = '<!-- end codes -->';

/**
 * @param {string} page docs/errors.md as it is.
 * @param {Readonly<Record<string, { when: string, remedy: string }>>} rows by code.
 * @returns {string} the page with the table of these rows between its two marks; the text around them is unchanged.
 * @throws Error if the page does not have both marks.
 */
export function withTable(page, rows) {
  const [from, to] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (from < 0 || to < from)
    throw new Error(`docs/errors.md has no lines ${BEGIN} and ${END}: put them back.`);
  return `${page.slice(0, from + BEGIN.length)}\n\n${tableOf(rows)}\n\n${page.slice(to)}`;
}

function tableOf(rows) {
  const lines = Object.entries(rows).map(
    ([code, { when, remedy }]) => `| \`${code}\` | ${when} | ${remedy} |`,
  );
  return ['| code | what happened | what to do |', '| --- | --- | --- |', ...lines].join('\n');
}
