import { type Change, compareText } from './compare.js';
import type { Report } from './report.js';
import { tablesOf } from './tables.js';

export function print(result: Report): void {
  for (const [name, value] of Object.entries(result.where)) console.log(`${name.padEnd(7)} ${value}`);
  for (const { title, text } of tablesOf(result)) console.log(`\n${title}\n${text}`);
}

export function printCompared(saved: Report, now: Report, changes: readonly Change[]): void {
  console.log(`\n${compareText(saved, now, changes)}`);
}
