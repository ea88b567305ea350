export interface TransportHandlers {
  onData(chunk: Buffer): void;
  /** Called once, when the other side is gone; not after `close`. */
  onLost(cause: Error): void;
}

/** A stream of bytes to and from a xenstored. */
export interface Transport {
  readonly path: string;
  /** The largest payload that fits. */
  readonly payloadMax: number;
  /** Starts to deliver. Bytes that arrive earlier are delivered then. */
  start(handlers: TransportHandlers): void;
  /** Sends one whole message. Never throws: `onLost` reports a loss. */
  send(message: Buffer): void;
  /** Idempotent. No handler is called afterwards. */
  close(): void;
}

/** Returns the symbolic errno of a system error, or its text, for messages. */
export function errnoOf(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.message : String(error);
}
