/**
 * `npm run lint` runs it: fails if prose has more words of list.mjs than allowed.json permits for a file. Those numbers only go down: `npm
 * run words` lowers them after words were removed. It also counts long sentences, for which it never fails; `npm run words -- --long` lists
 * them.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { compare, findWords } from './prose.mjs';
import { findLongSentences, WORDS_MAX } from './sentences.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const ALLOWED = `${root}scripts/words/allowed.json`;
const NO_SOURCES = new Set(['node_modules', 'build', 'dist', '.git']);
// The list itself and its test contain the words.
const EXCEPT = /^(scripts\/words\/|test\/words\.test\.ts$|CONTRIBUTING\.md$)/;

const found = new Map();
const long = [];
for (const file of filesBelow('')) {
  const text = readFileSync(root + file, 'utf8');
  const words = EXCEPT.test(file) ? [] : findWords(file, text);
  if (words.length > 0) found.set(file, words);
  for (const { line, words, text: sentence } of findLongSentences(file, text))
    long.push(`${file}:${line}: ${words} words: ${sentence}`);
}
const counts = new Map([...found].map(([file, words]) => [file, words.length]));
// Without a list (after a join of branches, say) all present words may stay.
const allowed = existsSync(ALLOWED) ? JSON.parse(readFileSync(ALLOWED, 'utf8')) : Object.fromEntries(counts);
const { more, fewer } = compare(counts, allowed);

for (const file of more) {
  console.error(
    `${file} has ${counts.get(file)} words of scripts/words/list.mjs, and ${allowed[file] ?? 0} may stand there:`,
  );
  for (const { line, word, say } of found.get(file))
    console.error(`  ${file}:${line}: '${word}'. Write: ${say}.`);
}
if (process.argv.includes('--lower')) {
  const lower = [...counts].map(([file, count]) => [file, Math.min(count, allowed[file] ?? 0)]);
  const left = lower.filter(([, count]) => count > 0).sort(([a], [b]) => (a < b ? -1 : 1));
  writeFileSync(ALLOWED, `${JSON.stringify(Object.fromEntries(left), undefined, 2)}\n`);
} else if (fewer.length > 0) {
  console.error(
    `Fewer words of scripts/words/list.mjs stand in ${fewer.join(', ')} than may. Run \`npm run words\`.`,
  );
}
if (process.argv.includes('--long')) for (const sentence of long) console.log(sentence);
else if (long.length > 0)
  console.log(
    `${long.length} sentences have more than ${WORDS_MAX} words: \`npm run words -- --long\` lists them.`,
  );
const isWrong = more.length > 0 || (fewer.length > 0 && !process.argv.includes('--lower'));
process.exitCode = isWrong ? 1 : 0;

function filesBelow(folder) {
  return readdirSync(root + folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory()) return NO_SOURCES.has(entry.name) ? [] : filesBelow(`${folder}${entry.name}/`);
    return entry.isFile() ? [folder + entry.name] : [];
  });
}
