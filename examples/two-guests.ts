// Joins two guests by a port in JavaScript: no tap, no bridge. What one sends, the other receives.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Netback, type NetbackOptions, openXen, pair, type VifAddress } from 'vifd';

/** Serves the vif of each of two domains with one end of a pair, and leaves other vifs alone. */
export async function joinGuests(
  first: number,
  second: number,
  options: Omit<NetbackOptions, 'port' | 'accept'>,
): Promise<Netback> {
  const [one, other] = pair();
  return Netback.open({
    ...options,
    accept: ({ domid, handle }: VifAddress) => handle === 0 && (domid === first || domid === second),
    port: ({ domid }: VifAddress) => (domid === first ? one : other),
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [first, second] = process.argv.slice(2).map(Number);
  await using xen = await openXen();
  await using netback = await joinGuests(first, second, { xen });
  netback.on('attached', (vif) => console.log(`${vif.id} is joined`));
  await once(process, 'SIGTERM');
}
