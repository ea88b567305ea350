/** The messages between the demo and its traffic processes. Moments are those of `machineMs`. */

export type TrafficOrder =
  | { readonly kind: 'receive'; readonly stream: number; readonly port: number }
  | { readonly kind: 'send'; readonly stream: number; readonly host: string; readonly port: number }
  /** Senders end their streams at the next block. */
  | { readonly kind: 'finish' };

export type TrafficReport =
  | { readonly kind: 'listening'; readonly stream: number }
  | { readonly kind: 'connected'; readonly stream: number }
  | {
      readonly kind: 'received';
      readonly stream: number;
      readonly bytes: number;
      readonly silences: readonly Silence[];
    }
  | { readonly kind: 'differ'; readonly stream: number; readonly bytes: number }
  /** A TCP connection ended before the demo asked it to. */
  | { readonly kind: 'reset'; readonly stream: number; readonly why: string }
  | { readonly kind: 'sent'; readonly stream: number; readonly bytes: number }
  | { readonly kind: 'ended'; readonly stream: number; readonly bytes: number };

/** The time in which nothing arrived. */
export type Silence = readonly [fromMs: number, untilMs: number];

/** How often receivers report. */
export const REPORT_MS = 100;
