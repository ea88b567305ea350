// A flow table with a capture, written from README.md and docs/api.md alone.
import { once } from 'node:events';
import { type CapturedFrame, Netback, pair, type Vif } from 'vifd';
import { createModel } from 'vifd/model';

await using model = createModel();
const ends = pair();
await using netback = await Netback.open({ xen: model.xen, port: ({ domid }) => ends[domid - 1] });
const attached = once(netback, 'attached');
const alice = await model.addGuest();
const [vif]: Vif[] = await attached;
const bob = await model.addGuest();

const flows = new Map<string, number>();
const captured: CapturedFrame[] = [];
const stop = new AbortController();
async function watch(watched: Vif): Promise<number> {
  await using frames = watched.frames({ signal: stop.signal });
  for await (const frame of frames) {
    captured.push(frame);
    const flow = `${frame.direction} ${Buffer.from(frame.bytes.subarray(6, 12)).toString('hex')}`;
    flows.set(flow, (flows.get(flow) ?? 0) + 1);
  }
  return frames.missed;
}
if (vif === undefined) throw new Error('no vif');
const missed = watch(vif);
for (let i = 0; i < 3; i++) alice.send(new Uint8Array(60));
for (let i = 0; i < 3; i++) await bob.receive();
bob.send(new Uint8Array(60).fill(1, 6, 12));
await alice.receive();
stop.abort();
console.log(await missed, captured.length); // 0 4
console.log([...flows].join(' ')); // from-guest 000000000000,3 to-guest 010101010101,1
