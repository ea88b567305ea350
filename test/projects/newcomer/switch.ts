// A learning switch for three guests, written from README.md and docs/api.md alone.
import { type FramePort, framePort, Netback, type VifId } from 'vifd';
import { createModel } from 'vifd/model';

const ports = new Map<VifId, FramePort>();
const places = new Map<string, VifId>();
const mac = (frame: Uint8Array, at: number) => Buffer.from(frame.subarray(at, at + 6)).toString('hex');

function portOf(id: VifId): FramePort {
  const port = framePort({
    onFrame: (frame) => {
      places.set(mac(frame, 6), id);
      const place = places.get(mac(frame, 0));
      for (const [other, to] of ports) if (other !== id && (place ?? other) === other) to.send(frame);
    },
  });
  ports.set(id, port);
  return port;
}

await using model = createModel();
await using _netback = await Netback.open(
  { xen: model.xen, port: ({ id }) => portOf(id) },
  { gone: ({ id }) => ports.delete(id) },
);
const [a, b, c] = [await model.addGuest(), await model.addGuest(), await model.addGuest()];

function frame(to: string, from: string): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set(Buffer.from((to + from).replaceAll(':', ''), 'hex'));
  return bytes;
}
a.send(frame(b.mac, a.mac));
await Promise.all([b.receive(), c.receive()]);
b.send(frame(a.mac, b.mac));
await a.receive();
a.send(frame(b.mac, a.mac));
await b.receive();
await model.settle();
console.log(a.received.length, b.received.length, c.received.length); // 0 0 0
