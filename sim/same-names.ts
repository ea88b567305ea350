import type { EventChannel, Events, SharedPages, Shares } from '../lib/xen/seam.js';

/**
 * A guest whose connections have the same names, one after the other: single pages (rings) have the same grants again, and event channels the
 * same ports. Call `again` between two connections.
 */
export class SameNames {
  readonly shares: Shares;
  readonly events: Events;
  readonly #pages: SharedPages[] = [];
  readonly #channels: { readonly channel: EventChannel; onEvent: () => void }[] = [];
  #nextPage = 0;
  #nextChannel = 0;

  constructor(shares: Shares, events: Events) {
    this.shares = {
      allocate: (pages) => (pages === 1 ? this.#page(shares) : shares.allocate(pages)),
    };
    this.events = {
      bind: (...args) => events.bind(...args),
      bindUnbound: (domid, onEvent) => this.#channel(events, domid, onEvent),
    };
  }

  again(): void {
    this.#nextPage = 0;
    this.#nextChannel = 0;
    for (const one of this.#channels) one.onEvent = () => {};
  }

  #page(shares: Shares): SharedPages {
    const at = this.#nextPage++;
    this.#pages[at] ??= lasting(shares.allocate(1));
    this.#pages[at].u32.fill(0);
    return this.#pages[at];
  }

  #channel(events: Events, domid: number, onEvent: () => void): EventChannel {
    const at = this.#nextChannel++;
    const known = this.#channels[at];
    if (known !== undefined) known.onEvent = onEvent;
    else {
      const made = { channel: events.bindUnbound(domid, () => made.onEvent()), onEvent };
      this.#channels[at] = made;
    }
    const { channel } = this.#channels[at];
    const close = () => {};
    return {
      port: channel.port,
      notify: () => channel.notify(),
      unmask: () => channel.unmask(),
      close,
      [Symbol.dispose]: close,
    };
  }
}

/** Pages whose grants stay when they are ended. */
function lasting(pages: SharedPages): SharedPages {
  const refs = new Map<string, number>();
  return {
    pages: pages.pages,
    get bytes() {
      return pages.bytes;
    },
    get u32() {
      return pages.u32;
    },
    grant: (page, domid, access) => {
      const key = `${page} ${domid} ${access}`;
      const ref = refs.get(key) ?? pages.grant(page, domid, access);
      refs.set(key, ref);
      return ref;
    },
    end: () => true,
    [Symbol.dispose]: () => {},
  };
}
