// A firewall, written from README.md and docs/api.md alone: guests may not open TCP connections to each other's port 22.
import { type FrameFilter, type FramePort, framePort, Netback, type VifId } from 'vifd';
import { createModel } from 'vifd/model';

const refuseSsh: FrameFilter = (frame, direction) => {
  if (direction !== 'from-guest' || frame.readable < 34 || frame.u16(12) !== 0x0800) return 'pass';
  if (frame.u8(23) !== 6) return 'pass';
  const transport = 14 + (frame.u8(14) & 0x0f) * 4;
  return frame.readable < transport + 4 || frame.u16(transport + 2) === 22 ? 'drop' : 'pass';
};

await using model = createModel();
const ports = new Map<VifId, FramePort>();
await using netback = await Netback.open({
  xen: model.xen,
  port: ({ id }) => {
    const port: FramePort = framePort({
      onFrame: (frame) => {
        for (const other of ports.values()) if (other !== port) other.send(frame);
      },
    });
    ports.set(id, port);
    return port;
  },
  filter: refuseSsh,
});
const [alice, bob] = [await model.addGuest(), await model.addGuest()];

function tcp(port: number): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([8, 0, 0x45], 12);
  frame[23] = 6;
  frame.set([port >>> 8, port & 0xff], 36);
  return frame;
}
alice.send(tcp(22));
alice.send(tcp(443));
const arrived = await bob.receive();
console.log(((arrived[36] ?? 0) << 8) | (arrived[37] ?? 0)); // 443
console.log(netback.vifs.get(alice.id)?.stats.fromGuest.filtered); // 1
