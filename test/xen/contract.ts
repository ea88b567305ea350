/**
 * The promises of `Xen` (lib/xen/seam.ts), as tests. The model and the native addon must both pass them, so that a result of a test on the
 * model holds for the addon too.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import type { HostCall } from '../../lib/testing/model/faults.js';
import type { StoredEvents, Xen } from '../../lib/xen/seam.js';
import { copyTests, mapBatchTests } from './contract-batches.js';
import { domainTests } from './contract-domains.js';
import { bindTests, deliveryTests } from './contract-events.js';
import { hostFaultTests } from './contract-host-faults.js';
import { lastingTests } from './contract-lasting.js';
import { arenaTests, mappingTests, shareTests } from './contract-memory.js';
import { stagedTests } from './contract-staged.js';
import type { World } from './contract-world.js';

/** Two domains of one hypervisor, seen from one process. */
export interface XenPair {
  readonly backend: Xen;
  /** Whether it has `shares`. */
  readonly frontend: Xen;
  /** Resolves when all events between the two have arrived. Default: 20 ms of real time. */
  settle?(): Promise<void>;
  /** Makes a call of the backend's host fail until `heal`. */
  fail(call: HostCall, errno: string): void;
  heal(): void;
  /**
   * Runs another process of the backend's domain: it binds to these ports of the frontend by lasting event channels, reads the first event of
   * each without acting on it, and is killed. @returns what it has stored; the descriptor is the caller's.
   */
  killedAfterBinding(remotePorts: readonly number[]): Promise<StoredEvents>;
  close(): Promise<void>;
}

/**
 * Registers the contract's tests.
 * @param skip why this implementation cannot run here; its tests are then skipped under that reason.
 * @param skipLasting the same for the tests of lasting event channels.
 */
export function xenContract(
  name: string,
  open: () => Promise<XenPair>,
  skip?: string,
  skipLasting?: string,
): void {
  describe.skipIf(skip !== undefined)(skip === undefined ? name : `${name} (skipped: ${skip})`, () => {
    let pair: XenPair;
    const world: World = {
      get backend() {
        return pair.backend;
      },
      get frontend() {
        return pair.frontend;
      },
      allocate: (pages) => {
        const shares = pair.frontend.shares;
        if (shares === undefined) throw new Error('the contract needs a frontend with shares');
        return shares.allocate(pages);
      },
      settle: () => pair.settle?.() ?? sleep(20),
      fail: (call, errno) => pair.fail(call, errno),
      heal: () => pair.heal(),
      killedAfterBinding: (remotePorts) => pair.killedAfterBinding(remotePorts),
      eventually: async (condition) => {
        for (let round = 0; round < 100 && !condition(); round++) await world.settle();
        expect(condition()).toBe(true);
      },
    };
    beforeEach(async () => {
      pair = await open();
    });
    afterEach(async () => {
      await pair.close();
    });
    describe('arena', () => arenaTests(world));
    describe('mapping', () => mappingTests(world));
    describe('copy batch', () => copyTests(world));
    describe('map batch', () => mapBatchTests(world));
    describe('staged grants', () => stagedTests(world));
    describe('a host that is short of something', () => hostFaultTests(world));
    describe('shares', () => shareTests(world));
    describe('binding events', () => bindTests(world));
    describe('domains', () => domainTests(world));
    describe('delivering events', () => deliveryTests(world));
    const lasting = 'lasting event channels';
    const lastingName = skipLasting === undefined ? lasting : `${lasting} (skipped: ${skipLasting})`;
    describe.skipIf(skipLasting !== undefined)(lastingName, () => lastingTests(world));
  });
}
