import {
  addon,
  errnoName,
  type NativeLink,
  type NativeLinkChange,
  type NativeLinkEvent,
  type NativeLinkEvents,
  type NativeLinks,
} from '../addon.js';
import { VifdError } from '../errors.js';

/** How soon to read again what could not be read, in ms. */
const READ_AGAIN_MS = 100;

/** A network interface as it is set up; see NativeLink. */
export type Interface = NativeLink;
export type InterfaceChange = NativeLinkChange;

/** Why the kernel did not do what it was asked to. */
export interface Refusal {
  /** Symbolic, e.g. 'ENODEV'. */
  readonly errno: string;
  /** `ENODEV`, and what else the kernel said of it. */
  readonly text: string;
}

/**
 * The network interfaces of the network namespace that this process is in: looked at, set up and followed, all by netlink. It
 * needs CAP_NET_ADMIN to change something, and neither a writable /sys nor a program.
 *
 * An interface is known by its index: names change. While something follows them, all interfaces are known from the kernel's
 * messages; without, each look is a request (about 20 us).
 */
export class Interfaces {
  #links: NativeLinks | undefined;
  #following: Following | undefined;
  readonly #listeners = new Set<() => void>();

  /** @param which index or name. @throws VifdError ERR_LINK when the kernel cannot be asked. */
  find(which: number | string): Interface | undefined {
    const found = this.#socket().get(which);
    if (typeof found === 'number') throw unreadable(`The interface ${which}`, found);
    return found;
  }

  /** As the last message that was followed has it; undefined where none is, or nothing is followed. */
  known(which: number | string): Interface | undefined {
    const known = this.#following?.known;
    if (typeof which === 'number') return known?.get(which);
    for (const link of known?.values() ?? []) if (link.name === which) return link;
    return undefined;
  }

  /** @throws VifdError ERR_LINK when the kernel cannot be asked. */
  list(): Interface[] {
    if (this.#following !== undefined) {
      this.#take(this.#following);
      return [...this.#following.known.values()];
    }
    const list = this.#socket().list();
    if (typeof list === 'number') throw unreadable('The interfaces', list);
    return list;
  }

  /** Changes one thing. @returns undefined when it is done. */
  change(index: number, change: InterfaceChange): Refusal | undefined {
    return this.#refusal(this.#socket().set(index, change));
  }

  /** Sets flags of its bridge's port, by their names in sysfs. */
  changePort(index: number, flags: Readonly<Record<string, number>>): Refusal | undefined {
    return this.#refusal(this.#socket().setPort(index, flags));
  }

  /** @returns frames that were sent to the interface and dropped since it was made; undefined where it is not there, or netlink fails. */
  dropped(name: string): number | undefined {
    const frames = this.#socket().dropped(name);
    return frames < 0 ? undefined : frames;
  }

  /** Deletes it, whoever has a descriptor of it. */
  remove(index: number): Refusal | undefined {
    return this.#refusal(this.#socket().remove(index));
  }

  /**
   * Calls `listener` after each change of any interface, once for changes that come together, until the result is disposed.
   * @throws VifdError ERR_LINK when the kernel's messages cannot be followed.
   */
  follow(listener: () => void): Disposable {
    this.#following ??= this.#begin();
    // Of its own: one function may follow twice.
    const call = () => listener();
    this.#listeners.add(call);
    return {
      [Symbol.dispose]: () => {
        this.#listeners.delete(call);
        if (this.#listeners.size > 0) return;
        this.#following?.close();
        this.#following = undefined;
      },
    };
  }

  #socket(): NativeLinks {
    if (this.#links !== undefined) return this.#links;
    const opened = addon().openLinks();
    if (typeof opened === 'number') throw unreadable('The interfaces', opened);
    this.#links = opened;
    return opened;
  }

  #refusal(error: number): Refusal | undefined {
    if (error >= 0) return undefined;
    const errno = errnoName(error);
    const reason = this.#socket().reason();
    return { errno, text: reason === '' ? errno : `${errno}: ${reason}` };
  }

  #begin(): Following {
    const events = addon().followLinks();
    if (typeof events === 'number') throw unreadable('Changes of interfaces', events);
    const following: Following = { events, known: new Map(), stale: false, close: () => events.close() };
    const stop = addon().watch(events.descriptor, () => this.#changed(following));
    if (typeof stop === 'number') {
      events.close();
      throw unreadable('Changes of interfaces', stop);
    }
    following.close = () => {
      stop();
      events.close();
    };
    // Messages have been kept from before this list on, so nothing falls between the two.
    try {
      this.#readAnew(following);
    } catch (error) {
      following.close();
      throw error;
    }
    return following;
  }

  #changed(following: Following): void {
    if (this.#following !== following) return;
    try {
      this.#take(following);
    } catch (error) {
      if (!(error instanceof VifdError)) throw error;
      // Nobody asked, so nobody can be told; who asks meanwhile is.
      setTimeout(() => this.#changed(following), READ_AGAIN_MS).unref();
      return;
    }
    for (const listener of [...this.#listeners]) listener();
  }

  #take(following: Following): void {
    const taken = following.events.take();
    // The kernel had no room for some (ENOBUFS).
    if (typeof taken === 'number' || following.stale) this.#readAnew(following);
    else for (const event of taken) apply(following.known, event);
  }

  #readAnew(following: Following): void {
    const { known } = following;
    following.stale = true;
    const list = this.#socket().list();
    if (typeof list === 'number') throw unreadable('The interfaces', list);
    known.clear();
    for (const link of list) known.set(link.index, link);
    following.stale = false;
  }
}

interface Following {
  readonly events: NativeLinkEvents;
  /** By index. */
  readonly known: Map<number, Interface>;
  /** Messages were lost, and what is known has not been read anew yet. */
  stale: boolean;
  close: () => void;
}

function apply(known: Map<number, Interface>, event: NativeLinkEvent): void {
  if (event.event === 'gone') {
    known.delete(event.index);
    return;
  }
  if (event.event === 'link') {
    known.set(event.index, event);
    return;
  }
  const before = known.get(event.index);
  // Its own message says that it is in a bridge; without one these are flags of a port that it has left.
  if (before?.port !== undefined)
    known.set(event.index, {
      ...before,
      port: { ...before.port, ...event.port },
      ...(event.portState === undefined ? {} : { portState: event.portState }),
    });
}

function unreadable(what: string, error: number): VifdError {
  const errno = errnoName(error);
  const message = `${what} cannot be looked at by netlink (${errno}): vifd needs AF_NETLINK sockets, and a free descriptor.`;
  return new VifdError('ERR_LINK', message, { errno });
}

let shared: Interfaces | undefined;

/** Those of this process. One for all: a socket that follows is woken by every change of every interface. */
export function interfaces(): Interfaces {
  shared ??= new Interfaces();
  return shared;
}
