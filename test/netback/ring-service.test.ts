import { beforeEach, describe, expect, it } from 'vitest';
import { hostFault, VifdError } from '../../lib/errors.js';
import { LoopShares } from '../../lib/netback/ring/loop-shares.js';
import { type Pump, RingService } from '../../lib/netback/ring/ring-service.js';
import type { PumpResult } from '../../lib/netback/ring/turns.js';
import type { Xen } from '../../lib/xen/seam.js';

const DOMID = 7;

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

/** A hypervisor that records calls on event channels, in order, and a clock that stands still until `pass`. */
class TestHost {
  readonly done: string[] = [];
  readonly #onEvent = new Map<number, () => void>();
  readonly #masked = new Set<number>();
  readonly #timers: Timer[] = [];
  #nowMs = 0;
  /** The port that cannot be bound. */
  refused: number | undefined;

  readonly clock = {
    now: () => this.#nowMs,
    after: (delayMs: number, fire: () => void) => {
      const timer = { atMs: this.#nowMs + delayMs, fire };
      this.#timers.push(timer);
      return { [Symbol.dispose]: () => void this.#cancel(timer) };
    },
  };

  readonly xen = { clock: this.clock, events: { bind: this.#bind.bind(this) } } as unknown as Xen;

  /** The guest sends an event: a masked channel does not deliver it. */
  event(port: number): void {
    if (this.#masked.has(port)) return;
    this.#masked.add(port);
    this.#onEvent.get(port)?.();
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    for (;;) {
      const due = this.#timers.find(({ atMs }) => atMs <= this.#nowMs);
      if (due === undefined) return;
      this.#cancel(due);
      due.fire();
    }
  }

  #cancel(timer: Timer): void {
    const at = this.#timers.indexOf(timer);
    if (at >= 0) this.#timers.splice(at, 1);
  }

  #bind(domid: number, port: number, onEvent: () => void) {
    if (port === this.refused) throw new VifdError('ERR_XEN_EVENT', `no port ${port}`);
    this.done.push(`bind ${domid}:${port}`);
    this.#onEvent.set(port, onEvent);
    return {
      notify: () => this.done.push(`notify ${port}`),
      unmask: () => {
        this.#masked.delete(port);
        this.done.push(`unmask ${port}`);
      },
      close: () => {
        this.#onEvent.delete(port);
        this.done.push(`close ${port}`);
      },
    };
  }
}

/** A pump whose next turns come to `results`, and then to idle; each turn notes its name. */
class TestPump implements Pump {
  readonly name: string;
  readonly port: number;
  readonly eventsEndWaits: boolean;
  readonly results: PumpResult[] = [];
  during: (notify: () => void) => void = () => {};
  readonly #host: TestHost;

  constructor(host: TestHost, name: string, port: number, eventsEndWaits = false) {
    this.#host = host;
    this.name = name;
    this.port = port;
    this.eventsEndWaits = eventsEndWaits;
  }

  readonly run = (notify: () => void): PumpResult => {
    this.#host.done.push(this.name);
    this.during(notify);
    return this.results.shift() ?? 'idle';
  };
}

describe('the service of rings', () => {
  let host: TestHost;
  let stops: string[];
  let failures: VifdError[];
  let faults: string[];
  beforeEach(() => {
    host = new TestHost();
    [stops, failures, faults] = [[], [], []];
  });

  function serve(...pumps: Pump[]): RingService {
    return new RingService({
      clock: host.xen.clock,
      events: host.xen.events,
      domid: DOMID,
      pumps,
      share: new LoopShares(host.clock).share(),
      onStop: (reason) => stops.push(reason),
      onFailure: (error) => failures.push(error),
      hostFaultsOf: (part) => (fault) => faults.push(`${part}: ${fault?.code ?? 'works'}`),
    });
  }

  /** @returns the calls since the last call of this. */
  const done = () => host.done.splice(0);

  it('binds a channel for each port, and notifies each once before the first turns', () => {
    const service = serve(new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 2));
    expect(done()).toEqual(['bind 7:1', 'bind 7:2']);
    service.start();
    expect(done()).toEqual(['notify 1', 'notify 2', 'tx', 'rx']);
  });

  it('binds one channel for rings that share a port, whose events wake both pumps', () => {
    const service = serve(new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 1));
    expect(done()).toEqual(['bind 7:1']);
    service.start();
    expect(done()).toEqual(['notify 1', 'tx', 'rx']);
    host.event(1);
    expect(done()).toEqual(['tx', 'unmask 1', 'rx']);
  });

  it('wakes by an event the pump of its ring alone, and notifies by its channel', () => {
    const [tx, rx] = [new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 2)];
    serve(tx, rx);
    done();
    rx.during = (notify) => notify();
    host.event(2);
    expect(done()).toEqual(['rx', 'notify 2', 'unmask 2']);
    host.event(1);
    expect(done()).toEqual(['tx', 'unmask 1']);
  });

  it('unmasks a channel once no pump has a turn left, so that a storm is one event', () => {
    const [tx, rx] = [new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 2)];
    serve(tx, rx);
    done();
    tx.results.push('more', 'more');
    host.event(1);
    for (let i = 0; i < 10; i++) host.event(1);
    host.event(2);
    expect(done()).toEqual(['tx']);
    host.pass(0);
    expect(done()).toEqual(['tx', 'rx', 'tx', 'unmask 1', 'unmask 2']);
  });

  it('has events end the waits of those pumps alone that wait for the guest', () => {
    const [tx, rx] = [new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 1, true)];
    serve(tx, rx);
    done();
    tx.results.push({ waitMs: 50 });
    rx.results.push({ waitMs: 50 });
    host.event(1);
    expect(done()).toEqual(['tx', 'unmask 1', 'rx']);
    host.event(1);
    expect(done()).toEqual(['rx', 'unmask 1']);
    host.pass(50);
    expect(done()).toEqual(['tx']);
  });

  it('keeps a channel masked whose pump cannot work yet', () => {
    const tx = new TestPump(host, 'tx', 1);
    serve(tx);
    done();
    tx.results.push({ waitMs: 50 });
    host.event(1);
    expect(done()).toEqual(['tx', 'unmask 1']);
    for (let i = 0; i < 10; i++) host.event(1);
    expect(done()).toEqual([]);
    host.pass(50);
    expect(done()).toEqual(['tx', 'unmask 1']);
  });

  it('reports a fault of the host by the name of the pump, and tries again', () => {
    const tx = new TestPump(host, 'tx', 1);
    serve(tx);
    done();
    tx.results.push({ fault: hostFault('Copying', 'ENOMEM') });
    host.event(1);
    expect([done(), faults.splice(0)]).toEqual([['tx', 'unmask 1'], ['tx: ERR_HOST']]);
    host.pass(10);
    expect([done(), faults]).toEqual([['tx'], ['tx: works']]);
  });

  it('reports a guest that breaks the protocol, whose pump has no turn any more', () => {
    const tx = new TestPump(host, 'tx', 1);
    serve(tx);
    tx.results.push({ stop: 'beyond the ring' });
    host.event(1);
    done();
    expect(stops).toEqual(['beyond the ring']);
    host.event(1);
    host.pass(1000);
    expect([done(), stops]).toEqual([[], ['beyond the ring']]);
  });

  it('reports a pump whose memory is gone', () => {
    const tx = new TestPump(host, 'tx', 1);
    serve(tx);
    tx.during = () => {
      throw new TypeError('gone');
    };
    host.event(1);
    expect(failures.map(({ message }) => message)).toEqual(['gone']);
  });

  it('closes the channels when it ends, and no pump has a turn after', () => {
    const tx = new TestPump(host, 'tx', 1);
    const service = serve(tx, new TestPump(host, 'rx', 2));
    tx.results.push('more', { waitMs: 1 });
    host.event(1);
    done();
    service[Symbol.dispose]();
    expect(done()).toEqual(['close 2', 'close 1']);
    host.pass(1000);
    expect(done()).toEqual([]);
  });

  it('notifies and unmasks nothing after a pump has ended it', () => {
    const tx = new TestPump(host, 'tx', 1);
    const service = serve(tx);
    done();
    tx.during = (notify) => {
      service[Symbol.dispose]();
      notify();
    };
    host.event(1);
    expect(done()).toEqual(['tx', 'close 1']);
  });

  it('leaves no channel bound when one of them cannot be', () => {
    host.refused = 2;
    const pumps = [new TestPump(host, 'tx', 1), new TestPump(host, 'rx', 2)];
    expect(() => serve(...pumps)).toThrow(expect.objectContaining({ code: 'ERR_XEN_EVENT' }));
    expect(done()).toEqual(['bind 7:1', 'close 1']);
  });
});
