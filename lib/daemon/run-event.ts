import type { VifdErrorCode } from '../errors.js';
import type { VifStats } from '../netback/frames/counters.js';
import type { Fault } from '../netback/show.js';
import type { DetachReason } from '../netback/vif/vif-parts.js';

/**
 * The report in a line of `vifd run --json`, without `schemaVersion`, `timeMs` and `level`. docs/schemas/run-event.json describes the same
 * for other programs. An event about the whole daemon has no `vif`.
 */
export type RunEvent =
  | {
      readonly event: 'ready';
      readonly vifs: readonly string[];
      readonly notServed: ReadonlyArray<{ readonly vif: string; readonly reason: string | undefined }>;
      readonly faults: readonly Fault[];
    }
  | { readonly event: 'stopping' }
  | { readonly event: 'swept'; readonly vif: string }
  | { readonly event: 'late'; readonly lateMs: number }
  | {
      readonly event: 'attached';
      readonly vif: string;
      readonly resumed: boolean;
      readonly attachMs: number;
    }
  | {
      readonly event: 'detached';
      readonly vif: string;
      readonly why: DetachReason;
      readonly stats: VifStats;
    }
  | { readonly event: 'worker-started'; readonly pid: number; readonly standby: boolean }
  | {
      readonly event: 'worker-died';
      readonly pid: number;
      readonly how: string;
      readonly vifs: readonly string[];
    }
  | {
      readonly event: 'took-over';
      readonly pid: number;
      readonly from: number;
      readonly gapMs: number;
      readonly vifs: readonly string[];
    }
  | { readonly event: 'parked'; readonly vif: string; readonly reason: string; readonly pauseMs: number }
  | { readonly event: 'recovered'; readonly vif: string; readonly queue: number }
  | {
      readonly event: 'error' | 'mended';
      readonly vif: string | undefined;
      readonly code: VifdErrorCode;
      readonly message: string;
    }
  | {
      readonly event: 'left-out';
      readonly vif: string | undefined;
      readonly lines: number;
      readonly ms: number;
      readonly last: string;
    }
  | { readonly event: 'lost'; readonly lines: number };
