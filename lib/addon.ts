/**
 * The native addon (native/*.cc) as TypeScript sees it. This file is the only importer of `bindings`.
 *
 * Conventions: a number below 0 is -errno; nothing here throws for what a system call or a guest did. Functions of
 * the data path take no arguments and read their orders from a block of words that both sides share: 14 ns a call.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getSystemErrorName } from 'node:util';
import bindings from 'bindings';
import { VifdError } from './errors.js';

export interface Addon {
  /** The constants of native/layout.h by name. */
  layout(): Record<string, number>;
  /** `make` makes what is thrown for a call that does not fit an object's state. */
  useErrors(make: (message: string) => Error): void;
  /** Zeroed pages, page-aligned, at least `bytes` of them. */
  arena(bytes: number): NativePages | number;
  /** Maps a file, made and grown (with zeros) to `bytes` if need be. */
  mapFile(path: string, bytes: number): NativeFilePages | number;
  /**
   * Takes the lock of a file, or of a single byte, which need not be in it: both end with the process.
   * @returns 0 when it is ours, else the process that has it (this one, if it has it already), or -errno.
   */
  lockFile(path: string, byte?: number): number;
  /** @returns the process that has it; 0: none, or no such file; or -errno. */
  lockHolder(path: string, byte?: number): number;
  /** @returns 1 while the file that this process has locked is there; 0 when it was deleted or replaced; or -errno. */
  lockStands(path: string, byte?: number): number;
  /** No error when it is not ours. */
  unlockFile(path: string, byte?: number): number;
  /** Opens libxengnttab.so.1 and libxenevtchn.so.1 in `directory`, or where the system has them. */
  loadXen(directory: string | undefined): XenLibraries | MissingLibrary;
  /**
   * Makes the tap device `name`, or takes over a persistent one. With `descriptor`, the device that is open there, whatever
   * its name is now: the descriptor is owned from then on, also when its device was deleted (EBADFD) or is no such tap (ENODEV).
   * @param multiQueue a device that is made can have several queues. One that is there stays as it is.
   */
  openTap(name: string, descriptor: number | undefined, multiQueue: boolean): NativeTap | FailedTap;
  /** One datagram to a unix socket ('@' first: an abstract one), and a descriptor with it, without waiting. @returns 0 or -errno. */
  sendDatagram(path: string, text: string, descriptor?: number): number;
  /** Returns the descriptor of a unix socket that receives such datagrams, which is made at `path`; or -errno. */
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
  /** _exit(2): at once, without exit handlers, and without taking the heap apart. */
  endProcess(code: number): never;
  /** @returns the descriptor of a connected stream socket that does not block. */
  connectUnix(path: string): number;
  /** Network interfaces of this process's network namespace, by netlink. @returns -errno where there is no such socket. */
  openLinks(): NativeLinks | number;
  /** What changes at them from now on. */
  followLinks(): NativeLinkEvents | number;
  /** Calls `onReadable` while `fd` can be read, until the returned function is called. */
  watch(fd: number, onReadable: () => void): (() => void) | number;
}

export interface ReceivedMessage {
  /** How many bytes came. 0 with no descriptor: the other end was closed, or sent nothing. */
  readonly bytes: number;
  /** The receiver's own. A child does not inherit them. */
  readonly descriptors: number[];
}

/** Memory that ends when it is unmapped, and not when the collector comes by. */
export interface NativeFilePages extends NativePages {
  /** The file was truncated while it was mapped: zeros stand in the place of its missing pages. */
  cut(): boolean;
}

export interface NativePages {
  /** The pages themselves, one after the other. */
  readonly buffer: ArrayBuffer;
  /**
   * Detaches `buffer`, then unmaps: views of it are empty then. When JavaScript has moved the pages to another ArrayBuffer
   * (`transfer()`), that one shows zeros from then on. Idempotent.
   * @returns 0 or -errno; then the pages are still mapped, and it may be called again.
   */
  unmap(): number;
}

export interface MissingLibrary {
  readonly library: string;
  /** What dlopen said. */
  readonly reason: string;
}

export interface XenLibraries {
  /** False before libxengnttab 1.1: copying is then mapping and copying, with the same results. */
  readonly grantCopy: boolean;
  openGrants(): NativeGrants | number;
  /**
   * @param block block[0] ports are pending and stand in block[1..]; a negative block[0] is an errno that ended it.
   * @param onEvents runs once for all of them.
   */
  openEvents(block: Int32Array, onEvents: () => void): NativeEvents | number;
  /**
   * By libxenctrl, which is looked for beside libxengnttab at the first call. @returns 1, 0 for a domain that is not there or is
   * dying, or -errno: ENOENT without the library, EPERM outside of dom0.
   */
  domainExists(domid: number): number;
  /** Only xensim has it: gntalloc cannot grant a page that is there already. */
  readonly openShares?: () => NativeShares | number;
}

/** One handle on /dev/xen/gntdev. It closes when the last mapping made with it is gone. */
export interface NativeGrants {
  map(domid: number, refs: Uint32Array, write: boolean): NativeMapping | number;
  /** @param ops OPS_HEADER_WORDS + capacity * OP_WORDS words (lib/xen/seam.ts). Pinned, as is the arena. */
  batch(domid: number, ops: Uint32Array, arena: Uint8Array, staged?: unknown): NativeBatch;
  staged(domid: number): NativeStaged;
}

/** See StagedGrants in lib/xen/seam.ts. */
export interface NativeStaged {
  /** @returns 0 or -errno; none is mapped then. */
  add(refs: Uint32Array, write: boolean): number;
  /** @returns 0 or -errno; it may be called again then. */
  remove(refs: Uint32Array): number;
  size(): number;
  /** @returns 0 or -errno; it may be called again then. */
  clear(): number;
  /** For `batch`. */
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
  /** Unmaps and forgets `ops` and the arena. @returns 0 or -errno; it may be called again then. */
  end(): number;
  /** For NativeTap.start: lets the tap write out of mapped pages. */
  readonly handle: unknown;
}

/** One handle on /dev/xen/evtchn. Keeps the event loop alive while a port is bound. */
export interface NativeEvents {
  bind(domid: number, remotePort: number): number;
  bindUnbound(domid: number): number;
  notify(port: number): number;
  unmask(port: number): number;
  unbind(port: number): number;
  /** From now on only ports of `domid` can be bound (xenevtchn_restrict). */
  restrict(domid: number): number;
  /** Receives events again, after an errno in the block ended that. */
  resume(): number;
  close(): number;
}

export interface NativeShares {
  allocate(pages: number): NativeSharedPages | number;
}

/** `unmap` gives the pages back; their grants end. -EBUSY when JavaScript has moved the pages to another ArrayBuffer. */
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
  /** As the kernel had it when it was opened. */
  readonly name: string;
  readonly descriptor: number;
  /** Whether the device can have several queues. */
  readonly multiQueue: boolean;
  /** A further queue, attached from then on; `descriptor` as for `openTap`. */
  addQueue(descriptor?: number): NativeTap | FailedTap;
  /**
   * @returns its name now, and whether it is in this process's network namespace (before Linux 5.2: yes); -EBADFD once it is
   * deleted.
   */
  look(): { readonly name: string; readonly here: boolean } | number;
  /** A persistent device stays when its descriptor closes. */
  setPersist(on: boolean): number;
  /** -EINVAL of a kernel before Linux 5.0. */
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
  /** Removes the program that an earlier process's `limit` has left. */
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
  /** @param changes one of them: the error is then of that one. `master` 0: none. */
  set(index: number, changes: NativeLinkChange): number;
  /** Flags of its bridge's port. */
  setPort(index: number, flags: Readonly<Record<string, number>>): number;
  /** Frames that were sent to the interface and dropped (`tx_dropped`) since it was made. */
  dropped(name: string): number;
  /** Deletes the interface, whoever has a descriptor of it. */
  remove(index: number): number;
  /** What the kernel said of the last request that it refused; mostly ''. */
  reason(): string;
  close(): void;
}

export interface NativeLink {
  readonly index: number;
  readonly name: string;
  /** '' for none. */
  readonly alias: string;
  /** As `ip -d link` shows it: `tun`, `bridge`; '' for none. */
  readonly kind: string;
  readonly mac: string;
  readonly mtu: number;
  /** How many frames each of its queues holds (`txqueuelen`). */
  readonly queueFrames: number;
  readonly up: boolean;
  /** It has a carrier (IFF_LOWER_UP); false while it is down. */
  readonly carrier: boolean;
  /** The kernel's work on its coming up is done (IFF_RUNNING), which is later than `up` and `carrier`; false without either. */
  readonly running: boolean;
  /** Index of what it is in; 0 for nothing. */
  readonly master: number;
  readonly masterKind: string;
  /** Flags of its port, where `masterKind` is `bridge`; those that the kernel has. */
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
  /** Does not wait. @returns -ENOBUFS when the kernel had to drop some: everything is to be looked at anew. */
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
  /** The reader is that of an earlier process. */
  readonly resumed: boolean;
  /** Complete partial checksums of frames that are read. */
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
 * The addon, loaded at the first call: build/Release/vifd.node, or the file that VIFD_ADDON names.
 * @throws VifdError ERR_ADDON_MISSING, with what to do.
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
 * Native code keeps the address: memory that can shrink, grow or be shared with other threads has none to keep.
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

/** Not among those that libuv, and so Node, has a name for. A tap's descriptor gives it once its device is deleted. */
const EBADFD = 77;

/** 'ENOENT' for -2. */
export function errnoName(error: number): string {
  return error === -EBADFD ? 'EBADFD' : getSystemErrorName(error);
}
