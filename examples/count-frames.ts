// Counts what guests send, by kind, from copies: a slow reader misses frames but never delays them.
import { fileURLToPath } from 'node:url';
import { Netback, openXen, tap, type Vif } from 'vifd';

const KINDS = new Map([
  [0x0800, 'IPv4'],
  [0x0806, 'ARP'],
  [0x86dd, 'IPv6'],
]);

export type Counts = Map<string, { frames: number; bytes: number }>;

/** Counts the frames of one vif until `signal` aborts. */
export async function countFrames(vif: Vif, signal: AbortSignal): Promise<Counts> {
  const counts: Counts = new Map();
  for await (const { bytes } of vif.frames({ direction: 'from-guest', signal })) {
    const kind = KINDS.get((bytes[12] << 8) | bytes[13]) ?? 'other';
    const count = counts.get(kind) ?? { frames: 0, bytes: 0 };
    counts.set(kind, { frames: count.frames + 1, bytes: count.bytes + bytes.length });
  }
  return counts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  await using xen = await openXen();
  const port = ({ id }: { id: string }) => tap({ name: id, persist: true, up: true });
  await using netback = await Netback.open({ xen, port });
  const all = await Promise.all([...netback.vifs.values()].map((vif) => countFrames(vif, stop.signal)));
  for (const counts of all) console.table(Object.fromEntries(counts));
}
