import { once } from 'node:events';
import { Netback, openXen, tap } from 'vifd';

await using xen = await openXen();
await using netback = await Netback.open(
  {
    xen,
    port: (vif) => tap({ name: vif.id, bridge: vif.bridge ?? 'xenbr0', persist: true, up: true }),
    hook: (frame, direction, vif) => (direction === 'from-guest' && isSpoofed(frame, vif) ? 'drop' : 'pass'),
  },
  {
    attached: (vif, how) => console.log(vif.id, how.resumed ? 'again' : 'new'),
    error: (error) => console.error(error.message),
    mended: (error) => console.error(`mended: ${error.message}`),
  },
);
console.log(`${netback.vifs.size} vifs at the start`);
await once(process, 'SIGTERM'); // The end of the module detaches: guests stay connected.

function isSpoofed({ bytes }: { bytes: Uint8Array }, { mac }: { mac: string }): boolean {
  return Buffer.from(bytes.subarray(6, 12)).toString('hex') !== mac.replaceAll(':', '');
}
