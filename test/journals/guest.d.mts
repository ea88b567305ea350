import type { EventChannel, SharedPages, Shares, Store, Xen } from '../../lib/xen/seam.js';

export interface GuestOptions {
  readonly queues: number;
  /** An event channel for each ring of a queue. */
  readonly split: boolean;
  readonly control: boolean;
  readonly ringStart?: number;
  readonly controlStart?: number;
  /** More keys of the frontend's. */
  readonly keys?: Readonly<Record<string, string>>;
  /** Pages for frames and buffers. Default: 64. */
  readonly pages?: number;
  /** Lets the machine run. Default: waits for 10 ms. */
  readonly settle?: () => Promise<void>;
}

export interface GuestFrame extends Buffer {
  readonly text: string;
  readonly openChecksum?: boolean;
}

export interface ReceivedFrame extends Buffer {
  /** The value of its HASH extra. */
  readonly hash: number | undefined;
}

export interface GuestRing {
  /** Read anew at each use: a page that a peer has unmapped is in another buffer. */
  readonly words: Uint32Array;
}

export interface HashSettings {
  readonly key: Uint8Array;
  readonly mapping: readonly number[];
  readonly types: number;
}

export function patternFrame(text: string, bytes: number): GuestFrame;
export function udpFrame(text: string, bytes: number, port?: number): GuestFrame;

export class Guest {
  readonly data: SharedPages;
  readonly control: { readonly ring: GuestRing; readonly channel: EventChannel } | undefined;
  readonly queues: readonly { readonly tx: GuestRing; readonly rx: GuestRing }[];

  constructor(xen: Omit<Xen, 'shares'> & { readonly shares: Shares }, options: GuestOptions);

  ref(page: number): number;
  connect(store: Store, path: string): Promise<void>;
  send(queue: number, frames: readonly GuestFrame[]): void;
  sendAndWait(queue: number, frames: readonly GuestFrame[]): Promise<void>;
  post(queue: number, buffers: number): void;
  received(queue: number): ReceivedFrame[];
  multicast(address: string, add: boolean): Promise<void>;
  multicastLater(address: string, add: boolean): void;
  setHash(settings: HashSettings): Promise<void>;
  setKeyLater(key: Uint8Array): void;
  stage(queue: number, pages: readonly number[], access: 'read' | 'write'): Promise<void>;
  unstage(queue: number, pages: readonly number[]): Promise<void>;
  unstageLater(queue: number, pages: readonly number[]): void;
}
