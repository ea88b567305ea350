import type { NativeLink } from '../addon.js';

/** The settings of a network interface; see NativeLink. */
export type Interface = NativeLink;

/** An interface as the kernel's last message about it describes it. */
export type KnownInterface = Interface & {
  /** Grows with each message about the interface or its bridge port. No two interfaces share one. */
  readonly revision: number;
};

/** One change. The address is written as `fe:ff:ff:ff:ff:ff`; `master` 0 is none. */
export type InterfaceChange = Partial<
  Pick<Interface, 'name' | 'alias' | 'mtu' | 'queueFrames' | 'up' | 'master' | 'mac'>
>;

/** Why the kernel refused a change. */
export interface Refusal {
  /** Symbolic, e.g. 'ENODEV'. */
  readonly errno: string;
  /** The errno, such as `ENODEV`, and the kernel's explanation if there is one. */
  readonly text: string;
}

/**
 * Reads, changes and follows the network interfaces of one network namespace. All of vifd uses this interface, which `NetlinkInterfaces`
 * implements. Arguments and results are plain data, so that another process can do the work by messages, and a process
 * that serves guests needs no CAP_NET_ADMIN.
 *
 * The index identifies an interface, because names change.
 */
export interface Interfaces {
  /** Asks the kernel for an interface. @param which index or name. @throws VifdError ERR_LINK if the kernel cannot be asked. */
  find(which: number | string): Interface | undefined;
  /** Returns an interface as the last message describes it; undefined if there is none, or if nothing follows the interfaces. */
  known(which: number | string): KnownInterface | undefined;
  /** @throws VifdError ERR_LINK when the kernel cannot be asked. */
  list(): Interface[];
  /** Changes one thing. @returns undefined when it is done. */
  change(index: number, change: InterfaceChange): Refusal | undefined;
  /** Sets flags of its bridge port, by their names in sysfs. */
  changePort(index: number, flags: Readonly<Record<string, number>>): Refusal | undefined;
  /**
   * @returns how many frames for the interface were dropped since it was created; undefined if it does not exist or the kernel cannot be
   *   asked.
   */
  dropped(index: number): number | undefined;
  /** Deletes the interface, even if processes have descriptors of it open. */
  remove(index: number): Refusal | undefined;
  /**
   * Calls `listener` after each change of any interface, once for changes that arrive together, until the result is disposed of.
   * By then `known` has the changes.
   * @throws VifdError ERR_LINK if the kernel's messages cannot be followed.
   */
  follow(listener: () => void): Disposable;
}
