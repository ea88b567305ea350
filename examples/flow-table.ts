// Counts frames and bytes of each flow of each guest, and prints the largest flows at the end.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type FrameHeaders, Netback, openXen, tap, type Vif } from 'vifd';

const [IPV4, TCP, UDP] = [0x0800, 6, 17];
const FLOWS_MAX = 10_000;

export type FlowCount = { frames: number; bytes: number };

/** Counts the flows of one vif until it is disposed of. */
export class FlowTable implements Disposable {
  /** By `protocol source:port > destination:port`, as the frames name them. */
  readonly flows = new Map<string, FlowCount>();
  /** Frames of flows for which the table had no room. */
  missed = 0;
  readonly #filter: Disposable;

  constructor(vif: Vif) {
    this.#filter = vif.filter((frame) => {
      this.#count(flowOf(frame), frame.length);
      return 'pass';
    });
  }

  #count(name: string, bytes: number): void {
    const flow = this.flows.get(name) ?? { frames: 0, bytes: 0 };
    if (flow.frames === 0 && this.flows.size === FLOWS_MAX) this.missed++;
    else this.flows.set(name, { frames: flow.frames + 1, bytes: flow.bytes + bytes });
  }

  /** Returns the largest flows first. */
  largest(count = 10): [string, FlowCount][] {
    return [...this.flows].sort(([, a], [, b]) => b.bytes - a.bytes).slice(0, count);
  }

  [Symbol.dispose](): void {
    this.#filter[Symbol.dispose]();
  }
}

function flowOf(frame: FrameHeaders): string {
  if (frame.readable < 34 || frame.u16(12) !== IPV4) return 'other';
  const address = (at: number) => [0, 1, 2, 3].map((i) => frame.u8(at + i)).join('.');
  const protocol = frame.u8(23);
  const ports = 14 + (frame.u8(14) & 0x0f) * 4;
  const isWhole = (frame.u16(20) & 0x1fff) === 0 && ports + 4 <= frame.readable;
  const port = (at: number) => (isWhole && [TCP, UDP].includes(protocol) ? `:${frame.u16(at)}` : '');
  return `${protocol} ${address(26)}${port(ports)} > ${address(30)}${port(ports + 2)}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await using xen = await openXen();
  const port = ({ id }: { id: string }) => tap({ name: id, persist: true, up: true });
  const tables = new Map<Vif, FlowTable>();
  const attached = (vif: Vif) => void (tables.has(vif) || tables.set(vif, new FlowTable(vif)));
  await using _netback = await Netback.open({ xen, port }, { attached });
  await once(process, 'SIGINT');
  for (const table of tables.values()) console.table(Object.fromEntries(table.largest()));
}
