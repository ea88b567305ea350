// A firewall: guests cannot speak TCP to port 23. Run: node --import tsx examples/firewall.ts, or build it first.
import { fileURLToPath } from 'node:url';
import { type Frame, Netback, type NetbackOptions, openXen, tap } from 'vifd';

const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const TELNET = 23;

function isTelnet({ bytes }: Frame): boolean {
  const be16 = (at: number) => (bytes[at] << 8) | bytes[at + 1];
  if (bytes.length < 34 || be16(12) !== ETHERTYPE_IPV4 || bytes[23] !== PROTOCOL_TCP) return false;
  const transport = 14 + (bytes[14] & 0x0f) * 4;
  return transport + 4 <= bytes.length && be16(transport + 2) === TELNET;
}

/** Serves every vif of this domain and filters what its guest sends. The guest cannot change a frame once it is seen. */
export async function firewall(options: NetbackOptions): Promise<Netback> {
  return Netback.open({
    ...options,
    hook: (frame, direction) => (direction === 'from-guest' && isTelnet(frame) ? 'drop' : 'pass'),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const stop = new AbortController();
  process.once('SIGTERM', () => stop.abort());
  const xen = await openXen();
  await firewall({ xen, port: (vif) => tap({ name: vif.id, persist: true, up: true }), signal: stop.signal });
}
