/**
 * `npm run picture [-- --seconds N]`: runs the demo, and writes what it did into docs/demo.svg and its figures into README.md.
 * `npm run picture -- FILE` draws a recorded run again. Each run is recorded in build/picture.jsonl.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { buildPrograms } from './build-programs.mjs';
import { draw } from './picture/draw.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const RECORD = `${root}build/picture.jsonl`;
const FIGURES = /(<!-- begin picture -->\n)[\s\S]*?(<!-- end picture -->)/;

const [first, ...more] = process.argv.slice(2);
const isFile = first !== undefined && !first.startsWith('-');
const lines = isFile ? readFileSync(first, 'utf8') : record(first === undefined ? [] : [first, ...more]);
const events = lines
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const [machine, history, summary] = ['machine', 'history', 'summary'].map((name) => {
  const found = events.find(({ event }) => event === name);
  if (found === undefined) throw new Error(`the run has no ${name}: it must not take longer than 51 s`);
  return found;
});

const { restarts, resets, seconds, world } = summary;
if (world !== 'namespaces') throw new Error('the run was on the model, which has no TCP connections');
const title = `${restarts.total} restarts of the backend in ${seconds} s: ${resets} TCP connections reset`;
writeFileSync(`${root}docs/demo.svg`, draw(history, { title, machine: machine.text }));

// The demo was just built for the run.
const built = isFile ? buildPrograms('demo') : `${root}build/demo/demo/`;
const { summaryText } = await import(pathToFileURL(`${built}summary.js`).href);
const readme = readFileSync(`${root}README.md`, 'utf8');
const picture = `![${title}](docs/demo.svg)`;
const figures = `\n${picture}\n\n\`\`\`\n${summaryText(summary)}\`\`\`\n\n(${seconds} s on ${machine.text}.)\n\n`;
writeFileSync(
  `${root}README.md`,
  readme.replace(FIGURES, (_, begin, end) => begin + figures + end),
);

/** Runs the demo. @returns its lines of JSON, with one about the machine before them. */
function record(options) {
  const before = loadavg()[0];
  const demo = spawnSync(process.execPath, [`${root}scripts/demo.mjs`, '--json', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (demo.status !== 0) {
    console.error(`picture: the demo ended with ${demo.status ?? demo.signal}; nothing is drawn.`);
    process.exit(1);
  }
  const [{ model }, { length }] = [cpus()[0], cpus()];
  const text = `${length} x ${model}, Linux ${release()}, Node ${process.version}, load average ${before.toFixed(1)} before the run`;
  const lines = `${JSON.stringify({ event: 'machine', text })}\n${demo.stdout}`;
  writeFileSync(RECORD, lines);
  return lines;
}
