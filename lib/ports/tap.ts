import {
  addon,
  errnoName,
  type FailedTap,
  type NativeTap,
  type NativeTapIo,
  requirePinnable,
} from '../addon.js';
import { VifdError } from '../errors.js';
import type { Interface, Interfaces } from '../host/interfaces.js';
import { applySettings, type LinkSettings } from '../host/links.js';
import { interfaces } from '../host/netlink-interfaces.js';
import type { GrantBatch } from '../xen/seam.js';
import type { Port, PortBatches, PortIo, PortOptions, PortTrouble } from './port.js';
import { TapLimit } from './tap-limit.js';
import { type MadeDevice, TapFollower } from './tap-link.js';
import { requireValid, type TapOptions } from './tap-options.js';

// linux/if_tun.h
const TUN_F_CSUM = 1;
const TUN_F_TSO4 = 2;
const TUN_F_TSO6 = 4;

/** drivers/net/tun.c, MAX_TAP_QUEUES. */
const QUEUES_MAX = 256;

/**
 * A tap device, made at once. Frames cross with their virtio_net_hdr: in both directions the kernel takes frames with partial checksums and
 * of up to 64 KiB, as far as the port's reader takes them.
 *
 * The tap begins without a carrier, and the kernel drops what the host sends to it. `Netback` calls `setCarrier(true)` once a guest is
 * connected; a program that uses the tap without `Netback` calls it itself.
 *
 * Each read needs FRAME_BYTES_MAX of free arena, since the length of the next frame is not known beforehand: an arena for n frames has that
 * much at its end.
 * @param network reads and changes the tap's interface; default: netlink, with the rights of this process.
 * @throws VifdError ERR_ARGUMENT or ERR_TAP.
 */
export function tap(options: TapOptions, network: Interfaces = interfaces()): Port {
  requireValid(options);
  const opened = openStored(options);
  const isNew = !opened.some((native) => native !== undefined);
  const wasThere = !isNew || network.find(options.name) !== undefined;
  if (isNew)
    opened[0] = succeeded(
      options.name,
      addon().openTap(options.name, undefined, options.multiQueue === true),
    );
  const port = new TapPort(options, opened, network);
  try {
    port.limit.begin();
    const { features } = options.memory ?? {};
    if (!wasThere && features !== undefined)
      done(options.name, 'what `ethtool -K` had switched', port.native.setFeatures(features));
    const mac = configure(network, port.native, options, wasThere);
    // A hotplug script may run after `ifMade`, and its address then counts.
    const isOwn = options.mac !== undefined || options.memory?.settings !== undefined;
    if (!wasThere && isOwn && mac !== undefined) port.made = { mac, at: process.uptime() };
  } catch (error) {
    port.close();
    throw error;
  }
  if (isNew) port.opened(port.native, 0);
  return port;
}

/** @returns the queues of the stored descriptors, by number; undefined for a queue without one, or if the device was deleted. */
function openStored({ name, descriptors = [] }: TapOptions): (NativeTap | undefined)[] {
  let first: NativeTap | undefined;
  return descriptors.map((descriptor) => {
    if (descriptor === undefined) return undefined;
    const native = first?.addQueue(descriptor) ?? addon().openTap(name, descriptor, false);
    if ('failed' in native) return undefined;
    first ??= native;
    return native;
  });
}

function succeeded(name: string, native: NativeTap | FailedTap): NativeTap {
  if ('failed' in native) throw creationError(name, native.failed, native.errno);
  return native;
}

function creationError(name: string, failed: string, error: number): VifdError {
  const errno = errnoName(error);
  const remedies: Record<string, string> = {
    ENOENT: 'load the driver with `modprobe tun`',
    ENODEV: 'load the driver with `modprobe tun`',
    EACCES: 'run as root',
    EPERM: 'run as root, or with CAP_NET_ADMIN',
    EBUSY: 'another process has it open',
    EINVAL: 'an interface of that name is there and is not such a tap: delete or rename that one',
    EMFILE: 'raise LimitNOFILE, or end what holds so many descriptors',
    ENFILE: 'end what holds so many files, or raise fs.file-max',
  };
  const what = failed === 'open' ? '/dev/net/tun cannot be opened for it' : `${failed} failed`;
  return new VifdError('ERR_TAP', `Tap ${name}: ${what} (${errno}): ${remedies[errno] ?? 'see `dmesg`'}.`, {
    errno,
  });
}

/** @returns the address that the device should have. */
function configure(
  network: Interfaces,
  native: NativeTap,
  options: TapOptions,
  wasThere: boolean,
): string | undefined {
  const link = linkOf(network, native);
  // An interface in another network namespace is set up there, by its administrator.
  const mac = link === undefined ? undefined : setUpLink(network, link, options, wasThere).mac;
  // Sets persistence last: a tap whose setup failed must not remain.
  if (options.persist !== undefined) done(native.name, 'persistence', native.setPersist(options.persist));
  return mac;
}

/** @returns undefined if the interface is in another network namespace. */
function linkOf(network: Interfaces, native: NativeTap): Interface | undefined {
  const seen = native.look();
  if (typeof seen === 'number') throw notDone(native.name, 'looking at it', errnoName(seen));
  return seen.here ? network.find(seen.name) : undefined;
}

function setUpLink(
  network: Interfaces,
  link: Interface,
  options: TapOptions,
  wasThere: boolean,
): Partial<LinkSettings> {
  const { name, index } = link;
  const refused = (step: string, { errno, text }: { errno: string; text: string }): never => {
    throw notDone(name, step, errno, text);
  };
  const wanted = wantedSettings(link, options, wasThere);
  if (options.bridge !== undefined && link.master !== 0) {
    const bridge = network.find(link.master)?.name;
    if (bridge !== options.bridge)
      throw notDone(name, `joining bridge ${options.bridge}`, 'EBUSY', `EBUSY; it is in ${bridge}`);
  }
  const alias = (wasThere ? undefined : options.memory?.settings?.alias) ?? options.alias;
  if (alias !== undefined && alias !== '' && link.alias === '') {
    const refusal = network.change(index, { alias });
    if (refusal !== undefined) refused('its alias', refusal);
  }
  applySettings(network, link, wanted, refused);
  return wanted;
}

/** Returns the settings to apply: options first, then those of a deleted device, then those for a new device. */
function wantedSettings(link: Interface, options: TapOptions, wasThere: boolean): Partial<LinkSettings> {
  const { mtu, mac, bridge, up, portFlags: port, bridgeIfNone, memory, ifMade } = options;
  const asked = { mtu, mac: mac?.toLowerCase(), bridge, up, port };
  const before = wasThere ? {} : (memory?.settings?.link ?? ifMade ?? {});
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  const settings: Partial<LinkSettings> = { ...before, ...Object.fromEntries(given) };
  const restored = !wasThere && memory?.settings !== undefined;
  if (settings.bridge !== undefined || bridgeIfNone === undefined || link.master !== 0 || restored)
    return settings;
  return { ...settings, bridge: bridgeIfNone };
}

function done(name: string, what: string, error: number): void {
  if (error < 0) throw notDone(name, what, errnoName(error));
}

function notDone(name: string, what: string, errno: string, text = errno): VifdError {
  return new VifdError('ERR_TAP', `Tap ${name}: ${what} failed (${text}).`, { errno });
}

class TapPort implements Port {
  readonly writesMapped = true;
  readonly queuesMax: number;
  readonly #options: TapOptions;
  readonly #network: Interfaces;
  /**
   * Each queue here is attached: the kernel spreads flows over all attached queues (tun_automq_select_queue), whether or not they are read.
   */
  readonly #queues: (NativeTap | undefined)[];
  readonly #ios: (TapIo | undefined)[] = [];
  /** Undefined for a device that existed before, and for one without `ifMade`. */
  made: MadeDevice | undefined;
  readonly limit: TapLimit;
  /** The carrier as vifd set it last. If the interface has none all the same, an administrator has removed it. */
  #carrier = false;
  #closed = false;

  /** @param queues by their numbers; at least one exists. */
  constructor(options: TapOptions, queues: (NativeTap | undefined)[], network: Interfaces) {
    this.#options = options;
    this.#network = network;
    this.#queues = queues;
    this.queuesMax = this.native.multiQueue ? QUEUES_MAX : 1;
    this.limit = new TapLimit(() => this.native, network, options.onShortQueues);
  }

  get dropped(): number {
    return this.limit.dropped;
  }

  /** The name that the kernel has now. */
  get name(): string {
    const seen = this.#closed ? -1 : this.native.look();
    return typeof seen === 'number' ? this.native.name : seen.name;
  }

  /** Any queue, for calls that concern the device as a whole. */
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
    this.limit.queues = count;
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
    if (this.#closed || this.native.setCarrier(on) < 0) return false;
    this.#carrier = on;
    return true;
  }

  follow(listener: (trouble: PortTrouble | undefined) => void): Disposable {
    const { memory, expects } = this.#options;
    const look = () => (this.#closed ? undefined : this.native.look());
    const wantsCarrier = () => this.#carrier;
    const { name, made } = this;
    const features = () => (this.#closed ? new Uint32Array() : this.native.features());
    const network = this.#network;
    const parts = { network, name, look, features, wantsCarrier, memory, expects, made };
    return new TapFollower(parts, (trouble) => {
      // Stored duplicates of a deleted device's descriptors are of no use to a later process.
      if (trouble?.lost === true) this.#forget();
      listener(trouble);
    });
  }

  async remove(): Promise<void> {
    if (this.#closed) return;
    const { name, native } = this;
    const seen = native.look();
    // A deleted interface is not found. One in another network namespace ends with its last descriptor.
    const here = typeof seen !== 'number' && seen.here ? this.#network.find(seen.name) : undefined;
    const refusal = here === undefined ? undefined : this.#network.remove(here.index);
    if (here === undefined && typeof seen !== 'number') native.setPersist(false);
    this.#forget();
    this.close();
    if (refusal !== undefined && refusal.errno !== 'ENODEV')
      throw notDone(name, 'its removal', refusal.errno, refusal.text);
  }

  #forget(): void {
    this.#queues.forEach((queue, index) => {
      if (queue !== undefined) this.#options.onClosed?.(index);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** Called for each queue that was opened anew; a queue from a stored descriptor is unchanged. */
  opened(queue: NativeTap, index: number): void {
    this.#options.onOpened?.(queue.descriptor, index);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.limit[Symbol.dispose]();
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

  /** Closes the queues from `count` on: the kernel would lose the flows that it sends to a queue that stays attached and is not read. */
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
