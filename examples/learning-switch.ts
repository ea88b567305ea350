// A learning switch for all guests of this domain: no tap, no bridge.
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { type FramePort, framePort, Netback, openXen, type VifAddress, type VifId } from 'vifd';

const MACS_MAX = 1024;
const isGroup = (frame: Uint8Array) => (frame[0] & 1) === 1;

function macAt(frame: Uint8Array, at: number): string {
  return Buffer.from(frame.buffer, frame.byteOffset + at, 6).toString('hex');
}

/** Pass `port` and `removed` to a netback: each vif is a port of the switch. */
export class LearningSwitch {
  readonly #ports = new Map<VifId, FramePort>();
  /** Behind which port an address was seen last, the oldest first. A guest with many addresses forgets old ones. */
  readonly #places = new Map<string, FramePort>();

  /** Returns the port of a vif. */
  readonly port = ({ id }: VifAddress): FramePort => {
    const port: FramePort = framePort({
      name: `switch:${id}`,
      onFrame: (frame) => this.#forward(frame, port),
    });
    this.#ports.set(id, port);
    return port;
  };

  /** Forgets a vif that is gone. */
  readonly removed = ({ id }: VifAddress): void => {
    const port = this.#ports.get(id);
    this.#ports.delete(id);
    for (const [mac, place] of this.#places) if (place === port) this.#places.delete(mac);
  };

  #forward(frame: Uint8Array, from: FramePort): void {
    const source = macAt(frame, 6);
    this.#places.delete(source);
    this.#places.set(source, from);
    if (this.#places.size > MACS_MAX) this.#places.delete(this.#places.keys().next().value as string);
    const place = isGroup(frame) ? undefined : this.#places.get(macAt(frame, 0));
    if (place === from) return;
    for (const port of place === undefined ? this.#ports.values() : [place])
      if (port !== from) port.send(frame);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { port, removed } = new LearningSwitch();
  await using xen = await openXen();
  await using _netback = await Netback.open({ xen, port }, { gone: removed });
  await once(process, 'SIGTERM');
}
