/** The reports of a discovery to a server of vifs, which here serves nothing: it could be another process. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import type { Admission, Named, VifPlace } from '../../lib/netback/vif/directory.js';
import { Discovery, type VifServer } from '../../lib/netback/vif/discovery.js';
import type { VifId } from '../../lib/netback/vif-info.js';
import { ModelHypervisor } from '../../lib/testing/model/index.js';
import { createVif } from '../../lib/testing/netfront/toolstack.js';
import type { Xen } from '../../lib/xen/seam.js';

const ROOT = '/local/domain/0/backend/vif';

/** Responds with what the test sets, and records each call as text, which only plain data survives. */
class Recorder implements VifServer {
  readonly heard: string[] = [];
  readonly served = new Map<VifId, number>();
  /** Undefined: it serves each vif that it gets. */
  admission: ((place: VifPlace) => Admission) | undefined;

  isServed(id: VifId): boolean {
    return this.served.has(id);
  }

  domids(): ReadonlySet<number> {
    return new Set(this.served.values());
  }

  async found(place: VifPlace, connectedOnly: boolean): Promise<Admission> {
    if (this.isServed(place.id)) return 'served';
    const { id, domid } = structuredClone(place);
    this.heard.push(`found ${id}${connectedOnly ? ' if connected' : ''}`);
    const admission = this.admission?.(place) ?? 'served';
    if (admission === 'served') this.served.set(id, domid);
    return admission;
  }

  changed(path: string, named: Named): void {
    this.heard.push(`changed ${path} of ${JSON.stringify(structuredClone(named)) ?? 'all'}`);
  }

  domainGone(domid: number): void {
    this.heard.push(`gone ${domid}`);
  }

  storeReturned(): void {
    this.heard.push('store returned');
  }

  /** @returns the events since the last call. */
  take(): string[] {
    return this.heard.splice(0);
  }
}

let hypervisor: ModelHypervisor;
let dom0: Xen;
let server: Recorder;
let discovery: Discovery;
const begun: string[] = [];
const ended: string[] = [];

async function settled<T>(work: PromiseLike<T>): Promise<T> {
  await hypervisor.settle();
  const value = await work;
  await hypervisor.settle();
  return value;
}

const create = (domid: number) => {
  const mac = `00:16:3e:00:00:0${domid}`;
  return settled(createVif(toolstack().store, { domid, handle: 0, mac }));
};
let tools: Xen | undefined;
const toolstack = () => {
  tools ??= hypervisor.open(0);
  return tools;
};

beforeEach(() => {
  hypervisor = new ModelHypervisor();
  dom0 = hypervisor.open(0);
  tools = undefined;
  server = new Recorder();
  for (const list of [begun, ended]) list.length = 0;
  discovery = new Discovery({
    xen: dom0,
    server,
    onError: ({ message }) => begun.push(message),
    onMended: ({ message }) => ended.push(message),
  });
});
afterEach(async () => {
  await settled(discovery.close());
});

describe('a discovery reports', () => {
  it('the vifs that are there, connected ones first, and the ones that come', async () => {
    await create(1);
    server.admission = (place) => (server.heard.length === 2 && place.domid === 1 ? 'waiting' : 'served');
    await settled(discovery.open());
    // First that anything may have changed, since the server may serve vifs already that nobody has watched.
    const all = `changed ${ROOT} of all`;
    expect(server.take()).toEqual([all, 'found vif1.0 if connected', 'found vif1.0']);
    await create(2);
    expect(new Set(server.take())).toContain('found vif2.0');
    expect([...server.served.keys()]).toEqual(['vif1.0', 'vif2.0']);
    expect(begun).toEqual([]);
  });

  it('a change below a vif, and then, if it is not served, the vif as found', async () => {
    await create(1);
    await settled(discovery.open());
    await create(2);
    server.served.delete('vif2.0');
    server.take();
    await settled(toolstack().store.write(`${ROOT}/1/0/rate`, '1,1'));
    await settled(toolstack().store.write(`${ROOT}/2/0/rate`, '1,1'));
    const place = { domid: 1, handle: 0, id: 'vif1.0', path: `${ROOT}/1/0` };
    const [changed, other, ...found] = server.take();
    expect(changed).toMatch(`changed ${ROOT}/1/0/rate of `);
    expect(JSON.parse(changed.slice(changed.indexOf('{')))).toEqual(place);
    // In this order, so that `found` in another process reads the change and does not count it as one that came meanwhile.
    expect(other).toMatch(`changed ${ROOT}/2/0/rate of `);
    expect(found).toEqual(['found vif2.0']);
  });

  it('the removal of a guest’s folder, as one change', async () => {
    await create(1);
    await settled(discovery.open());
    server.take();
    await settled(toolstack().store.rm(`${ROOT}/1`));
    expect(server.take()).toEqual([`changed ${ROOT}/1 of {"domid":1}`]);
  });

  it('a vif again once it is not served any more', async () => {
    await create(1);
    await settled(discovery.open());
    server.served.clear();
    server.take();
    discovery.lookAt({ domid: 1, handle: 0 });
    await hypervisor.settle();
    expect(server.take()).toEqual(['found vif1.0']);
  });

  it('that the store returned, and the vifs that are there then', async () => {
    await settled(discovery.open());
    server.take();
    hypervisor.store.stop();
    await hypervisor.settle();
    expect(discovery.faults.map(({ code }) => code)).toEqual(['ERR_STORE_GONE']);
    hypervisor.store.start();
    await hypervisor.settle();
    const [first] = server.take();
    expect(first).toBe('store returned');
    expect([discovery.faults, ended.length]).toEqual([[], 1]);
  });

  it('that a domain is gone while the store is away, and does not offer its vif again', async () => {
    await create(1);
    await settled(discovery.open());
    server.take();
    const gone = new Set<number>();
    (dom0 as { domainExists?: (domid: number) => boolean }).domainExists = (domid) => !gone.has(domid);
    hypervisor.store.stop();
    await hypervisor.advance(5000);
    expect(server.take()).toEqual([]);
    gone.add(1);
    await hypervisor.advance(1000);
    expect(server.take()).toEqual(['gone 1']);
    server.served.clear();
    hypervisor.store.start();
    await hypervisor.advance(5000);
    // A store that returns fires each watch.
    expect(server.take()).toEqual(['store returned', `changed ${ROOT} of all`]);
    // Another domain with its number.
    gone.clear();
    await settled(discovery.look());
    expect(server.take()).toEqual(['found vif1.0 if connected']);
  });
});

describe('a vif that its server fails to serve', () => {
  it('is reported, is tried again, and does not delay other vifs', async () => {
    let fails = 3;
    server.admission = ({ domid }) => {
      if (domid === 1 && fails-- > 0) throw new VifdError('ERR_TAP', 'no tap');
      return 'served';
    };
    await create(1);
    await create(2);
    await settled(discovery.open());
    expect(server.served.has('vif2.0')).toBe(true);
    expect(begun).toEqual(['vif1.0 cannot be served yet: no tap']);
    await hypervisor.advance(10_000);
    expect(server.served.has('vif1.0')).toBe(true);
    expect([begun.length, ended, discovery.faults]).toEqual([1, begun, []]);
    // It retries no more often than necessary.
    server.take();
    await hypervisor.advance(10_000);
    expect(server.take()).toEqual([]);
  });

  it('is no fault once it is gone', async () => {
    server.admission = () => {
      throw new VifdError('ERR_TAP', 'no tap');
    };
    await create(1);
    await settled(discovery.open());
    expect(discovery.faults).toHaveLength(1);
    await settled(toolstack().store.rm(`${ROOT}/1`));
    await hypervisor.advance(10_000);
    expect(discovery.faults).toEqual([]);
    expect(ended).toEqual([]);
  });
});

it('a discovery that is closed reports nothing', async () => {
  await settled(discovery.open());
  await settled(discovery.close());
  server.take();
  await create(1);
  discovery.lookAt({ domid: 1, handle: 0 });
  await settled(discovery.look());
  expect(server.take()).toEqual([]);
});
