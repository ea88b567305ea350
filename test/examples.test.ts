import { readdirSync, readFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { countFrames } from '../examples/count-frames.js';
import { firewall } from '../examples/firewall.js';
import { joinGuests } from '../examples/two-guests.js';
import { ModelHypervisor } from '../lib/testing/model/index.js';
import { createVif, Netfront, TrafficPort } from '../lib/testing/netfront/index.js';
import { RawGuest } from '../worlds/model/raw-guest.js';
import { TestPort } from '../worlds/model/test-port.js';

const EXAMPLE_LINES_MAX = 60;

describe('examples', () => {
  let hypervisor: ModelHypervisor;
  const settled = async <T>(work: Promise<T>): Promise<T> => {
    await hypervisor.settle();
    return work;
  };
  beforeEach(() => {
    hypervisor = new ModelHypervisor();
  });

  it.each(readdirSync('examples'))('%s is short', (file) => {
    expect(readFileSync(`examples/${file}`, 'utf8').split('\n').length - 1).toBeLessThanOrEqual(
      EXAMPLE_LINES_MAX,
    );
  });

  it('embed.ts is what the README shows', () => {
    expect(readFileSync('README.md', 'utf8')).toContain(
      `\`\`\`ts\n${readFileSync('examples/embed.ts', 'utf8')}\`\`\``,
    );
  });

  describe('with a guest', () => {
    let guest: RawGuest;
    let port: TestPort;
    beforeEach(async () => {
      guest = new RawGuest(hypervisor.open(7));
      port = new TestPort();
      await settled(guest.connect(hypervisor.open(0)));
    });

    /** An IPv4 frame with a TCP header, in the guest's page `page`. */
    function tcpTo(page: number, portNumber: number): void {
      const frame = guest.pages.bytes.subarray(page * 4096);
      frame.set([0x08, 0x00, 0x45], 12);
      frame[23] = 6;
      frame[36] = portNumber >>> 8;
      frame[37] = portNumber & 0xff;
    }

    it('firewall.ts drops telnet and nothing else', async () => {
      await using netback = await settled(firewall({ xen: hypervisor.open(0), port: () => port }));
      tcpTo(0, 23);
      tcpTo(1, 443);
      guest.send([{ page: 0 }, { page: 1 }, { page: 2 }]);
      await hypervisor.settle();
      expect(port.written.map((frame) => (frame[36] << 8) | frame[37])).toEqual([443, 0]);
      expect(netback.vifs.get('vif7.0')?.stats.fromGuest.filtered).toBe(1);
      await settled(netback[Symbol.asyncDispose]());
    });

    it('firewall.ts drops IPv4 frames that are too short to tell, reports no error, and passes later fragments', async () => {
      const errors: unknown[] = [];
      await using netback = await settled(firewall({ xen: hypervisor.open(0), port: () => port }));
      netback.on('error', (error) => errors.push(error));
      for (const page of [0, 1, 2, 3]) tcpTo(page, 443);
      tcpTo(4, 23);
      // The offset of a fragment: what follows are no ports.
      guest.pages.bytes[4 * 4096 + 21] = 1;
      guest.send([
        { page: 0, size: 37 },
        { page: 1, size: 38 },
        { page: 2, size: 33 },
        { page: 3, size: 14 },
        { page: 4, size: 60 },
      ]);
      await hypervisor.settle();
      expect(port.written.map(({ length }) => length)).toEqual([38, 60]);
      expect(netback.vifs.get('vif7.0')?.stats.fromGuest).toMatchObject({ filtered: 3, hookErrors: 0 });
      expect(errors).toEqual([]);
      await settled(netback[Symbol.asyncDispose]());
    });

    it('count-frames.ts counts by kind', async () => {
      const netback = await settled(firewall({ xen: hypervisor.open(0), port: () => port }));
      const stop = new AbortController();
      const counting = countFrames(netback.vifs.get('vif7.0')!, stop.signal);
      tcpTo(0, 80);
      guest.send([
        { page: 0, size: 100 },
        { page: 0, size: 60 },
        { page: 5, size: 60 },
      ]);
      await hypervisor.settle();
      stop.abort();
      expect(Object.fromEntries(await counting)).toEqual({
        IPv4: { frames: 2, bytes: 160 },
        other: { frames: 1, bytes: 60 },
      });
      await settled(netback[Symbol.asyncDispose]());
    });
  });

  it('two-guests.ts joins two frontends: what one sends the other receives, 64 KiB frames too', async () => {
    const toolstack = hypervisor.open(0);
    for (const domid of [7, 8]) {
      await settled(createVif(toolstack.store, { domid, handle: 0, mac: `00:16:3e:00:00:0${domid}` }));
    }
    const netback = await settled(joinGuests(7, 8, { xen: hypervisor.open(0) }));
    const sizes = [60, 1514, 65_000];
    const ports = [
      new TrafficPort({ generate: { seed: 1, sizes, frames: 0 }, check: { seed: 2 } }),
      new TrafficPort({ generate: { seed: 2, sizes, frames: 0 }, check: { seed: 1 } }),
    ];
    const fronts = await Promise.all(
      [7, 8].map((domid, i) =>
        settled(Netfront.connect({ xen: hypervisor.open(domid), handle: 0, port: ports[i] })),
      ),
    );
    for (const port of ports) port.send(30);
    await hypervisor.settle();
    for (const port of ports) {
      expect(port.checker?.counts).toMatchObject({
        frames: 30,
        lost: 0,
        repeated: 0,
        reordered: 0,
        damaged: 0,
      });
    }
    for (const front of fronts) expect(front.violations.total).toBe(0);
    await settled(netback[Symbol.asyncDispose]());
  });
});
