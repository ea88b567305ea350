// Limits what one guest sends and receives, each way on its own: node shape.js vif7.0 1000000 (bytes a second)
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type Direction, Netback, openXen, tap, type Vif } from 'vifd';

/** A token bucket: fills by `bytesPerSecond` up to `burstBytes`, and a frame takes its length out of it. */
function bucket(bytesPerSecond: number, burstBytes: number, now: () => number): (bytes: number) => boolean {
  let [leftBytes, filledMs] = [burstBytes, now()];
  return (bytes) => {
    const nowMs = now();
    leftBytes = Math.min(burstBytes, leftBytes + ((nowMs - filledMs) / 1000) * bytesPerSecond);
    filledMs = nowMs;
    if (leftBytes < bytes) return false;
    leftBytes -= bytes;
    return true;
  };
}

export interface Rate {
  readonly bytesPerSecond: number;
  /** At least as much as the longest frame, 65553 bytes with segmentation offload. Default: twice that. */
  readonly burstBytes?: number;
  /** Milliseconds. */
  readonly now?: () => number;
}

/** Drops what a vif sends or receives beyond a rate: TCP slows down to it. `Flow.filtered` counts the dropped frames. */
export function shape(vif: Vif, { bytesPerSecond, burstBytes = 131_106, now = Date.now }: Rate): Disposable {
  const takes: Record<Direction, (bytes: number) => boolean> = {
    'from-guest': bucket(bytesPerSecond, burstBytes, now),
    'to-guest': bucket(bytesPerSecond, burstBytes, now),
  };
  return vif.filter((frame, direction) => (takes[direction](frame.length) ? 'pass' : 'drop'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [id, rate] = process.argv.slice(2);
  await using xen = await openXen();
  const port = (vif: { id: string }) => tap({ name: vif.id, persist: true, up: true });
  // A vif is the same object when its guest connects again, and stays shaped.
  const shaped = new WeakSet<Vif>();
  const attached = (vif: Vif) => {
    if (vif.id === id && !shaped.has(vif)) shape(vif, { bytesPerSecond: Number(rate) });
    shaped.add(vif);
  };
  await using _netback = await Netback.open({ xen, port }, { attached });
  await once(process, 'SIGTERM');
}
