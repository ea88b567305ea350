/** Calls `onReadable` whenever `fd` may be readable, spuriously if need be, until disposed. */
export type Readiness = (fd: number, onReadable: () => void) => PolledFd;

export interface PolledFd extends Disposable {
  /** Something was sent: an answer is due. */
  hurry(): void;
}
