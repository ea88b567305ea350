/** Calls `onReadable` whenever `fd` may be readable, until disposed. Calls may be spurious. */
export type Readiness = (fd: number, onReadable: () => void) => PolledFd;

export interface PolledFd extends Disposable {
  /** Call it after a request was sent: a poller shortens its pause, because a response is due. */
  hurry(): void;
}
