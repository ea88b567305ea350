/**
 * The native addon (native/*.cc) as TypeScript sees it. Only this file imports `bindings`.
 *
 * Conventions: a number below 0 is -errno; no function throws for an error of a system call or of a guest. Functions of the data path take no
 * arguments and read their parameters from a block of words that both sides share: 14 ns a call.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import bindings from 'bindings';
import { VifdError } from './errors.js';

export interface Addon {
  /** The constants of native/layout.h by name. */
  layout(): Record<string, number>;
  /** `make` creates the error that is thrown for a call that an object's state forbids. */
  useErrors(make: (message: string) => Error): void;
  /** Zeroed pages, page-aligned, at least `bytes` of them. */
  arena(bytes: number): NativePages | number;
  /** Maps a file. A missing file is created, and a shorter one grows, with zeros, to `bytes`. */
  mapFile(path: string, bytes: number): NativeFilePages | number;
  /**
   * Takes the lock of a file, or of a single byte, which need not be in it: the kernel releases both when the process ends.
   * @returns 0 if this process has the lock from now on, the pid of the process that has it (this one, if it had it already), or -errno.
   */
  lockFile(path: string, byte?: number): number;
  /** @returns the pid of the process that has the lock; 0 if none has it, or there is no such file; or -errno. */
  lockHolder(path: string, byte?: number): number;
  /** @returns 1 while the file that this process has locked exists; 0 if it was deleted or replaced; or -errno. */
  lockStands(path: string, byte?: number): number;
  /** Releases a lock. Not an error if this process does not have it. */
  unlockFile(path: string, byte?: number): number;
  /** Opens libxengnttab.so.1 and libxenevtchn.so.1 in `directory`, or from the system's directories. */
  loadXen(directory: string | undefined): XenLibraries | MissingLibrary;
  /**
   * Makes the tap device `name`, or takes over a persistent one. With `descriptor`, uses the device that is open there, whatever its name is
   * now. The tap owns the descriptor from then on, also if its device was deleted (EBADFD) or is no such tap (ENODEV).
   * @param multiQueue whether a new device can have several queues. An existing device stays as it is.
   */
  openTap(name: string, descriptor: number | undefined, multiQueue: boolean): NativeTap | FailedTap;
  /** Sends one datagram to a unix socket ('@' first: an abstract one), and a descriptor with it, without waiting. @returns 0 or -errno. */
  sendDatagram(path: string, text: string, descriptor?: number): number;
  /** Creates a unix socket at `path` that receives such datagrams. Returns its descriptor, or -errno. */
  bindDatagrams(path: string): number;
  /** Returns a further descriptor of the same file, which children do not inherit; or -errno. */
  duplicateDescriptor(fd: number): number;
  /** Returns the two ends of a connection that keeps the bounds of messages (SOCK_SEQPACKET); or -errno. */
  socketPair(): [number, number] | number;
  /**
   * Sends bytes, and duplicates of at most 253 descriptors with them, through a connected unix socket, without waiting.
   * @returns how many bytes were sent: all, or fewer of a stream; or -errno.
   */
  sendMessage(fd: number, bytes: Uint8Array, descriptors: readonly number[]): number;
  /**
   * Receives a message of a unix socket into `bytes`, without waiting. A message that has more bytes or descriptors than there is
   * room for is consumed and refused whole, and its descriptors are closed.
   * @returns -EAGAIN when none has come, -EMSGSIZE for more bytes than `bytes` holds, -E2BIG for more than `descriptorsMax`
   * descriptors, or for more than this process may open.
   */
  receiveMessage(fd: number, bytes: Uint8Array, descriptorsMax: number): ReceivedMessage | number;
  /** @returns how many of the bytes `fd` took without waiting, or -errno when it took none: -EAGAIN of a full pipe. */
  writeNow(fd: number, bytes: Uint8Array): number;
  /** _exit(2): ends the process at once, without exit handlers, and without freeing the heap. */
  endProcess(code: number): never;
  /** @returns the descriptor of a connected stream socket that does not block. */
  connectUnix(path: string): number;
  /** Network interfaces of this process's network namespace, by netlink. @returns -errno where there is no such socket. */
  openLinks(): NativeLinks | number;
  /** Follows the changes of the interfaces from now on. */
  followLinks(): NativeLinkEvents | number;
  /** Returns the descriptor of a new page of liveness (lib/host/liveness.ts), which children do not inherit; or -errno. */
  makeLiveness(): number;
  /** @returns -EBUSY if the page was taken before, -EPERM in another than the main thread, or for a file that could be cut off; or -errno. */
  holdLiveness(fd: number): number;
  /** @returns -EPERM for a file that could be cut off; or another -errno. */
  watchLiveness(fd: number): NativeLivenessWatch | number;
  /** Returns a descriptor that can be read once the process has ended (a pidfd), which children do not inherit; or -errno. */
  openProcess(pid: number): number;
  /** Calls `start`. A process that it starts has no capabilities but those that `capabilities` names, a bit each. */
  startConfined<T>(start: () => T, capabilities: number): T;
  /** Refuses to this process the system calls that a worker does not need, for good. @returns 0 or -errno. */
  confine(): number;
  /**
   * Calls `onReadable` while `fd` can be read, until the returned function is called.
   * @param background whether the event loop may end meanwhile.
   */
  watch(fd: number, onReadable: () => void, background?: boolean): (() => void) | number;
}

export interface ReceivedMessage {
  /** How many bytes came. 0 with no descriptor: the other end was closed, or sent nothing. */
  readonly bytes: number;
  /** The receiver's own. A child does not inherit them. */
  readonly descriptors: number[];
}

export interface NativeLivenessWatch {
  /** For `watch`: can be read once the thread that holds the page has ended, or its process claims so. */
  readonly descriptor: number;
  /** Ends the watch's thread, and closes the descriptor. Idempotent. */
  close(): void;
}

/** Memory that ends when it is unmapped, not when it is collected. */
export interface NativeFilePages extends NativePages {
  /** Whether the file was truncated while it was mapped: zeros have replaced its missing pages. */
  cut(): boolean;
}

export interface NativePages {
  /** The pages themselves, one after the other. */
  readonly buffer: ArrayBuffer;
  /**
   * Detaches `buffer`, so that views of it are empty, then unmaps. If JavaScript has moved the pages to another ArrayBuffer (`transfer()`),
   * that one shows zeros from then on. Idempotent.
   * @returns 0, or -errno: then the pages are still mapped, and it may be called again.
   */
  unmap(): number;
}

export interface MissingLibrary {
  readonly library: string;
  /** The message of dlopen. */
  readonly reason: string;
}

export interface XenLibraries {
  /** False before libxengnttab 1.1: a copy is then a map and a copy, with the same results. */
  readonly grantCopy: boolean;
  /** False before libxenevtchn 1.2. */
  readonly canAdoptEvents: boolean;
  openGrants(): NativeGrants | number;
  /**
   * @param block block[0] ports are pending and stand in block[1..]; a negative block[0] is an errno that ended delivery.
   * @param onEvents runs once for all of them.
   * @param descriptor of another process's handle; it stays the caller's. -ENOSYS unless `canAdoptEvents`.
   */
  openEvents(block: Int32Array, onEvents: () => void, descriptor?: number): NativeEvents | number;
  /**
   * Asks by libxenctrl, which is opened beside libxengnttab at the first call. @returns 1; 0 for a domain that does not exist or is dying; or
   * -errno: ENOENT without the library, EPERM outside of dom0.
   */
  domainExists(domid: number): number;
  /** Only xensim has it: gntalloc cannot grant a page that exists already. */
  readonly openShares?: () => NativeShares | number;
}

/** One handle on /dev/xen/gntdev. It closes when the last mapping that it made is gone. */
export interface NativeGrants {
  map(domid: number, refs: Uint32Array, write: boolean): NativeMapping | number;
  /** @param ops OPS_HEADER_WORDS + capacity * OP_WORDS words (lib/xen/seam.ts). Pinned, as is the arena. */
  batch(domid: number, ops: Uint32Array, arena: Uint8Array, staged?: unknown): NativeBatch;
  staged(domid: number): NativeStaged;
}

/** See StagedGrants in lib/xen/seam.ts. */
export interface NativeStaged {
  /** @returns 0, or -errno: then none is mapped. */
  add(refs: Uint32Array, write: boolean): number;
  /** @returns 0, or -errno: then it may be called again. */
  remove(refs: Uint32Array): number;
  size(): number;
  /** @returns 0, or -errno: then it may be called again. */
  clear(): number;
  /** For the argument `staged` of `batch`. */
  readonly handle: unknown;
}

/** Pages of another domain. Writing to pages mapped for reading is a SIGSEGV. */
export type NativeMapping = NativePages;

/** See GrantBatch in lib/xen/seam.ts. */
export interface NativeBatch {
  copyFromGuest(): void;
  copyToGuest(): void;
  mapFromGuest(): void;
  mapToGuest(): void;
  unmap(): void;
  /** Unmaps, and releases `ops` and the arena. @returns 0, or -errno: then it may be called again. */
  end(): number;
  /** For NativeTap.start: lets the tap write out of mapped pages. */
  readonly handle: unknown;
}

/** One handle on /dev/xen/evtchn. Keeps the event loop alive while a port is bound. */
export interface NativeEvents {
  bind(domid: number, remotePort: number): number;
  bindUnbound(domid: number): number;
  /** Takes a port over that is bound by this handle already, and notifies its other end. @returns the port, or -ENOTCONN if it is not. */
  adopt(port: number): number;
  descriptor(): number;
  notify(port: number): number;
  unmask(port: number): number;
  unbind(port: number): number;
  /** From now on only ports of `domid` can be bound (xenevtchn_restrict). */
  restrict(domid: number): number;
  /** Receives events again, after an errno in the block has ended that. */
  resume(): number;
  close(): number;
}

export interface NativeShares {
  allocate(pages: number): NativeSharedPages | number;
}

/** `unmap` releases the pages; their grants end. -EBUSY if JavaScript has moved the pages to another ArrayBuffer. */
export interface NativeSharedPages extends NativePages {
  /** @returns the reference. */
  grant(page: number, domid: number, writable: boolean): number;
  /** -EBUSY while the other domain has the page mapped. */
  end(ref: number): number;
}

export interface FailedTap {
  /** The call that failed: open (of /dev/net/tun), or an ioctl's name. */
  readonly failed: string;
  readonly errno: number;
}

export interface NativeTap {
  /** The name that the kernel had when the tap was opened. */
  readonly name: string;
  readonly descriptor: number;
  /** Whether the device can have several queues. */
  readonly multiQueue: boolean;
  /** Attaches a further queue; `descriptor` as for `openTap`. */
  addQueue(descriptor?: number): NativeTap | FailedTap;
  /**
   * @returns its name now, and whether it is in this process's network namespace (before Linux 5.2 always true); -EBADFD once it is deleted.
   */
  look(): { readonly name: string; readonly here: boolean } | number;
  /** Whether the device stays when its descriptor closes. */
  setPersist(on: boolean): number;
  /** -EINVAL for a kernel before Linux 5.0. */
  setCarrier(on: boolean): number;
  /**
   * @returns which of the kernel's features `ethtool -K` has switched on, a bit for each by its number; empty where the kernel does not
   * report them, as for a device in another network namespace.
   */
  features(): Uint32Array;
  /** Switches the features on and off as `words`, which `features` returned, has them. @returns 0 or -errno. */
  setFeatures(words: Uint32Array): number;
  /**
   * Bounds the memory of the frames that wait in all queues of the device together, for `ms` from now on, by a BPF program
   * (native/tap_limit.h). The program stays when the process ends, and replaces an earlier process's.
   */
  limit(bytes: number, ms: number): undefined | FailedTap;
  /** Extends the limit to `ms` from now on. */
  renewLimit(ms: number): number;
  /** Removes the program of an earlier process's `limit`. */
  unlimit(): number;
  /** Frames that `limit` has dropped. */
  dropped(): number;
  start(options: NativeTapOptions): NativeTapIo | number;
  close(): number;
}

/** Numbers below 0 are -errno. */
export interface NativeLinks {
  /** @param which its index, or its name. @returns undefined when there is none. */
  get(which: number | string): NativeLink | undefined | number;
  list(): NativeLink[] | number;
  /** @param changes exactly one, so that an error belongs to that one. `master` 0: none. */
  set(index: number, changes: NativeLinkChange): number;
  /** Sets flags of its bridge's port. */
  setPort(index: number, flags: Readonly<Record<string, number>>): number;
  /** Frames that were sent to the interface and dropped (`tx_dropped`) since it was made. */
  dropped(index: number): number;
  /** Deletes the interface, even while processes have descriptors of it. */
  remove(index: number): number;
  /** Returns the kernel's reason for the last request that it refused; mostly ''. */
  reason(): string;
  close(): void;
}

export interface NativeLink {
  readonly index: number;
  readonly name: string;
  /** '' if it has none. */
  readonly alias: string;
  /** As `ip -d link` shows it: `tun`, `bridge`; '' if it has none. */
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  /** How many frames each of its queues holds (`txqueuelen`). */
  readonly queueFrames: number;
  readonly up: boolean;
  /** Whether it has a carrier (IFF_LOWER_UP); false while it is down. */
  readonly carrier: boolean;
  /** Whether the kernel has completed its coming up (IFF_RUNNING), which is later than `up` and `carrier`; false without either. */
  readonly running: boolean;
  /** Index of the interface that it is in; 0 for none. */
  readonly master: number;
  readonly masterKind: string;
  /** Flags of its port, if `masterKind` is `bridge`; those that the kernel has. */
  readonly port?: Readonly<Record<string, number>>;
  /** IFLA_BRPORT_STATE of that port (linux/if_bridge.h, BR_STATE_*). */
  readonly portState?: number;
}

export type NativeLinkChange = Partial<
  Pick<NativeLink, 'name' | 'alias' | 'mtu' | 'queueFrames' | 'up' | 'master'> & { readonly mac: Uint8Array }
>;

/** `gone`: deleted, or moved to another network namespace. `port`: the flags and the state of its port alone. */
export type NativeLinkEvent =
  | (NativeLink & { readonly event: 'link' | 'gone' })
  | ({ readonly event: 'port' } & Pick<NativeLink, 'index' | 'port' | 'portState'>);

export interface NativeLinkEvents {
  /** For `watch`. */
  readonly descriptor: number;
  /** Does not wait. @returns -ENOBUFS if the kernel had to drop some: the caller reads all interfaces again. */
  take(): NativeLinkEvent[] | number;
  close(): void;
}

export interface NativeTapOptions {
  /** Blocks and arenas of two FrameBatches. */
  readonly writes: Uint32Array;
  readonly writesArena: Uint8Array;
  readonly reads: Uint32Array;
  readonly readsArena: Uint8Array;
  /** NativeBatch.handle. */
  readonly mapped: unknown;
  /** TUN_F_* (linux/if_tun.h). */
  readonly offloads: number;
  /** Whether an earlier process served the same reader. */
  readonly resumed: boolean;
  /** Whether to complete partial checksums of frames that are read. */
  readonly completeV4: boolean;
  readonly completeV6: boolean;
  readonly onReadable: () => void;
}

export interface NativeTapIo {
  write(): number;
  read(): number;
  wantReadable(): void;
  close(): void;
}

let loaded: Addon | undefined;

/**
 * Returns the addon, which the first call loads: build/Release/vifd.node, or the file that VIFD_ADDON names.
 * @throws VifdError ERR_ADDON_MISSING, with the remedy.
 */
export function addon(): Addon {
  if (loaded === undefined) {
    loaded = load(process.env.VIFD_ADDON);
    loaded.useErrors((message) => new VifdError('ERR_STATE', message));
  }
  return loaded;
}

function load(path: string | undefined): Addon {
  try {
    if (path) {
      // node:module costs a start half a millisecond, and this is for tests.
      const { createRequire } = process.getBuiltinModule('node:module');
      return createRequire(import.meta.url)(resolve(path)) as Addon;
    }
    return bindings({
      bindings: 'vifd',
      module_root: fileURLToPath(new URL('..', import.meta.url)),
      try: [['module_root', 'build', 'Release', 'bindings']],
    }) as Addon;
  } catch (cause) {
    const built = cause instanceof Error && !('tries' in cause) ? ` (${cause.message.split('\n')[0]})` : '';
    throw new VifdError(
      'ERR_ADDON_MISSING',
      `The native addon ${path ? `at ${path} cannot be loaded` : 'is not built'}${built}: run ` +
        '`npm run build:native`, which needs `apt-get install -y g++ cmake make`.',
      { cause },
    );
  }
}

/**
 * Throws unless native code can store the memory's address: memory that can shrink, grow or be shared with threads has none that stays.
 * @throws VifdError ERR_ARGUMENT.
 */
export function requirePinnable(what: string, array: Uint8Array | Uint32Array): void {
  const { buffer } = array;
  const resizable = 'resizable' in buffer && buffer.resizable === true;
  if (buffer instanceof ArrayBuffer && !resizable) return;
  throw new VifdError(
    'ERR_ARGUMENT',
    `${what} cannot lie in a resizable ArrayBuffer or a SharedArrayBuffer: take one of Grants.arena.`,
  );
}

/** Neither libuv nor Node has a name for it. A tap's descriptor gives it once its device is deleted. */
const EBADFD = 77;

/** 'ENOENT' for -2. */
export function errnoName(error: number): string {
  return error === -EBADFD ? 'EBADFD' : getSystemErrorName(error);
}
