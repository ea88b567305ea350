import type { NativeLink } from '../addon.js';

/** A network interface as it is set up; see NativeLink. */
export type Interface = NativeLink;

/** An interface as the last message about it has it. */
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
  /** `ENODEV`, and what else the kernel reported about it. */
  readonly text: string;
}

/**
 * The network interfaces of one network namespace: looked at, changed and followed. The only way to them in vifd, `NetlinkInterfaces`
 * by default. What goes in and out is plain data without identity, so that another process can serve it by messages, and a process
 * that serves guests needs no CAP_NET_ADMIN for it.
 *
 * An interface is known by its index: names change.
 */
export interface Interfaces {
  /** Asks the kernel. @param which index or name. @throws VifdError ERR_LINK when the kernel cannot be asked. */
  find(which: number | string): Interface | undefined;
  /** As the last message that was followed has it; undefined where there is none, or nothing is followed. */
  known(which: number | string): KnownInterface | undefined;
  /** @throws VifdError ERR_LINK when the kernel cannot be asked. */
  list(): Interface[];
  /** Changes one thing. @returns undefined when it is done. */
  change(index: number, change: InterfaceChange): Refusal | undefined;
  /** Sets flags of its bridge port, by their names in sysfs. */
  changePort(index: number, flags: Readonly<Record<string, number>>): Refusal | undefined;
  /** @returns frames that were sent to the interface and dropped since it was made; undefined where it is not there, or cannot be asked. */
  dropped(name: string): number | undefined;
  /** Deletes the interface, whichever process has a descriptor of it. */
  remove(index: number): Refusal | undefined;
  /**
   * Calls `listener` after each change of any interface, once for changes that come together, until the result is disposed.
   * `known` has them then.
   * @throws VifdError ERR_LINK when the kernel's messages cannot be followed.
   */
  follow(listener: () => void): Disposable;
}
