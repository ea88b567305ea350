// A firewall: guests cannot speak TCP to port 23. Run: node --import tsx examples/firewall.ts, or build it first.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type FrameHeaders, Netback, type NetbackOptions, openXen, tap } from 'vifd';

const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const FRAGMENT_OFFSET = 0x1fff;
const TELNET = 23;

/** Refuses telnet, and IPv4 frames that are too short to tell: a read beyond `readable` would throw. */
function isRefused(frame: FrameHeaders): boolean {
  if (frame.u16(12) !== ETHERTYPE_IPV4) return false;
  if (frame.readable < 34) return true;
  const isLaterFragment = (frame.u16(20) & FRAGMENT_OFFSET) !== 0;
  if (frame.u8(23) !== PROTOCOL_TCP || isLaterFragment) return false;
  const transport = 14 + (frame.u8(14) & 0x0f) * 4;
  return transport + 4 > frame.readable || frame.u16(transport + 2) === TELNET;
}

/** Serves every vif of this domain and filters what its guest sends. The guest cannot change headers once they are read. */
export async function firewall(options: NetbackOptions): Promise<Netback> {
  return Netback.open({
    ...options,
    filter: (frame, direction) => (direction === 'from-guest' && isRefused(frame) ? 'drop' : 'pass'),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await using xen = await openXen();
  await using netback = await firewall({
    xen,
    port: (vif) => tap({ name: vif.id, persist: true, up: true }),
  });
  console.log(`${netback.vifs.size} vifs at the start`);
  await once(process, 'SIGTERM');
}
