import { type BridgePlan, ip, makeBridge } from './bridge.js';
import { ownMounts, ProcessWorld } from './process-world.js';

export const BRIDGE: BridgePlan = { name: 'br0', address: '10.77.0.1', mac: '02:77:00:00:00:01' };

/** A world of processes whose host has a bridge, with a store in this process. */
export class BridgedWorld extends ProcessWorld {
  /** Makes a socket of the store for a domain. */
  addDomain!: (domid: number) => Promise<void>;

  static async open(name: string): Promise<BridgedWorld> {
    await ownMounts();
    const world = new BridgedWorld(name);
    try {
      world.addDomain = await world.serveStore();
      await ip('link', 'set', 'lo', 'up');
      await makeBridge(BRIDGE);
      return world;
    } catch (error) {
      await world[Symbol.asyncDispose]();
      throw error;
    }
  }
}
