/**
 * The seam: everything vifd asks of a hypervisor. Two implementations pass the same contract tests:
 * `xen/native` (libxengnttab, libxenevtchn, a xenstore connection) and `testing/model` (pure TypeScript).
 */

import type { Journals } from '../durable/journal.js';
import type { VifdError } from '../errors.js';

/** Size of a granted page. Grants are in units of 4 KiB whatever the machine's page size is (xen/grant_table.h). */
export const PAGE_SIZE = 4096;

/** A hypervisor as this domain sees it: memory, event channels, the store and the clock. Disposal ends all uses of it. */
export interface Xen extends AsyncDisposable {
  /** The domain that this process runs in; 0 for dom0. */
  readonly domid: number;
  /** The use of other domains' memory. */
  readonly grants: Grants;
  /** Event channels of this domain. */
  readonly events: Events;
  /**
   * Opens event channels that another process of this domain can take over when this one serves no more. Absent where that is impossible: with
   * a libxenevtchn older than Xen 4.15, or a model without descriptors.
   * @param stored what another process has stored; the descriptor stays the caller's. Call it only once that process runs no code any more:
   *   each event is read by one of the processes that have the handle open, and the other never learns of it.
   * @throws VifdError ERR_HOST if this host cannot open them, or if `stored` is of no use; then the caller opens others.
   */
  openLastingEvents?(stored?: StoredEvents): LastingEvents;
  /** A connection to xenstore. */
  readonly store: Store;
  /** The clock of this process; virtual in the model. */
  readonly clock: Clock;
  /**
   * Journals that last as long as the guests of this Xen, which are a netback's default. Absent where that is a file system's: then the
   * default is files of a runtime directory.
   */
  readonly journals?: Journals;
  /** Memory to grant to other domains, which only frontends need; undefined where this host has none. */
  readonly shares: Shares | undefined;
  /**
   * Returns whether a domain exists and is not dying; undefined if this domain cannot tell. Only a dom0 with libxenctrl can tell; the method
   * is absent where no domain can.
   */
  domainExists?(domid: number): boolean | undefined;
  /**
   * Waits for the end of all uses that the host failed to end at first (a page that stays mapped, a channel that stays bound); the host tries
   * each again.
   * @param then runs when none remains; at once if there is none.
   */
  whenEnded?(then: () => void): void;
  /**
   * Only in the model: the data path calls it after each store to shared memory. A simulation may throw in it to end this process there.
   */
  step?(what: string): void;
}

// ---- memory -----------------------------------------------------------------------------------

/**
 * Memory that batched operations address by offset. `bytes` and `u32` are the same memory.
 * Both are getters to be read again after each await: in the model, memory that a peer unmaps moves.
 */
export interface Arena {
  /** The memory as bytes. */
  readonly bytes: Uint8Array;
  /** The memory as words of 32 bits, in the machine's byte order. */
  readonly u32: Uint32Array;
}

/** An arena whose memory is freed at disposal and not by the garbage collector. Its views are empty afterwards. */
export interface OwnArena extends Arena, Disposable {}

/** Using other domains' memory. */
export interface Grants {
  /**
   * Maps whole pages. All or none.
   * @throws VifdError ERR_XEN_GRANT, naming the references, if one of them is not granted to this domain; ERR_HOST if this host has
   *   no memory or no free table entry for it.
   */
  map(domid: number, refs: readonly number[], access: Access): Mapping;
  /**
   * Page-aligned, zeroed memory of this process. `bytes` is rounded up to whole pages.
   * @throws VifdError ERR_HOST when there is no memory.
   */
  arena(bytes: number): OwnArena;
  /** Returns a descriptor block for copying or mapping many grants of `domid` in one call. */
  batch(options: BatchOptions): GrantBatch;
  /** Returns an empty set of grants of `domid` that stay mapped. */
  staged(domid: number): StagedGrants;
}

/** Options of `Grants.batch`. */
export interface BatchOptions {
  /** The domain whose grants the batch uses. */
  readonly domid: number;
  /** The most operations of a batch; at least 1. */
  readonly capacity: number;
  /** Where the bytes of frames lie in this process. */
  readonly arena: Arena;
  /** Grants of `domid` that are mapped already, so that the batch needs no hypercall for them. */
  readonly staged?: StagedGrants | undefined;
}

/**
 * Grants that stay mapped (netif.h, "Static Grants"). A batch that is made with them moves their bytes by memcpy. For every other grant, and
 * for one that is mapped for reading where the batch writes, the batch uses the hypervisor.
 */
export interface StagedGrants extends Disposable {
  /** How many grants are in the set. */
  readonly size: number;
  /**
   * Maps grants that are not in the set yet: all or none.
   * @returns false if the granter does not grant one of them. @throws VifdError ERR_HOST: nothing has changed; try again later.
   */
  add(refs: readonly number[], access: Access): boolean;
  /**
   * Unmaps grants and removes them from the set. Must not be called while a batch has pages mapped.
   * @throws VifdError ERR_HOST: some may still be mapped; try again later with the same references.
   */
  remove(refs: readonly number[]): void;
}

/** What a grant allows: reading the page, or writing it as well. */
export type Access = 'read' | 'write';

/**
 * Mapped pages. After `unmap` every view that was handed out is empty (length 0): a stale view reads
 * `undefined` and cannot crash. The ArrayBuffer is detached first and unmapped second.
 */
export interface Mapping extends Disposable {
  /** One view a page, `PAGE_SIZE` bytes each. Throws ERR_STATE after unmap. */
  page(index: number): Uint8Array;
  /** Whether the pages are mapped still. */
  readonly mapped: boolean;
  /**
   * Unmaps the pages. Idempotent. @throws VifdError ERR_HOST if the host cannot unmap them now: the views are empty all the same, and the
   *   host tries again until it succeeds.
   */
  unmap(): void;
}

/**
 * Layout of `GrantBatch.ops`: header words, then OP_WORDS words an operation.
 * native/layout.h has the same figures; a test compares them.
 */
export const OPS_COUNT = 0;
/** Out: how many operations failed; at 0 the caller need not read each status. */
export const OPS_FAILED = 1;
/**
 * Out: the errno of a call that failed as a whole, for no fault of the guest; 0 if each operation has its status. With an errno no status
 * is valid, OPS_FAILED is not 0, and the caller may try the same batch again: operations may safely run twice.
 */
export const OPS_ERRNO = 2;
export const OPS_HEADER_WORDS = 4;
export const OP_WORDS = 5;
/** Grant reference. */
export const OP_REF = 0;
/** The bytes within the granted page: offset | length << 16. offset + length <= PAGE_SIZE. */
export const OP_SPAN = 1;
/** The offset in the arena, in bytes. */
export const OP_ARENA = 2;
/** Map mode only: how many bytes, from the beginning of the span, move between page and arena. Copy mode moves all. */
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
  /** The most operations of the batch. */
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
  /** Unmaps the pages that `mapFromGuest` mapped. Idempotent. With OPS_ERRNO some are still mapped, and the caller tries again. */
  unmap(): void;
}

/** Grants memory of this domain to other domains, as a frontend does. */
export interface Shares {
  /** Contiguous pages of this domain, zeroed. None is granted yet. */
  allocate(pages: number): SharedPages;
}

/** Pages of this domain that others may use. Disposal ends the grants. */
export interface SharedPages extends Arena, Disposable {
  /** How many pages there are. */
  readonly pages: number;
  /** Lets `domid` use one page. @returns the grant reference. */
  grant(page: number, domid: number, access: Access): number;
  /** Ends a grant. @returns false while the other domain still has it mapped; the grant then stands. */
  end(ref: number): boolean;
}

// ---- events -----------------------------------------------------------------------------------

/** Event channels of this domain. */
export interface Events {
  /**
   * Binds to a port that `domid` has reserved for this domain. An event is pending at once: Xen marks a newly
   * bound port pending, because earlier events are lost (xen/common/event_channel.c).
   * @param onFault called with ERR_HOST when this host fails a call that the channel needs, and with undefined when the call succeeds
   *   again. Meanwhile the channel repeats the call, with pauses of at most a second.
   * @throws VifdError ERR_XEN_EVENT if the port does not exist, is not reserved for this domain or is already bound; ERR_HOST if this host
   *   cannot bind it.
   */
  bind(domid: number, remotePort: number, onEvent: () => void, onFault?: ChannelFaultListener): EventChannel;
  /** Opens a port that `domid` may bind to. */
  bindUnbound(domid: number, onEvent: () => void): EventChannel;
}

/** What the next process needs to take event channels over. */
export interface StoredEvents {
  /** Of the handle. While any process has it open, its ports stay bound. */
  readonly descriptor: number;
  /** The ports that are bound in it. */
  readonly ports: readonly StoredPort[];
}

/** A bound event channel. */
export interface StoredPort {
  /** The domain of the other end. */
  readonly domid: number;
  /** The port of the other end. */
  readonly remotePort: number;
  /** The port of this domain. */
  readonly port: number;
}

/**
 * Event channels with a handle of their own: a port stays bound while any process has a descriptor of the handle open, and no other handle can
 * bind it meanwhile (ERR_XEN_EVENT, EINVAL). The last close unbinds all of them.
 */
export interface LastingEvents extends Events, Disposable {
  /**
   * Takes a stored port over if there is one for that end and if it is still bound; otherwise binds as `Events.bind`. An event is pending at
   * once in either case: the process that had the port may have read one without acting on it. It has left the port masked then, so call
   * `unmask` even if there was nothing to do.
   */
  bind: Events['bind'];
  /**
   * The ports that `bind` has bound and that are bound now, for the next process. Send it a duplicate of the descriptor, which stays this
   * object's.
   */
  readonly stored: StoredEvents;
  /** Unbinds all ports, also the stored ones that were not taken over, whether or not other processes have the handle open. */
  [Symbol.dispose](): void;
}

/** Called with a fault of an event channel, and with undefined when the fault is over. */
export type ChannelFaultListener = (fault: VifdError | undefined) => void;

/**
 * One end of an event channel. Events merge: `onEvent` runs once for all events that were sent before it. The channel is
 * masked when `onEvent` runs and stays masked until `unmask`, so that a guest cannot cause a storm of events (XSA-332).
 */
export interface EventChannel extends Disposable {
  /** The number of the port in this domain. */
  readonly port: number;
  /** Never throws: notifying a peer that is gone does nothing, as under Xen. */
  notify(): void;
  /** Allows events again after `onEvent`. If one was sent meanwhile, `onEvent` runs again. */
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
   * when there is a new connection, before any watch fires. Registration itself causes no call. The errno ETIMEDOUT means that the
   * connection still exists and xenstored does not respond: when xenstored responds again, no event has been lost.
   */
  onConnection(listener: (lost: VifdError | undefined) => void): Disposable;
}

/** Reads and writes xenstore: directly, or in a transaction. Each method rejects with VifdError ERR_STORE and the `errno` of xenstored. */
export interface StoreView {
  /** @returns undefined when there is no such node. */
  read(path: string): Promise<string | undefined>;
  /** As `read` for each path, in their order: all requests are sent before the first response. Rejects if one of them fails. */
  readAll(paths: readonly string[]): Promise<readonly (string | undefined)[]>;
  /** Creates missing parents. */
  write(path: string, value: string): Promise<void>;
  /** Names of the children; empty when there is no such node. */
  list(path: string): Promise<string[]>;
  /** Creates an empty node and missing parents. An existing node stays as it is. */
  mkdir(path: string): Promise<void>;
  /** Removes the node and all below it. No error when it is not there. */
  rm(path: string): Promise<void>;
  /** Returns the permissions of a node, the owner's entry first. */
  getPermissions(path: string): Promise<Permission[]>;
  /** Replaces the permissions of a node; the first entry names its owner. */
  setPermissions(path: string, permissions: readonly Permission[]): Promise<void>;
}

/** A watch of the store. Disposal is `close`. */
export interface StoreWatch extends AsyncDisposable {
  /** Idempotent; after it resolves `onChange` is not called again. */
  close(): Promise<void>;
}

/**
 * An entry of a node's permissions. The first entry names the owner and the access of all other domains; the others name single domains.
 */
export interface Permission {
  /** The domain; in the first entry the owner. */
  readonly domid: number;
  /** What the domain may do with the node. */
  readonly access: 'none' | 'read' | 'write' | 'both';
}

// ---- clock ------------------------------------------------------------------------------------

/** The time, as a hypervisor or the model has it. */
export interface Clock {
  /** Monotonic milliseconds. */
  now(): number;
  /**
   * Runs `fire` once after `delayMs`; 0 means the next turn of the event loop, after the handlers for I/O. Disposal
   * cancels the timer. The timer does not keep the process alive.
   */
  after(delayMs: number, fire: () => void): Disposable;
}
