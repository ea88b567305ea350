export interface TransportHandlers {
  onData(chunk: Buffer): void;
  /** Once, when the other side is gone; not after `close`. */
  onLost(cause: Error): void;
}

/** A stream of bytes to and from a xenstored. */
export interface Transport {
  readonly path: string;
  /** The largest payload that fits. */
  readonly payloadMax: number;
  /** Bytes that arrive before this wait for it. */
  start(handlers: TransportHandlers): void;
  /** One whole message. Never throws: a loss is reported through `onLost`. */
  send(message: Buffer): void;
  /** Idempotent. No handler is called afterwards. */
  close(): void;
}

/** For messages: the symbolic errno of a system error, or its text. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.message : String(error);
}
