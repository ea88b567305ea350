import { XenbusState } from '../../lib/protocol/xenbus.js';
import { Random } from '../../lib/testing/model/random.js';
import { withoutStrays } from '../../worlds/model/strays.js';
import { Host } from './host.js';
import { ScriptedGuest } from './scripted-guest.js';
import { GUESTS } from './scripts.js';

const ACTIONS_MAX = 30;
/** Any one of the scripted handshakes must work afterwards. */
const GOOD_MS = 2000;
const REST_MS = 30;
const GUEST_PAGES = 256;

const KEYS = [
  'tx-ring-ref',
  'rx-ring-ref',
  'event-channel',
  'event-channel-tx',
  'event-channel-rx',
  'ctrl-ring-ref',
  'event-channel-ctrl',
  'request-rx-copy',
  'feature-rx-notify',
  'feature-sg',
  'feature-gso-tcpv4',
  'feature-gso-tcpv6',
  'feature-gso-tcpv4-prefix',
  'feature-no-csum-offload',
  'feature-ipv6-csum-offload',
  'multi-queue-num-queues',
  'request-multicast-control',
  'xdp-headroom',
  'queue-0/tx-ring-ref',
  'queue-0/rx-ring-ref',
  'queue-0/event-channel',
  'queue-1/tx-ring-ref',
  'mac',
  'disconnect',
];
const VALUES = [
  '0',
  '1',
  '2',
  '8',
  '',
  '-1',
  '4294967295',
  '4294967296',
  '99999999999999999999',
  '1e3',
  '0x10',
  ' 1',
  '\u00e9',
  'x'.repeat(900),
];
const STATES = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '', '44', 'Connected'];

/** The result of a seed: undefined if nothing was wrong. */
export interface FuzzResult {
  readonly did: readonly string[];
  readonly failure: string | undefined;
  /** The state of the vif at the end of the random writes. */
  readonly ended: string;
}

/** A guest that makes the writes of a seed, in the seed's order; then one that behaves. */
export async function fuzzHandshake(seed: number): Promise<FuzzResult> {
  const run = new FuzzRun(seed);
  let failure: string | undefined;
  await withoutStrays(
    () => run.all(),
    (what) => {
      failure ??= what;
    },
  );
  return { did: run.did, failure, ended: run.ended };
}

class FuzzRun {
  readonly did: string[] = [];
  ended = '';
  readonly #random: Random;
  readonly #host = new Host();
  #guest!: ScriptedGuest;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  async all(): Promise<void> {
    const host = this.#host;
    await host.create(this.#below(4) === 0 ? '/etc/xen/scripts/vif-bridge' : undefined);
    this.#guest = new ScriptedGuest(host);
    this.#guest.offer(1);
    const actions = 1 + this.#below(ACTIONS_MAX);
    for (let i = 0; i < actions; i++) await this.#act();
    await host.run(REST_MS);
    this.#requireClearEnd();
    await this.#behave();
    await host.stop();
  }

  /** The vif must be served, stopped with a reason, waiting, or closed. */
  #requireClearEnd(): void {
    const { vif, errors } = this.#host;
    this.ended = vif?.state ?? 'gone';
    if (vif?.state === 'stopped' && !vif.reason) throw new Error('stopped without a reason');
    // Faults of the host (a failed script, an invalid rate) are reasons in any state.
    if (vif?.state !== 'stopped' && vif?.reason !== vif?.faults[0]?.message)
      throw new Error(`${vif?.state}, and yet a reason: ${vif?.reason}`);
    if (errors.length > ACTIONS_MAX * 3) throw new Error(`${errors.length} errors: ${errors.slice(0, 3)}`);
  }

  /** Either the toolstack creates the vif again, as for a guest that reboots, or the same guest's driver starts again. */
  async #behave(): Promise<void> {
    const host = this.#host;
    const { backendPath } = host.paths;
    const script = this.#pick(GUESTS);
    const online = await this.#toolstack((store) => store.read(`${backendPath}/online`));
    const own = await this.#toolstack((store) => store.read(`${backendPath}/state`));
    const goesOn =
      this.#readable && online === '1' && own !== undefined && own !== '5' && this.#below(2) === 0;
    if (goesOn) {
      await this.#driverBegins();
      await this.#toolstack(async (store) => {
        await store.write(`${backendPath}/hotplug-status`, 'connected');
        await store.rm(`${backendPath}/rate`);
      });
    } else await host.create();
    this.did.push(`then ${script.name}, ${goesOn ? 'from there' : 'on a new vif'}`);
    this.#guest = new ScriptedGuest(host);
    if (!(await host.done(script.connect(this.#guest), GOOD_MS))) {
      throw new Error(
        `${script.name} is not served: backend ${host.states.slice(-6).join(' ')}, ${host.vif?.reason}`,
      );
    }
    await this.#traffic();
  }

  /** Without keys of earlier guests, as a driver that is loaded. */
  async #driverBegins(): Promise<void> {
    const { frontendPath } = this.#host.paths;
    await this.#toolstack(async (store) => {
      for (const key of KEYS) if (key !== 'mac') await store.rm(`${frontendPath}/${key}`);
      await store.write(`${frontendPath}/state`, `${XenbusState.Closed}`);
    });
    await this.#host.run(REST_MS);
    await this.#toolstack((store) => store.write(`${frontendPath}/state`, `${XenbusState.Initialising}`));
    await this.#host.run(REST_MS);
  }

  async #traffic(): Promise<void> {
    const { rings } = this.#guest;
    const host = this.#host;
    const written = host.port?.written.length ?? 0;
    // Frames that came before may still wait in the port.
    rings.post(Array.from({ length: GUEST_PAGES }, (_, page) => rings.ref(page)));
    rings.send([{ page: 9, size: 60 }]);
    host.port?.put(new Uint8Array(80).fill(7));
    await host.run(REST_MS);
    if (rings.txResponses().length !== 1) throw new Error('a frame from the guest got no response');
    if (host.port?.written.length !== written + 1) throw new Error('a frame from the guest does not come');
    if (!rings.rxResponses().some(({ status }) => status === 80))
      throw new Error('a frame to the guest does not come');
  }

  #readable = true;

  async #act(): Promise<void> {
    const host = this.#host;
    const guest = this.#guest;
    const { frontendPath, backendPath } = host.paths;
    const [name, work] = this.#pick<readonly [string, () => unknown]>([
      ['keys', () => this.#keys()],
      ['keys', () => this.#keys()],
      ['a good connection', () => this.#goodKeys()],
      ['a good connection', () => this.#goodKeys()],
      ['state', () => this.#write({ state: this.#pick(STATES) })],
      ['state', () => this.#write({ state: this.#pick(STATES) })],
      ['state 4', () => this.#write({ state: '4' })],
      ['remove a key', () => this.#asGuest(() => guest.remove(this.#pick(KEYS)))],
      ['slots', () => this.#slots()],
      ['indices', () => this.#indices()],
      ['buffers', () => host.dare(() => guest.rings.post(this.#refs()))],
      ['a frame', () => host.dare(() => host.port?.put(new Uint8Array(60 + this.#below(9000))))],
      ['unreadable', () => this.#hide(frontendPath)],
      ['kill', () => host.kill()],
      ['start', () => host.start()],
      [
        'hotplug',
        () =>
          this.#toolstack((store) =>
            store.write(`${backendPath}/hotplug-status`, this.#pick(['', 'connected', 'error'])),
          ),
      ],
      [
        'rate',
        () =>
          this.#toolstack((store) =>
            store.write(`${backendPath}/rate`, this.#pick(['', '1000,1000', '0,5', '1,', 'x'])),
          ),
      ],
      [
        'online',
        () => this.#toolstack((store) => store.write(`${backendPath}/online`, this.#pick(['0', '1', 'x']))),
      ],
      ['new rings', () => guest.offer(this.#below(2) === 0 ? 1 : 2)],
    ]);
    this.did.push(name);
    await work();
    if (this.#below(3) > 0) await host.run(10);
  }

  #keys(): Promise<void> {
    const picked: Record<string, string> = {};
    for (let i = this.#below(6); i >= 0; i--) picked[this.#pick(KEYS)] = this.#pick(VALUES);
    if (this.#below(3) === 0) picked.state = this.#pick(STATES);
    return this.#write(picked);
  }

  /** All features, or nearly all. */
  #goodKeys(): Promise<void> {
    const keys: Record<string, string> = {
      ...this.#guest.offer(this.#below(2) === 0 ? 1 : 2),
      'request-rx-copy': '1',
      state: '4',
    };
    if (this.#below(2) === 0) keys['feature-sg'] = '1';
    if (this.#below(2) === 0) keys['feature-rx-notify'] = '1';
    if (this.#below(4) === 0) delete keys[this.#pick(Object.keys(keys))];
    return this.#write(keys);
  }

  #slots(): void {
    const slots = Array.from({ length: 1 + this.#below(20) }, () => ({
      page: this.#below(GUEST_PAGES),
      offset: this.#below(4096),
      size: this.#below(5000),
      flags: this.#below(16),
      ...(this.#below(8) === 0 && { ref: this.#below(0x7fffffff) }),
    }));
    this.#host.dare(() => this.#guest.rings.send(slots));
  }

  #indices(): void {
    const { rings } = this.#guest;
    for (const ring of [rings.tx, rings.rx]) ring[this.#below(4)] = this.#below(0x7fffffff);
    this.#host.dare(() => rings.notify());
  }

  #refs(): number[] {
    const { rings } = this.#guest;
    return Array.from({ length: this.#below(40) }, () => rings.ref(this.#below(GUEST_PAGES)));
  }

  /** The backend may not read the guest's keys any more. */
  async #hide(frontendPath: string): Promise<void> {
    this.#readable = false;
    await this.#asGuest(async () => {
      const key = this.#pick(KEYS);
      await this.#guest.xen.store.write(`${frontendPath}/${key}`, '1');
      await this.#guest.xen.store.setPermissions(`${frontendPath}/${key}`, [
        { domid: this.#guest.xen.domid, access: 'none' },
      ]);
    });
  }

  #write(keys: Record<string, string>): Promise<void> {
    return this.#asGuest(() => this.#guest.write(keys));
  }

  /** Requests that the store refuses a guest concern only the guest. */
  async #asGuest(work: () => Promise<unknown>): Promise<void> {
    await this.#finished(work().catch(() => undefined));
  }

  #toolstack<T>(work: (store: Host['toolstack']['store']) => Promise<T>): Promise<T> {
    return this.#finished(work(this.#host.toolstack.store));
  }

  /** Not `run`: a backend that was killed stays dead until the seed chooses to start it. */
  async #finished<T>(work: Promise<T>): Promise<T> {
    await this.#host.hypervisor.settle();
    return work;
  }

  #below(limit: number): number {
    return this.#random.below(limit);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#below(from.length)] as T;
  }
}
