import { VifdError } from '../../errors.js';
import { printable, quoted, shown } from '../../text.js';
import type { Clock } from '../../xen/seam.js';

/** The length of an Ethernet header (two addresses and a type), which every frame has. */
const FRAME_BYTES_MIN = 14;
const MESSAGE_MAX = 200;
/** The shortest time between two reports of a hook that throws for some frames: a guest may cause the errors. */
const THROWN_AGAIN_MS = 1000;

/** What each kind of function may return. */
const MAY_RETURN = {
  Hook: `'pass', 'drop', a redirect or a Uint8Array of ${FRAME_BYTES_MIN} to 65536 bytes`,
  Filter: "'pass' or 'drop'",
};

// These getters read the array itself, whatever a Proxy, a subclass or another realm's constructor would return.
const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
const kindOf: (this: unknown) => string | undefined = getter(typedArray, Symbol.toStringTag);
const lengthOf: (this: unknown) => number = getter(typedArray, 'length');
const bufferOf: (this: unknown) => ArrayBufferLike = getter(typedArray, 'buffer');

function getter<T>(of: object, key: string | symbol): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(of, key)?.get as (this: unknown) => T;
}

/** What a hook returned instead of a verdict: a short name for the kind of fault, and a description for a message. */
interface Fault {
  readonly kind: string;
  readonly returned: string;
}

/** Returns the array's true length if a hook may return it as a frame, and otherwise the fault. */
export function frameLength(verdict: unknown): number | Fault {
  const kind = kindOf.call(verdict);
  if (kind !== 'Uint8Array') return faultOf(verdict, kind);
  const length = lengthOf.call(verdict);
  const buffer = bufferOf.call(verdict) as ArrayBuffer & { resizable?: boolean; detached?: boolean };
  if (!(buffer instanceof ArrayBuffer))
    return { kind: 'shared', returned: 'an array over memory that other threads can change' };
  if (buffer.resizable === true)
    return { kind: 'resizable', returned: 'an array over a buffer that can shrink' };
  if (length < FRAME_BYTES_MIN) return { kind: 'short', returned: bytesText(length) };
  return length;
}

/** Returns the fault of what a filter returned, which is neither 'pass' nor 'drop'. */
export function filterFault(verdict: unknown): Fault {
  return faultOf(verdict, kindOf.call(verdict));
}

/** Returns the fault of a frame that is too long, or for which the batch has no room. */
export function longFault(length: number): Fault {
  return { kind: 'long', returned: `${bytesText(length)}, which is more than a batch has room for` };
}

function bytesText(length: number): string {
  return length === 0
    ? 'an array that is empty or detached'
    : `an array of ${length} ${length === 1 ? 'byte' : 'bytes'}`;
}

function faultOf(verdict: unknown, array: string | undefined): Fault {
  if (array !== undefined) return { kind: array, returned: `a ${array}` };
  if (typeof verdict === 'string') return { kind: 'text', returned: quoted(verdict, 32) };
  if (typeof verdict !== 'object' && typeof verdict !== 'function')
    return { kind: typeof verdict, returned: printable(String(verdict)).slice(0, 32) };
  if (verdict === null) return { kind: 'null', returned: 'null' };
  if (isArray(verdict)) return { kind: 'array', returned: 'an array that is no Uint8Array' };
  return { kind: 'object', returned: typeof verdict === 'function' ? 'a function' : 'an object' };
}

function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    // The array is a Proxy that was revoked.
    return false;
  }
}

/** One hook or filter of a vif, which reports once for each kind of fault. */
export class CheckedHook<H> {
  readonly hook: H;
  /** False once the program has removed the hook. */
  isActive = true;
  readonly #kind: keyof typeof MAY_RETURN;
  readonly #name: string;
  readonly #clock: Clock;
  readonly #onError: (error: VifdError) => void;
  readonly #reported = new Set<string>();
  /** Whether the hook has thrown, was reported, and has not worked since. */
  #throwing = false;
  #thrownMs = Number.NEGATIVE_INFINITY;

  /** @param parts.name of the function in the program. */
  constructor(parts: {
    hook: H;
    kind: keyof typeof MAY_RETURN;
    name: string;
    clock: Clock;
    onError: (error: VifdError) => void;
  }) {
    const { kind, name } = parts;
    this.hook = parts.hook;
    this.#kind = kind;
    this.#name = name === '' ? `A ${kind.toLowerCase()} without a name` : `${kind} ${shown(name)}`;
    this.#clock = parts.clock;
    this.#onError = parts.onError;
  }

  worked(): void {
    this.#throwing = false;
  }

  /** Reports that the hook returned no verdict; the caller drops the frame. */
  refuse(verdict: unknown, fault: Fault): void {
    const promised = isThenable(verdict);
    if (promised) this.#settle(verdict);
    const { kind, returned } = promised ? { kind: 'promise', returned: 'a promise' } : fault;
    const remedy = promised
      ? ` A ${this.#kind.toLowerCase()} cannot be async: it returns its verdict at once.`
      : '';
    this.#once(
      kind,
      `returned ${returned} instead of ${MAY_RETURN[this.#kind]}: such frames are dropped.${remedy}`,
    );
  }

  /**
   * Reports that the hook threw; the caller drops the frame. Reports again only after the hook has worked meanwhile, and after a second.
   */
  threw(cause: unknown): void {
    if (this.#throwing) return;
    const now = this.#clock.now();
    if (now - this.#thrownMs < THROWN_AGAIN_MS) return;
    this.#throwing = true;
    this.#thrownMs = now;
    this.#report(`threw: ${reasonOf(cause)}. The frame is dropped, as is each for which it throws.`, cause);
  }

  /** Handles the promise of an async hook: a rejection must neither end the process nor go unreported. */
  #settle(verdict: PromiseLike<unknown>): void {
    Promise.resolve(verdict).catch((cause: unknown) =>
      this.#once('rejection', `returned a promise, which was rejected: ${reasonOf(cause)}.`, cause),
    );
  }

  #once(kind: string, what: string, cause?: unknown): void {
    if (this.#reported.has(kind)) return;
    this.#reported.add(kind);
    this.#report(what, cause);
  }

  #report(what: string, cause: unknown): void {
    this.#onError(new VifdError('ERR_HOOK', `${this.#name} ${what}`, { cause }));
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return typeof (value as { then?: unknown }).then === 'function';
  } catch {
    // The getter `then` throws, so the value is no promise.
    return false;
  }
}

function reasonOf(cause: unknown): string {
  try {
    const text = cause instanceof Error ? cause.message : String(cause);
    return printable(text.slice(0, MESSAGE_MAX));
  } catch {
    return 'a value that cannot be shown';
  }
}
