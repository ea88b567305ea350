/**
 * Keeps duplicates of descriptors from one process of vifd to the next, by names. A tap of which a descriptor is open keeps its
 * carrier, and the kernel queues what is sent to it.
 */
export interface DescriptorKeeper {
  /**
   * Returns the descriptor that an earlier process had kept under this name, and which the caller owns from then on; undefined when
   * there is none, and from the second call on. The keeper's own duplicate stays until `forget` or the next `keep`.
   */
  take(name: string): number | undefined;
  /** Lends a descriptor: the keeper duplicates it, and closes an earlier one of this name. A failure is the keeper's to report. */
  keep(name: string, descriptor: number): void;
  /** Closes the keeper's duplicate. No error when there is none. */
  forget(name: string): void;
}

/** Keeps nothing, where no process follows. */
export const NO_KEEPER: DescriptorKeeper = {
  take: () => undefined,
  keep: () => {},
  forget: () => {},
};
