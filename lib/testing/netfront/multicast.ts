import { EXTRA_TYPE_MCAST_ADD, EXTRA_TYPE_MCAST_DEL, RSP_OKAY } from '../../protocol/netif.js';

interface Command {
  readonly words: readonly [number, number];
  readonly settle: (done: boolean) => void;
}

/** A guest's changes of its multicast list, which go by the TX ring as extra info (netif.h, "multicast control"). */
export class MulticastCommands {
  readonly #waiting: Command[] = [];
  /** Commands in the ring, by the id of their request. */
  readonly #asked = new Map<number, Command>();

  /** Changes that are not in the ring yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Asks for a change, which the owner of the ring puts there.
   * @param address six bytes.
   * @returns whether the backend made the change, once it has responded.
   */
  change(how: 'add' | 'remove', address: Uint8Array): Promise<boolean> {
    const type = how === 'add' ? EXTRA_TYPE_MCAST_ADD : EXTRA_TYPE_MCAST_DEL;
    const [a, b, c, d, e, f] = address as unknown as [number, number, number, number, number, number];
    const words = [type | (a << 16) | (b << 24), c | (d << 8) | (e << 16) | (f << 24)] as const;
    return new Promise((settle) => this.#waiting.push({ words, settle }));
  }

  /** Takes the next change for the ring. @param id of its request. @returns the words of its extra info. */
  begin(id: number): readonly [number, number] {
    const command = this.#waiting.shift() as Command;
    this.#asked.set(id, command);
    return command.words;
  }

  /** The backend has responded to a change. */
  end(id: number, status: number): void {
    const command = this.#asked.get(id);
    this.#asked.delete(id);
    command?.settle(status === RSP_OKAY);
  }
}
