import { judge, type Verdict } from './judge.js';
import type { Row } from './row.js';
import { FaultWorld, type Setting } from './world/fault-world.js';
import type { Tree } from './world/tree.js';

export interface RunParts {
  readonly rows: readonly Row[];
  readonly signal: AbortSignal;
  /** Default: all guests in one process, where a setting does not have workers itself. */
  readonly workers?: number;
  /** Default: that of dist. */
  readonly tree?: Tree;
  readonly onBegin?: (row: Row) => void;
  /** @returns false to stop after this row. */
  readonly onVerdict?: (verdict: Verdict, row: Row) => boolean | undefined;
}

/** Runs rows one after the other. Rows with the same setting share a world, which is built anew after a row that broke it. */
export async function runRows({
  rows,
  signal,
  workers,
  tree,
  onBegin,
  onVerdict,
}: RunParts): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  for (const setting of new Set(rows.map((row) => row.setting))) {
    await using world = await FaultWorld.open(withWorkers(setting, workers), tree);
    for (const row of rows.filter((one) => one.setting === setting)) {
      if (signal.aborted) return verdicts;
      onBegin?.(row);
      const verdict = await judge(row, world);
      verdicts.push(verdict);
      if (onVerdict?.(verdict, row) === false) return verdicts;
      if (verdict.broken) await world.renew();
    }
  }
  return verdicts;
}

/** A program that embeds vifd has no workers, and workers need a journal's directory. */
function withWorkers(setting: Setting, workers: number | undefined): Setting {
  const { embedded, options = [] } = setting;
  const excludes = ['--workers', '--no-journal'].some((option) => options.includes(option));
  if (workers === undefined || embedded !== undefined || excludes) return setting;
  return { ...setting, options: [...options, '--workers', `${workers}`] };
}
