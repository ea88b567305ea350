/** What may go wrong under Xen at any time and seldom does. Each is off unless given. */
export interface ModelFaults {
  /** Every n-th operation of grant batches fails with GNTST_eagain. */
  readonly grantFailsEvery?: number;
  /** Every n-th event is followed by one that nobody sent. At least 2. */
  readonly strayEventEvery?: number;
  /** Watches fire only when nothing else waits. */
  readonly watchesLate?: boolean;
}

/** True at every n-th call; never without n. */
export function everyNth(n: number | undefined): () => boolean {
  let calls = 0;
  return () => {
    calls += 1;
    return n !== undefined && calls % n === 0;
  };
}
