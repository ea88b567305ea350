import { fstatSync, openSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import type { Link } from '../../lib/workers/link.js';
import { VifChannels } from '../../lib/workers/vif-channels.js';
import type { EventChannel, LastingEvents, StoredEvents, Xen } from '../../lib/xen/seam.js';

const VIF = 'vif7.0';
const PORTS = [{ domid: 7, remotePort: 5, port: 9 }];

/** A Xen whose ports another process may have bound, and whose handles cannot be opened when `broken` is true. */
class FakeXen {
  readonly opened: (StoredEvents | undefined)[] = [];
  disposed = 0;
  bound = false;
  broken: (stored: StoredEvents | undefined) => boolean = () => false;
  lasting = true;
  readonly events = { bind: () => this.#bind(), bindUnbound: () => this.#bind() };

  get xen(): Xen {
    const openLastingEvents = (stored?: StoredEvents): LastingEvents => {
      if (this.broken(stored)) throw new VifdError('ERR_HOST', 'No memory.');
      this.opened.push(stored);
      return {
        ...this.events,
        stored: { descriptor: 77, ports: PORTS },
        [Symbol.dispose]: () => void this.disposed++,
      };
    };
    return { events: this.events, ...(this.lasting && { openLastingEvents }) } as unknown as Xen;
  }

  #bind(): EventChannel {
    if (this.bound) throw new VifdError('ERR_XEN_EVENT', 'It is bound.', { errno: 'EINVAL' });
    return {} as EventChannel;
  }
}

describe("the channels of a worker's vifs", () => {
  let fake: FakeXen;
  let mayBeBound: boolean;
  let sent: unknown[];
  const link = { send: (...words: unknown[]) => void sent.push(words) } as unknown as Link;
  beforeEach(() => {
    fake = new FakeXen();
    [mayBeBound, sent] = [false, []];
  });
  const make = () => {
    const channels = new VifChannels({ xen: fake.xen, mayBeBound: () => mayBeBound });
    channels.sendTo(link);
    return channels;
  };
  const given = (): StoredEvents => ({ descriptor: openSync('/dev/null', 'r'), ports: PORTS });
  const isOpen = ({ descriptor }: StoredEvents) => {
    try {
      return fstatSync(descriptor).isCharacterDevice();
    } catch {
      return false;
    }
  };
  const bind = (channels: VifChannels) => channels.open(VIF)?.events.bind(7, 5, () => {});

  it('are sent once they are bound, to each supervisor, until they are unbound', () => {
    const channels = make();
    const opened = channels.open(VIF)!;
    expect(sent).toEqual([]);
    opened.keep();
    const stored = [{ report: 'keep-channels', vif: VIF, ports: PORTS }, [77]];
    expect(sent.splice(0)).toEqual([stored]);
    channels.sendTo(undefined);
    channels.sendTo(link);
    expect(sent.splice(0)).toEqual([stored]);
    opened[Symbol.dispose]();
    expect(sent.splice(0)).toEqual([[{ report: 'forget-channels', vif: VIF }]]);
    expect(fake.disposed).toBe(1);
    channels.sendTo(link);
    expect(sent).toEqual([]);
  });

  it('of a connection that replaces another are not forgotten with that', () => {
    const channels = make();
    const [first, second] = [channels.open(VIF)!, channels.open(VIF)!];
    first.keep();
    second.keep();
    sent.splice(0);
    first[Symbol.dispose]();
    expect(sent).toEqual([]);
  });

  it('of the previous process are for the next connection alone, and are closed then, or if there is none', () => {
    const channels = make();
    const [one, other] = [given(), given()];
    channels.own(VIF, one);
    channels.open(VIF);
    channels.open(VIF);
    expect(fake.opened).toEqual([one, undefined]);
    expect(isOpen(one)).toBe(false);
    channels.own(VIF, other);
    channels.drop(VIF);
    expect(isOpen(other)).toBe(false);
  });

  it('of the previous process are closed with the worker that has not used them', () => {
    const channels = make();
    const one = given();
    channels.own(VIF, one);
    channels[Symbol.dispose]();
    expect(isOpen(one)).toBe(false);
  });

  it('are new ones if those of the previous process are of no use', () => {
    fake.broken = (stored) => stored !== undefined;
    const channels = make();
    channels.own(VIF, given());
    expect(channels.open(VIF)).toBeDefined();
    expect(fake.opened).toEqual([undefined]);
  });

  it('that the previous process has bound are no fault of the guest', () => {
    for (const lasting of [true, false]) {
      fake.lasting = lasting;
      fake.bound = true;
      mayBeBound = true;
      expect(() => bind(make())).toThrow(expect.objectContaining({ code: 'ERR_HOST', errno: 'EINVAL' }));
    }
    fake.lasting = true;
    mayBeBound = false;
    expect(() => bind(make())).toThrow(expect.objectContaining({ code: 'ERR_XEN_EVENT' }));
  });

  it('are those of the whole process where none last', () => {
    fake.lasting = false;
    const one = given();
    const channels = make();
    channels.own(VIF, one);
    expect(channels.open(VIF)).toBeUndefined();
    expect(isOpen(one)).toBe(false);
  });
});
