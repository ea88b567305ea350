/**
 * The seam: everything vifd asks of a hypervisor. Two implementations pass the same contract tests:
 * `xen/native` (libxengnttab, libxenevtchn, a xenstore connection) and `testing/model` (pure TypeScript).
 */

import type { VifdError } from '../errors.js';

/** Size of a granted page. Grants are in units of 4 KiB whatever the machine's page size is (xen/grant_table.h). */
export const PAGE_SIZE = 4096;

export interface Xen extends AsyncDisposable {
  /** The domain that this process runs in; 0 for dom0. */
  readonly domid: number;
  readonly grants: Grants;
  readonly events: Events;
  readonly store: Store;
  readonly clock: Clock;
  /** Memory to grant to others. Only frontends need it; absent where the machine offers none. */
  readonly shares: Shares | undefined;
  /**
   * Whether a domain is there and not dying; undefined where this domain cannot tell. Absent: it never can. Only a dom0 with
   * libxenctrl can.
   */
  domainExists?(domid: number): boolean | undefined;
  /**
   * What the host could not let go of when it was to (a page that stays mapped, a channel that stays bound) is tried again.
   * @param then runs when nothing of that kind is left; at once when there is nothing.
   */
  whenEnded?(then: () => void): void;
  /**
   * Only in the model: called after each store to memory that others see, where a simulation may end this life by
   * a throw.
   */
  step?(what: string): void;
}

// ---- memory -----------------------------------------------------------------------------------

/**
 * Memory that batched operations address by offset. `bytes` and `u32` are the same memory.
 * Both are getters to be read again after each await: in the model, memory that a peer unmaps moves.
 */
export interface Arena {
  readonly bytes: Uint8Array;
  readonly u32: Uint32Array;
}

/** An arena that ends when it is disposed of, and not when the collector comes by: its views are empty then. */
export interface OwnArena extends Arena, Disposable {}

/** Using other domains' memory. */
export interface Grants {
  /**
   * Maps whole pages. All or none.
   * @throws VifdError ERR_XEN_GRANT, naming the references, when one of them is not granted to us; ERR_HOST when this host has
   *   no memory or room for it.
   */
  map(domid: number, refs: readonly number[], access: Access): Mapping;
  /**
   * Page-aligned, zeroed memory of this process. `bytes` is rounded up to whole pages.
   * @throws VifdError ERR_HOST when there is no memory.
   */
  arena(bytes: number): OwnArena;
  /** A descriptor block for copying or mapping many grants of `domid` in one call. */
  batch(options: BatchOptions): GrantBatch;
  /** None yet. */
  staged(domid: number): StagedGrants;
}

export interface BatchOptions {
  readonly domid: number;
  readonly capacity: number;
  readonly arena: Arena;
  /** Grants of `domid` that need no hypervisor. */
  readonly staged?: StagedGrants | undefined;
}

/**
 * Grants that stay mapped (netif.h, "Static Grants"): batches that are made with them move these bytes by themselves. Grants that
 * are not here, or only for reading where a batch writes, are asked of the hypervisor as ever.
 */
export interface StagedGrants extends Disposable {
  readonly size: number;
  /**
   * Maps grants that are not here yet: all or none.
   * @returns whether it did; false is the granter's fault. @throws VifdError ERR_HOST: nothing has changed, and it may be tried again.
   */
  add(refs: readonly number[], access: Access): boolean;
  /**
   * Unmaps those that are here. Not while a batch has pages mapped.
   * @throws VifdError ERR_HOST: some may still be in use; to be tried again with the same ones.
   */
  remove(refs: readonly number[]): void;
}

export type Access = 'read' | 'write';

/**
 * Mapped pages. After `unmap` every view that was handed out is empty (length 0): a stale view reads
 * `undefined` and cannot crash. The ArrayBuffer is detached first and unmapped second.
 */
export interface Mapping extends Disposable {
  /** One view a page, `PAGE_SIZE` bytes each. Throws ERR_STATE after unmap. */
  page(index: number): Uint8Array;
  readonly mapped: boolean;
  /**
   * Idempotent. @throws VifdError ERR_HOST when the host cannot unmap them now: the views are empty, and it is tried again until it
   *   works.
   */
  unmap(): void;
}

/**
 * Layout of `GrantBatch.ops`: header words, then OP_WORDS words an operation.
 * native/layout.h has the same figures; a test compares them.
 */
export const OPS_COUNT = 0;
/** Out: how many of them failed, so that nobody needs to look at each status when none did. */
export const OPS_FAILED = 1;
/**
 * Out: the errno of a call that failed as a whole, for no fault of the guest; 0 when each operation has its status. With an errno
 * no status counts, OPS_FAILED is not 0, and the same batch may be tried again: what was done does no harm when it is done twice.
 */
export const OPS_ERRNO = 2;
export const OPS_HEADER_WORDS = 4;
export const OP_WORDS = 5;
/** Grant reference. */
export const OP_REF = 0;
/** Where in the granted page: offset | length << 16. offset + length <= PAGE_SIZE. */
export const OP_SPAN = 1;
/** Where in the arena, in bytes. */
export const OP_ARENA = 2;
/** Map mode only: how many of the span's first bytes to move between page and arena. Copy mode moves all. */
export const OP_HEAD = 3;
/** Out: 0, or a GNTST_* code (xen/grant_table.h) as an int32. */
export const OP_STATUS = 4;

/**
 * Many grant operations in one crossing to native code. The caller fills `ops`, calls one method
 * without arguments and reads a status per operation; nothing here throws for what a guest did.
 * An operation that reaches outside the page or the arena gets GNTST_bad_copy_arg (-10). An operation with an empty span uses no grant: the batch
 * ignores its reference, maps nothing, and sets its status to 0 (as in Linux's gntdev.c, gntdev_grant_copy_seg).
 */
export interface GrantBatch extends Disposable {
  readonly capacity: number;
  /** OPS_HEADER_WORDS + capacity * OP_WORDS words. */
  readonly ops: Uint32Array;
  /** Grant copy, granted pages to arena. */
  copyFromGuest(): void;
  /** Grant copy, arena to granted pages. */
  copyToGuest(): void;
  /** Maps the pages for reading, moves the first OP_HEAD bytes to the arena; stays mapped until `unmap`. */
  mapFromGuest(): void;
  /** Maps the pages for writing, moves OP_HEAD bytes from the arena, unmaps. */
  mapToGuest(): void;
  /** Ends what `mapFromGuest` mapped. Idempotent. With OPS_ERRNO some is still mapped: to be tried again. */
  unmap(): void;
}

/** Granting our own memory to others: what a frontend does. */
export interface Shares {
  /** Contiguous pages of this domain, zeroed. None is granted yet. */
  allocate(pages: number): SharedPages;
}

export interface SharedPages extends Arena, Disposable {
  readonly pages: number;
  /** Lets `domid` use one page. @returns the grant reference. */
  grant(page: number, domid: number, access: Access): number;
  /** Ends a grant. @returns false while the other domain still has it mapped; the grant then stands. */
  end(ref: number): boolean;
}

// ---- events -----------------------------------------------------------------------------------

export interface Events {
  /**
   * Binds to a port that `domid` has left unbound for us. An event is pending at once: Xen marks a newly
   * bound port pending, since what was sent before is lost (xen/common/event_channel.c).
   * @param onFault is called when a call of the host's own fails that the channel needs (ERR_HOST), and with undefined when it
   *   works again. Meanwhile it is tried again, at most a second apart.
   * @throws VifdError ERR_XEN_EVENT when the port is not there, not ours or already bound; ERR_HOST when this host cannot bind it.
   */
  bind(domid: number, remotePort: number, onEvent: () => void, onFault?: ChannelFaultListener): EventChannel;
  /** Opens a port that `domid` may bind to. */
  bindUnbound(domid: number, onEvent: () => void): EventChannel;
}

export type ChannelFaultListener = (fault: VifdError | undefined) => void;

/**
 * One end of an event channel. Events merge: `onEvent` runs once however many were sent. The channel is
 * masked when `onEvent` runs and stays so until `unmask`, so that a guest cannot storm us (XSA-332).
 */
export interface EventChannel extends Disposable {
  readonly port: number;
  /** Never throws: notifying a peer that is gone does nothing, as under Xen. */
  notify(): void;
  unmask(): void;
  /** Idempotent. The peer's port goes back to unbound and may be bound again. */
  close(): void;
}

// ---- store ------------------------------------------------------------------------------------

/** xenstore. Paths are absolute. Values are UTF-8 text. Errors are VifdError ERR_STORE with `errno`. */
export interface Store extends StoreView, AsyncDisposable {
  /**
   * Runs `body` in a transaction and commits; a conflict (EAGAIN) runs the whole body again, at most
   * `attempts` times (default 64). A throw in `body` aborts the transaction. Five run at a time and the others wait, since
   * xenstored allows a domain 10: `body` must not await another transaction.
   */
  transaction<T>(body: (view: StoreView) => Promise<T>, attempts?: number): Promise<T>;
  /**
   * Calls `onChange` with the path that changed at or below `path`; once at registration, and again
   * after a reconnect (what happened meanwhile is unknown). May be spurious. Resolves when registered.
   */
  watch(path: string, onChange: (path: string) => void): Promise<StoreWatch>;
  /**
   * Calls `listener` with an ERR_STORE_GONE as soon as the connection is lost (calls wait from then on), and with undefined
   * when it is made again, before any watch fires. Not called for how it stands at registration. With the errno ETIMEDOUT
   * xenstored does not respond and the connection stands: when it responds, nothing has been missed.
   */
  onConnection(listener: (lost: VifdError | undefined) => void): Disposable;
}

export interface StoreView {
  /** @returns undefined when there is no such node. */
  read(path: string): Promise<string | undefined>;
  /** As `read` for each path, in their order: all requests are sent before the first response. Rejects if one of them fails. */
  readAll(paths: readonly string[]): Promise<readonly (string | undefined)[]>;
  /** Creates missing parents. */
  write(path: string, value: string): Promise<void>;
  /** Names of the children; empty when there is no such node. */
  list(path: string): Promise<string[]>;
  mkdir(path: string): Promise<void>;
  /** Removes the node and all below it. No error when it is not there. */
  rm(path: string): Promise<void>;
  getPermissions(path: string): Promise<Permission[]>;
  setPermissions(path: string, permissions: readonly Permission[]): Promise<void>;
}

export interface StoreWatch extends AsyncDisposable {
  /** Idempotent; after it resolves `onChange` is not called again. */
  close(): Promise<void>;
}

/** The first entry names the owner, and what everybody else may do; the others name single domains. */
export interface Permission {
  readonly domid: number;
  readonly access: 'none' | 'read' | 'write' | 'both';
}

// ---- clock ------------------------------------------------------------------------------------

export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /**
   * Runs `fire` once after `delayMs`; 0 is the next turn of the event loop, after what waits for I/O. Disposal
   * cancels; it does not keep the process alive.
   */
  after(delayMs: number, fire: () => void): Disposable;
}
