import { addon, errnoName, type NativeTap, type NativeTapIo } from '../addon.js';
import { VifdError } from '../errors.js';
import type { GrantBatch } from '../xen/types.js';
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
  /**
   * A descriptor of it that somebody kept open: the device has kept its carrier, and what was sent to it meanwhile waits.
   * Owned by the port from then on. Closed and not used when it is not of that device, or that was deleted.
   */
  readonly descriptor?: number;
  /** Is lent the descriptor of a tap that was opened anew, to duplicate it for a later life. */
  readonly onOpened?: (descriptor: number) => void;
}

// linux/if_tun.h
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;

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
  const kept = options.descriptor === undefined ? undefined : adopted(options.name, options.descriptor);
  const native = kept ?? addon().openTap(options.name);
  if ('failed' in native) throw creationError(options.name, native.failed, native.errno);
  try {
    configure(native, options);
  } catch (error) {
    native.close();
    throw error;
  }
  if (kept === undefined) options.onOpened?.(native.descriptor);
  return new TapPort(native);
}

function adopted(name: string, descriptor: number): NativeTap | undefined {
  const native = addon().openTap(name, descriptor);
  return 'failed' in native ? undefined : native;
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
  if (mtu !== undefined) done(native, `MTU ${mtu}`, native.setMtu(mtu));
  if (address !== undefined) done(native, `address ${mac}`, native.setMac(address));
  if (bridge !== undefined) join(native, bridge);
  if (up !== undefined) done(native, up ? 'going up' : 'going down', native.setUp(up));
  // Last: a tap that could not be set up must not stay behind.
  if (persist !== undefined) done(native, 'persistence', native.setPersist(persist));
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
  done(native, `joining bridge ${bridge}`, error, elsewhere ? '; it is in another bridge' : '');
}

function done(native: NativeTap, what: string, error: number, hint = ''): void {
  if (error >= 0) return;
  const errno = errnoName(error);
  throw new VifdError('ERR_TAP', `Tap ${native.name}: ${what} failed (${errno})${hint}.`, { errno });
}

class TapPort implements Port {
  readonly name: string;
  readonly writesMapped = true;
  readonly #native: NativeTap;
  #io: TapIo | undefined;
  #closed = false;

  constructor(native: NativeTap) {
    this.name = native.name;
    this.#native = native;
  }

  open(batches: PortBatches, options: PortOptions): PortIo {
    if (this.#closed) throw new VifdError('ERR_STATE', `Tap ${this.name} was closed: make it again.`);
    if (this.#io?.open)
      throw new VifdError('ERR_STATE', `Tap ${this.name} is in use: close its PortIo first.`);
    const native = this.#native.start({
      writes: batches.writes.block,
      writesArena: batches.writes.arena.bytes,
      reads: batches.reads.block,
      readsArena: batches.reads.arena.bytes,
      mapped: handleOf(batches.mapped),
      ...offloadsFor(options),
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
    this.#io = new TapIo(native);
    return this.#io;
  }

  async remove(): Promise<void> {
    if (this.#closed) return;
    const error = this.#native.remove();
    await this[Symbol.asyncDispose]();
    // Somebody else has deleted it: that is as well.
    if (error < 0 && errnoName(error) !== 'ENODEV') done(this.#native, 'its removal', error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#io?.close();
    this.#native.close();
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
