// A stateful firewall: others reach a guest only in flows that the guest began, told apart by their 5-tuple.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type FrameHeaders, Netback, type NetbackOptions, openXen, tap, type VifFilter } from 'vifd';

const [IPV4, TCP, UDP] = [0x0800, 6, 17];
const FLOW_MS_MAX = 300_000;
const FLOWS_MAX = 10_000;

/** Returns the 5-tuple of an unfragmented IPv4 frame as the guest's end sees it; undefined for frames without ports. */
function flowOf(frame: FrameHeaders, isFromGuest: boolean): string | undefined {
  if (frame.readable < 34 || frame.u16(12) !== IPV4 || (frame.u16(20) & 0x3fff) !== 0) return undefined;
  const protocol = frame.u8(23);
  const ports = 14 + (frame.u8(14) & 0x0f) * 4;
  if ((protocol !== TCP && protocol !== UDP) || ports + 4 > frame.readable) return undefined;
  const source = `${frame.u32(26)}:${frame.u16(ports)}`;
  const destination = `${frame.u32(30)}:${frame.u16(ports + 2)}`;
  return `${protocol} ${isFromGuest ? `${source} ${destination}` : `${destination} ${source}`}`;
}

/** Returns a filter that lets IPv4 in only as a response, and everything out. @param now milliseconds. */
export function statefulFilter(now: () => number = Date.now): VifFilter {
  /** When each flow was last used, the oldest first. A guest can fill its own table and no other's. */
  const tables = new Map<string, Map<string, number>>();
  return (frame, direction, { id }) => {
    const isFromGuest = direction === 'from-guest';
    const isIpv4 = frame.readable >= 14 && frame.u16(12) === IPV4;
    if (!isIpv4) return 'pass'; // ARP; a firewall for IPv6 decides here, too.
    const flow = flowOf(frame, isFromGuest);
    if (flow === undefined) return isFromGuest ? 'pass' : 'drop';
    const flows = tables.get(id) ?? new Map<string, number>();
    tables.set(id, flows);
    const isKnown = now() - (flows.get(flow) ?? Number.NEGATIVE_INFINITY) < FLOW_MS_MAX;
    if (!isFromGuest && !isKnown) return 'drop';
    flows.delete(flow);
    flows.set(flow, now());
    if (flows.size > FLOWS_MAX) flows.delete(flows.keys().next().value as string);
    return 'pass';
  };
}

/** Serves every vif of this domain behind the firewall. */
export function statefulFirewall(options: Omit<NetbackOptions, 'filter'>): Promise<Netback> {
  return Netback.open({ ...options, filter: statefulFilter() });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await using xen = await openXen();
  const port = ({ id }: { id: string }) => tap({ name: id, persist: true, up: true });
  await using _netback = await statefulFirewall({ xen, port });
  await once(process, 'SIGTERM');
}
