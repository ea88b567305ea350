import {
  addon,
  errnoName,
  type FailedTap,
  type NativeTap,
  type NativeTapIo,
  requirePinnable,
} from '../addon.js';
import { VifdError } from '../errors.js';
import type { GrantBatch } from '../xen/types.js';
import { spreadOverCpus } from './spread.js';
import type { Port, PortBatches, PortIo, PortOptions } from './types.js';

export interface TapOptions {
  /** At most 15 bytes, e.g. `vif7.0`. A persistent tap of that name is taken over. */
  readonly name: string;
  /** Stays when this process ends, so that bridge membership and counters do. Default: as it is. */
  readonly persist?: boolean;
  /** A Linux bridge to join. */
  readonly bridge?: string;
  readonly mtu?: number;
  /** `fe:ff:ff:ff:ff:ff` is what Linux's netback uses. */
  readonly mac?: string;
  /** Default: as it is. */
  readonly up?: boolean;
  /** Made to have several queues, if it is made here; one that is there already stays as it is. Default false. */
  readonly multiQueue?: boolean;
  /** What is written into it is dealt with by other processors than the first, as far as that can be. Default: as it is. */
  readonly spread?: boolean;
  /**
   * Descriptors of it that somebody kept open, by queue: the device has kept its carrier, and what was sent to it meanwhile
   * waits. Owned by the port from then on. Closed and not used when they are not of that device, or that was deleted.
   */
  readonly descriptors?: readonly (number | undefined)[];
  /** Is lent the descriptor of a queue that was opened anew, to duplicate it for a later life. */
  readonly onOpened?: (descriptor: number, queue: number) => void;
  /** The tap does without the queue from now on: what was duplicated of it would take frames that nobody reads. */
  readonly onClosed?: (queue: number) => void;
}

// linux/if_tun.h
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;

/** drivers/net/tun.c, MAX_TAP_QUEUES. */
const QUEUES_MAX = 256;

const MTU_MIN = 68;
const MTU_MAX = 65_521;

/**
 * A tap device, made at once. Frames cross with their virtio_net_hdr: the kernel is handed, and hands over, frames
 * with partial checksums and of up to 64 KiB, as far as the port's reader takes them.
 *
 * Each read needs FRAME_BYTES_MAX of free arena, since the length of the next frame is not known beforehand: an arena
 * for n frames has that much at its end.
 * @throws VifdError ERR_ARGUMENT or ERR_TAP.
 */
export function tap(options: TapOptions): Port {
  requireName('tap', options.name);
  if (options.bridge !== undefined) requireName('bridge', options.bridge);
  const opened: (NativeTap | undefined)[] = (options.descriptors ?? []).map((descriptor) =>
    adopted(options.name, descriptor),
  );
  const isNew = !opened.some((native) => native !== undefined);
  if (isNew)
    opened[0] = succeeded(
      options.name,
      addon().openTap(options.name, undefined, options.multiQueue === true),
    );
  const port = new TapPort(options, opened);
  try {
    configure(port.native, options);
  } catch (error) {
    port.close();
    throw error;
  }
  if (isNew) port.opened(port.native, 0);
  return port;
}

function adopted(name: string, descriptor: number | undefined): NativeTap | undefined {
  if (descriptor === undefined) return undefined;
  const native = addon().openTap(name, descriptor, false);
  return 'failed' in native ? undefined : native;
}

function succeeded(name: string, native: NativeTap | FailedTap): NativeTap {
  if ('failed' in native) throw creationError(name, native.failed, native.errno);
  return native;
}

function requireName(what: string, name: string): void {
  // net/core/dev.c, dev_valid_name; and a % would be a template for a number.
  if (/^[^\s/:%\0]+$/.test(name) && Buffer.byteLength(name) <= 15 && name !== '.' && name !== '..') return;
  throw new VifdError(
    'ERR_ARGUMENT',
    `${JSON.stringify(name)} cannot name a ${what}: give 1 to 15 bytes without spaces, slashes, colons or %.`,
  );
}

function creationError(name: string, failed: string, error: number): VifdError {
  const errno = errnoName(error);
  const remedies: Record<string, string> = {
    ENOENT: 'load the driver with `modprobe tun`',
    ENODEV: 'load the driver with `modprobe tun`',
    EACCES: 'run as root',
    EPERM: 'run as root, or with CAP_NET_ADMIN',
    EBUSY: 'another process has it open',
    EINVAL: 'an interface of that name is there and is not such a tap: delete it or choose another name',
  };
  const what = failed === 'open' ? '/dev/net/tun cannot be opened for it' : `${failed} failed`;
  return new VifdError('ERR_TAP', `Tap ${name}: ${what} (${errno}): ${remedies[errno] ?? 'see `dmesg`'}.`, {
    errno,
  });
}

function configure(native: NativeTap, options: TapOptions): void {
  const { mtu, mac, bridge, up, persist } = options;
  if (mtu !== undefined && !(Number.isInteger(mtu) && mtu >= MTU_MIN && mtu <= MTU_MAX)) {
    throw new VifdError(
      'ERR_ARGUMENT',
      `Tap ${native.name}: ${mtu} is no MTU: give ${MTU_MIN} to ${MTU_MAX}.`,
    );
  }
  const address = mac === undefined ? undefined : parseMac(native.name, mac);
  if (mtu !== undefined) done(native.name, `MTU ${mtu}`, native.setMtu(mtu));
  if (address !== undefined) done(native.name, `address ${mac}`, native.setMac(address));
  if (bridge !== undefined) join(native, bridge);
  if (up !== undefined) done(native.name, up ? 'going up' : 'going down', native.setUp(up));
  // Last: a tap that could not be set up must not stay behind.
  if (persist !== undefined) done(native.name, 'persistence', native.setPersist(persist));
}

function parseMac(name: string, mac: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new VifdError(
      'ERR_ARGUMENT',
      `Tap ${name}: ${mac} is no MAC address: write it as fe:ff:ff:ff:ff:ff.`,
    );
  }
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

function join(native: NativeTap, bridge: string): void {
  const error = native.joinBridge(bridge);
  const elsewhere = error < 0 && errnoName(error) === 'EBUSY';
  done(native.name, `joining bridge ${bridge}`, error, elsewhere ? '; it is in another bridge' : '');
}

function done(name: string, what: string, error: number, hint = ''): void {
  if (error >= 0) return;
  const errno = errnoName(error);
  throw new VifdError('ERR_TAP', `Tap ${name}: ${what} failed (${errno})${hint}.`, { errno });
}

class TapPort implements Port {
  readonly name: string;
  readonly writesMapped = true;
  readonly queuesMax: number;
  readonly #options: TapOptions;
  /** Those that are there are attached: the kernel spreads flows over them (tun_automq_select_queue), whoever reads. */
  readonly #queues: (NativeTap | undefined)[];
  readonly #ios: (TapIo | undefined)[] = [];
  #closed = false;

  /** @param queues by their numbers; at least one is there. */
  constructor(options: TapOptions, queues: (NativeTap | undefined)[]) {
    this.#options = options;
    this.#queues = queues;
    this.name = this.native.name;
    this.queuesMax = this.native.multiQueue ? QUEUES_MAX : 1;
  }

  /** For what concerns the device as a whole. */
  get native(): NativeTap {
    return this.#queues.find((queue) => queue !== undefined) as NativeTap;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    const { index, count } = options.queue ?? { index: 0, count: 1 };
    if (this.#closed) throw new VifdError('ERR_STATE', `Tap ${this.name} was closed: make it again.`);
    if (this.#ios[index]?.open)
      throw new VifdError('ERR_STATE', `Tap ${this.name} is in use: close its PortIo first.`);
    for (const { arena, block } of [batches.writes, batches.reads]) {
      requirePinnable('An arena', arena.bytes);
      requirePinnable('A block of frames', block);
    }
    const queue = this.#queueOf(index);
    this.#closeFrom(count);
    const native = queue.start({
      writes: batches.writes.block,
      writesArena: batches.writes.arena.bytes,
      reads: batches.reads.block,
      readsArena: batches.reads.arena.bytes,
      mapped: handleOf(batches.mapped),
      ...offloadsFor(options),
      resumed: options.resumed === true,
      onReadable: () => options.onReadable(),
    });
    if (typeof native === 'number') {
      const errno = errnoName(native);
      throw new VifdError(
        'ERR_TAP',
        `Tap ${this.name} cannot be used: setting its offloads failed (${errno}).`,
        {
          errno,
        },
      );
    }
    const io = new TapIo(native);
    this.#ios[index] = io;
    return io;
  }

  setCarrier(on: boolean): boolean {
    return !this.#closed && this.native.setCarrier(on) >= 0;
  }

  async remove(): Promise<void> {
    if (this.#closed) return;
    const error = this.native.remove();
    this.#queues.forEach((queue, index) => {
      if (queue !== undefined) this.#options.onClosed?.(index);
    });
    const { name } = this;
    this.close();
    // Somebody else has deleted it: that is as well.
    if (error < 0 && errnoName(error) !== 'ENODEV') done(name, 'its removal', error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** A queue was opened anew; one that somebody kept is as it was. */
  opened(queue: NativeTap, index: number): void {
    if (this.#options.spread === true) spreadOverCpus(this.name, index);
    this.#options.onOpened?.(queue.descriptor, index);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const io of this.#ios) io?.close();
    for (const queue of this.#queues) queue?.close();
  }

  #queueOf(index: number): NativeTap {
    const found = this.#queues[index];
    if (found !== undefined) return found;
    const added = succeeded(this.name, this.native.addQueue());
    this.#queues[index] = added;
    this.opened(added, index);
    return added;
  }

  /** What stays attached and is not read swallows the flows that fall to it. */
  #closeFrom(count: number): void {
    for (let index = count; index < this.#queues.length; index++) {
      const queue = this.#queues[index];
      if (queue === undefined) continue;
      this.#ios[index]?.close();
      queue.close();
      this.#options.onClosed?.(index);
    }
    this.#queues.length = Math.min(this.#queues.length, count);
    this.#ios.length = Math.min(this.#ios.length, count);
  }
}

/**
 * TUN_F_CSUM is for both IP versions. Where the reader takes one of them only, the addon completes the other's
 * checksums. A segmented frame always has a partial checksum, so GSO needs that too.
 */
function offloadsFor(options: PortOptions): { offloads: number; completeV4: boolean; completeV6: boolean } {
  const { checksumV4, checksumV6, gsoV4, gsoV6 } = options;
  const any = checksumV4 || checksumV6;
  const offloads =
    (any ? TUN_F_CSUM : 0) | (checksumV4 && gsoV4 ? TUN_F_TSO4 : 0) | (checksumV6 && gsoV6 ? TUN_F_TSO6 : 0);
  return { offloads, completeV4: any && !checksumV4, completeV6: any && !checksumV6 };
}

/** The addon's own batches only. Another hypervisor's have no mapped pages that a system call could read. */
function handleOf(batch: GrantBatch | undefined): unknown {
  return batch !== undefined && 'handle' in batch ? batch.handle : undefined;
}

class TapIo implements PortIo {
  open = true;
  readonly write: () => number;
  readonly read: () => number;
  readonly wantReadable: () => void;
  readonly #native: NativeTapIo;

  constructor(native: NativeTapIo) {
    this.#native = native;
    this.write = native.write;
    this.read = native.read;
    this.wantReadable = native.wantReadable;
  }

  close(): void {
    this.open = false;
    this.#native.close();
  }
}
