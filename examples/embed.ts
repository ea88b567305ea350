import { Netback, openXen, tap } from 'vifd';

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const netback = await Netback.open({
  xen: await openXen(),
  port: (vif) => tap({ name: vif.id, bridge: vif.bridge ?? 'xenbr0', persist: true, up: true }),
  hook: (frame, direction, vif) => (direction === 'from-guest' && isSpoofed(frame, vif) ? 'drop' : 'pass'),
  signal: stop.signal, // detaches: guests stay connected
});
netback.on('attached', (vif, how) => console.log(vif.id, how.resumed ? 'again' : 'new'));
netback.on('error', (error) => console.error(error.message));
netback.on('mended', (error) => console.error(`mended: ${error.message}`));

function isSpoofed({ bytes }: { bytes: Uint8Array }, { mac }: { mac: string }): boolean {
  return Buffer.from(bytes.subarray(6, 12)).toString('hex') !== mac.replaceAll(':', '');
}
