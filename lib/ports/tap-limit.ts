import { errnoName, type FailedTap, type NativeTap } from '../addon.js';
import { hostRemedy, VifdError, vifdErrorOf } from '../errors.js';
import type { Interface, Interfaces } from '../host/interfaces.js';

/** The most kernel memory for frames that wait in a tap, in all its queues together. */
const WAITING_BYTES_MAX = 4 << 20;

/**
 * How many frames each queue can hold: more than the program lets in, which charges each 2304 bytes at least (native/tap_limit.cc).
 * A frame that is let in and finds its queue full would stay charged until all queues are seen empty.
 */
const QUEUE_FRAMES = 2048;

/** Frames for each tap if the number of frames is the only bound: a frame may cost 64 KiB and its skb's overhead (66,368 bytes measured). */
const SHORT_FRAMES = Math.floor(WAITING_BYTES_MAX / (68 << 10));

/** How long the program limits after a kill (ms). A vifd that is down for longer does not come back by itself. */
const LEASE_MS = 300_000;

/**
 * How long the program limits after an orderly end (ms). Another program, or an earlier version of vifd, that reads the tap then does not
 * record what it has read, so it would soon get no frames.
 */
const LEASE_AFTER_END_MS = 10_000;

/**
 * How often vifd renews the limit (ms), well before it ends. At the same time vifd drops the charges of lost frames, and tries a refused
 * program again.
 */
const RENEW_MS = 1000;

/**
 * Bounds the memory of frames that wait in a tap while its reader takes none (XSA-392): by a program in the kernel, or, where the
 * kernel refuses that, by queues so short that they cannot hold more.
 */
export class TapLimit implements Disposable {
  /** Returns any queue that is open: all are bounded together. */
  readonly #native: () => NativeTap;
  readonly #network: Interfaces;
  readonly #onShortQueues: (error: VifdError | undefined) => void;
  #timer: NodeJS.Timeout | undefined;
  /** Of the interface, as long as it is known to be in this network namespace. */
  #index: number | undefined;
  #droppedBefore = 0;
  #dropped = 0;
  #queues = 1;
  /** Whether the kernel runs the program. */
  #limited = false;
  #error: VifdError | undefined;

  constructor(
    native: () => NativeTap,
    network: Interfaces,
    onShortQueues: (error: VifdError | undefined) => void = () => {},
  ) {
    this.#native = native;
    this.#network = network;
    this.#onShortQueues = onShortQueues;
  }

  /** Limits from now on. */
  begin(): void {
    this.#droppedBefore = this.#droppedByInterface() ?? 0;
    this.#bound();
    this.#timer = setInterval(() => this.#renew(), RENEW_MS).unref();
  }

  /** Sets with how many queues the tap is used from now on. */
  set queues(count: number) {
    if (count === this.#queues) return;
    this.#queues = count;
    if (!this.#limited) this.#bound();
  }

  /** Frames that were sent to the tap and dropped there, for any reason, since `begin`. */
  get dropped(): number {
    // In another network namespace the interface's own count cannot be read.
    const byInterface = (this.#droppedByInterface() ?? 0) - this.#droppedBefore;
    this.#dropped = Math.max(this.#dropped, byInterface, this.#native().dropped());
    return this.#dropped;
  }

  /** Call it before the queues are closed. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#native().renewLimit(LEASE_AFTER_END_MS);
  }

  #renew(): void {
    if (this.#limited) this.#native().renewLimit(LEASE_MS);
    if (this.#error !== undefined) this.#bound();
  }

  #bound(): void {
    const refused = this.#limited ? undefined : this.#limit();
    const frames =
      refused === undefined ? QUEUE_FRAMES : Math.max(1, Math.floor(SHORT_FRAMES / this.#queues));
    const error = this.#setLength(frames) ?? (refused && refusal(refused));
    if (error?.message === this.#error?.message) return;
    this.#error = error;
    this.#onShortQueues(error);
  }

  #limit(): FailedTap | undefined {
    const native = this.#native();
    const refused = native.limit(WAITING_BYTES_MAX, LEASE_MS);
    this.#limited = refused === undefined;
    // If limited: the queues count as full until they were seen empty, and `renewLimit` checks that. If refused: nothing would record for an
    // earlier process's program what is read.
    if (this.#limited) native.renewLimit(LEASE_MS);
    else native.unlimit();
    return refused;
  }

  #setLength(frames: number): VifdError | undefined {
    let link: Interface | undefined;
    try {
      link = this.#interface();
    } catch (error) {
      return vifdErrorOf(error);
    }
    // A queue that is longer than needed does no harm. In another network namespace the length is its administrator's.
    if (link === undefined || link.queueFrames === frames || (this.#limited && link.queueFrames > frames))
      return undefined;
    const refused = this.#network.change(link.index, { queueFrames: frames });
    if (refused === undefined) return undefined;
    const command = `ip link set ${link.name} txqueuelen ${frames}`;
    return new VifdError(
      'ERR_TAP_LIMIT',
      `Tap ${link.name}: its queues cannot be made to hold ${frames} frames each (${refused.text}): \`${command}\`.`,
      { errno: refused.errno },
    );
  }

  /** Returns undefined if the interface is in another network namespace. */
  #interface(): Interface | undefined {
    const seen = this.#native().look();
    return typeof seen !== 'number' && seen.here ? this.#network.find(seen.name) : undefined;
  }

  /** Asks by the index, which no other interface gets: to ask the tap where its interface is costs five system calls, once a second for each vif. */
  #droppedByInterface(): number | undefined {
    this.#index ??= this.#findIndex();
    const frames = this.#index === undefined ? undefined : this.#network.dropped(this.#index);
    if (frames === undefined) this.#index = undefined;
    return frames;
  }

  #findIndex(): number | undefined {
    try {
      return this.#interface()?.index;
    } catch {
      // `#setLength` reports it. The count stays as it is until the kernel can be asked again.
      return undefined;
    }
  }
}

function refusal({ failed, errno: error }: FailedTap): VifdError {
  const errno = errnoName(error);
  return new VifdError(
    'ERR_TAP_LIMIT',
    `The kernel refuses the program that bounds what waits for a guest in its tap (${failed}: ${errno}): short queues bound it, ` +
      `${SHORT_FRAMES} frames in all queues together, and lose bursts sooner. ${remedyFor(errno)}; vifd tries again.`,
    { errno },
  );
}

function remedyFor(errno: string): string {
  if (errno === 'EPERM' || errno === 'EACCES')
    return 'Give vifd CAP_BPF and the system call bpf, outside of user namespaces';
  if (errno === 'ENOSYS' || errno === 'EINVAL')
    return 'Take a kernel of 5.8 or later with CONFIG_BPF_SYSCALL, and allow the system call bpf';
  return `To mend this, ${hostRemedy(errno)}`;
}
