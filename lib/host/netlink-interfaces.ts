import { addon, errnoName, type NativeLinkEvent, type NativeLinkEvents, type NativeLinks } from '../addon.js';
import { VifdError } from '../errors.js';
import type { Interface, InterfaceChange, Interfaces, KnownInterface, Refusal } from './interfaces.js';

/** The pause after a failed read of the interfaces. */
const READ_AGAIN_MS = 100;

/**
 * The network interfaces of this process's network namespace, by netlink. Changes need CAP_NET_ADMIN, but neither a writable /sys nor
 * another program.
 *
 * While something follows the interfaces, all of them are known from the kernel's messages; otherwise each read is a request (about 20 us).
 */
export class NetlinkInterfaces implements Interfaces {
  #links: NativeLinks | undefined;
  #following: Following | undefined;
  readonly #listeners = new Set<() => void>();
  #revision = 0;

  find(which: number | string): Interface | undefined {
    const found = this.#socket().get(which);
    if (typeof found === 'number') throw unreadable(`The interface ${which}`, found);
    return found;
  }

  known(which: number | string): KnownInterface | undefined {
    const known = this.#following?.known;
    if (typeof which === 'number') return known?.get(which);
    for (const link of known?.values() ?? []) if (link.name === which) return link;
    return undefined;
  }

  list(): Interface[] {
    if (this.#following !== undefined) {
      this.#take(this.#following);
      return [...this.#following.known.values()];
    }
    const list = this.#socket().list();
    if (typeof list === 'number') throw unreadable('The interfaces', list);
    return list;
  }

  change(index: number, { mac, ...rest }: InterfaceChange): Refusal | undefined {
    const change = mac === undefined ? rest : { ...rest, mac: macBytes(mac) };
    return this.#refusal(this.#socket().set(index, change));
  }

  changePort(index: number, flags: Readonly<Record<string, number>>): Refusal | undefined {
    return this.#refusal(this.#socket().setPort(index, flags));
  }

  dropped(index: number): number | undefined {
    const frames = this.#socket().dropped(index);
    return frames < 0 ? undefined : frames;
  }

  remove(index: number): Refusal | undefined {
    return this.#refusal(this.#socket().remove(index));
  }

  follow(listener: () => void): Disposable {
    this.#following ??= this.#begin();
    // Wrapped, so that a function that follows twice is called twice.
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
    // The socket has queued messages since before this list was read, so no change is missed in between.
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
      // No caller waits for this call. Calls that read the interfaces meanwhile throw the error.
      setTimeout(() => this.#changed(following), READ_AGAIN_MS).unref();
      return;
    }
    for (const listener of [...this.#listeners]) listener();
  }

  #take(following: Following): void {
    const taken = following.events.take();
    // The kernel dropped some messages (ENOBUFS).
    if (typeof taken === 'number' || following.stale) this.#readAnew(following);
    else for (const event of taken) this.#apply(following.known, event);
  }

  #readAnew(following: Following): void {
    const { known } = following;
    following.stale = true;
    const list = this.#socket().list();
    if (typeof list === 'number') throw unreadable('The interfaces', list);
    known.clear();
    for (const link of list) this.#know(known, link);
    following.stale = false;
  }

  #apply(known: Following['known'], event: NativeLinkEvent): void {
    if (event.event === 'gone') {
      known.delete(event.index);
      return;
    }
    if (event.event === 'link') {
      this.#know(known, event);
      return;
    }
    const before = known.get(event.index);
    // The interface's own message says whether it is in a bridge; if not, these flags are of a port that it has left.
    if (before?.port !== undefined)
      this.#know(known, {
        ...before,
        port: { ...before.port, ...event.port },
        ...(event.portState === undefined ? {} : { portState: event.portState }),
      });
  }

  #know(known: Following['known'], link: Interface): void {
    known.set(link.index, { ...link, revision: ++this.#revision });
  }
}

interface Following {
  readonly events: NativeLinkEvents;
  /** By index. */
  readonly known: Map<number, KnownInterface>;
  /** Whether messages were lost and `known` was not read anew since. */
  stale: boolean;
  close: () => void;
}

function unreadable(what: string, error: number): VifdError {
  const errno = errnoName(error);
  const message = `${what} cannot be read by netlink (${errno}): vifd needs AF_NETLINK sockets, and a free descriptor.`;
  return new VifdError('ERR_LINK', message, { errno });
}

/** @param mac as `fe:ff:ff:ff:ff:ff`. */
function macBytes(mac: string): Uint8Array {
  return Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
}

let shared: NetlinkInterfaces | undefined;

/**
 * Returns the interfaces of this process. All users share one object, because each change of any interface wakes every socket that follows.
 */
export function interfaces(): Interfaces {
  shared ??= new NetlinkInterfaces();
  return shared;
}
