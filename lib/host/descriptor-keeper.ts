/**
 * Stores duplicates of descriptors by name, from one process of vifd to the next. While a descriptor of a tap is open, the tap has its
 * carrier, and the kernel queues what is sent to it.
 */
export interface DescriptorKeeper {
  /**
   * Returns the descriptor that an earlier process stored under this name; the caller owns it from then on. Returns undefined if there is
   * none, and from the second call on. The keeper's own duplicate stays open until `forget` or the next `keep`.
   */
  take(name: string): number | undefined;
  /**
   * Stores a duplicate of the descriptor, which stays the caller's, and closes an earlier duplicate of this name. The keeper reports
   * failures.
   */
  keep(name: string, descriptor: number): void;
  /** Closes the keeper's duplicate. A missing duplicate is not an error. */
  forget(name: string): void;
}

/** Stores nothing, for backends that no other process follows. */
export const NO_KEEPER: DescriptorKeeper = {
  take: () => undefined,
  keep: () => {},
  forget: () => {},
};
