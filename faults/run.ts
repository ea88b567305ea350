import { judge, type Verdict } from './judge.js';
import type { Row } from './row.js';
import type { Table } from './table.js';
import { World } from './world/world.js';

/** Runs rows one after the other; those of one setting share a world, which is made anew after a row that broke it. */
export async function runRows(rows: readonly Row[], table: Table, signal: AbortSignal): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const setting of new Set(rows.map((row) => row.setting))) {
    await using world = await World.open(setting);
    for (const row of rows.filter((one) => one.setting === setting)) {
      if (signal.aborted) return verdicts;
      table.begin(row.name);
      const verdict = await judge(row, world);
      verdicts.push(verdict);
      table.row(verdict);
      if (verdict.broken) await world.renew();
    }
  }
  return verdicts;
}
