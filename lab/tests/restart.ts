import assert from 'node:assert/strict';
import type { Dom0, Test } from './harness.js';
import { trial } from './trial.js';

/** Item 3: the test of the patch that gave Linux's netback its unbind and bind, for a daemon that is also killed. */
export const restartTests: Test[] = [
  {
    name: 'two minutes of stops, kills and updates under iperf and an interactive session: no reset',
    boot: 'alone',
    seconds: 200,
    core: true,
    run: (dom0) => restarts(dom0, 'g1', 2),
  },
  {
    name: 'kills at random instants under iperf and an interactive session: no reset (--long: 100 of them)',
    boot: 'alone',
    seconds: 150,
    run: (dom0) => kills(dom0, dom0.long ? 100 : 8),
  },
];

/** The longest run of a process: some are killed while they attach, some after TCP has recovered. */
const RUN_MS_MAX = 8000;

async function kills(dom0: Dom0, count: number): Promise<void> {
  const guest = await dom0.guest('g1');
  const { vifd } = dom0;
  const kill = async (): Promise<void> => {
    await vifd.replace();
  };
  const runMs = () => RUN_MS_MAX * Math.random();
  await trial(dom0, guest, { count, runMs }, [{ name: 'vifd killed and started', run: kill }]);
  assert.deepEqual(vifd.errors(), []);
}

export async function restarts(dom0: Dom0, name: string, minutes: number): Promise<void> {
  const guest = await dom0.guest(name);
  const { vifd } = dom0;
  const first = vifd.events.length;
  const restart = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<void> => {
    await vifd.stop(signal);
    // The number of ways to end a process is odd, so each way meets both payload modes.
    vifd.payload = vifd.payload === 'copy' ? 'map' : 'copy';
    await vifd.start();
  };
  await trial(dom0, guest, minutes, [
    { name: 'vifd stopped and started', run: () => restart('SIGTERM') },
    { name: 'vifd killed and started', run: () => restart('SIGKILL') },
    {
      name: 'vifd updated',
      run: () => {
        vifd.update();
        return restart('SIGTERM');
      },
    },
    { name: 'vifd killed and started', run: () => restart('SIGKILL') },
    { name: 'vifd killed and started', run: () => restart('SIGKILL') },
  ]);
  assert.deepEqual(vifd.errors(), []);
  const attached = vifd.events
    .slice(first)
    .filter(({ event, vif }) => event === 'attached' && vif === guest.vif);
  assert.ok(attached.length > 0, `${guest.vif} was not vifd's`);
  assert.ok(
    attached.every(({ resumed }) => resumed),
    'a process began with new rings',
  );
}
