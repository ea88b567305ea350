// Responds to each guest's DHCP with the address 10.0.0.DOMID. A guest's other frames go nowhere.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type FramePort, framePort, Netback, openXen, type VifAddress } from 'vifd';

const [DISCOVER, OFFER, REQUEST, ACK] = [1, 2, 3, 5];
const SERVER = [10, 0, 0, 254];
const SERVER_MAC = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
/** Where each part of a frame begins, without IP options. */
const [IP, UDP, BOOTP, OPTIONS] = [14, 34, 42, 282];

/** Returns the value of option 53, the kind of message; undefined for a frame that is no request of DHCP. */
function kindOf(frame: Uint8Array): number | undefined {
  const isUdp = frame[12] === 8 && frame[13] === 0 && frame[IP] === 0x45 && frame[IP + 9] === 17;
  if (!isUdp || frame[UDP + 3] !== 67 || frame[BOOTP] !== 1) return undefined;
  for (let at = OPTIONS; at + 2 < frame.length && frame[at] !== 255; at += 2 + frame[at + 1])
    if (frame[at] === 53) return frame[at + 2];
  return undefined;
}

/** Returns the frame that responds to a guest's frame with an address (RFC 2131); undefined if none is due. */
export function respond(frame: Uint8Array, address: readonly number[]): Uint8Array | undefined {
  const kind = kindOf(frame);
  if (kind !== DISCOVER && kind !== REQUEST) return undefined;
  const means = [53, 1, kind === DISCOVER ? OFFER : ACK];
  const options = [...means, 54, 4, ...SERVER, 51, 4, 0, 0, 14, 16, 1, 4, 255, 255, 255, 0, 255];
  // The transaction, the flags and the guest's address stay as they are in its request.
  const reply = Buffer.alloc(OPTIONS + options.length);
  reply.set(frame.subarray(0, OPTIONS));
  reply.set([...frame.subarray(6, 12), ...SERVER_MAC], 0);
  reply.writeUInt16BE(reply.length - IP, IP + 2);
  reply.set([0, 0, ...SERVER, 255, 255, 255, 255], IP + 10);
  let sum = 0;
  for (let at = IP; at < UDP; at += 2) sum += reply.readUInt16BE(at);
  reply.writeUInt16BE(~((sum & 0xffff) + (sum >>> 16)) & 0xffff, IP + 10);
  reply.set([0, 67, 0, 68, 0, 0, 0, 0], UDP); // A checksum of 0 is none, which IPv4 allows.
  reply.writeUInt16BE(reply.length - UDP, UDP + 4);
  reply[BOOTP] = 2;
  reply.set([...address, ...SERVER], BOOTP + 16);
  reply.set(options, OPTIONS);
  return reply;
}

/** The port of a guest that gets its address from this program. */
export function dhcpPort({ domid }: VifAddress): FramePort {
  const address = [10, 0, domid >>> 8, domid & 0xff];
  const port: FramePort = framePort({
    onFrame: (frame) => {
      const reply = respond(frame, address);
      if (reply !== undefined) port.send(reply);
    },
  });
  return port;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await using xen = await openXen();
  await using _netback = await Netback.open({ xen, port: dhcpPort });
  await once(process, 'SIGTERM');
}
