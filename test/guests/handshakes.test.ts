import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { XenbusState } from '../../lib/protocol/xenbus.js';
import { Host } from './host.js';
import { type GuestScript, ScriptedGuest } from './scripted-guest.js';
import { GUESTS } from './scripts.js';

/** Each part of a handshake must be done in this time; Linux after kexec waits 5 s for each state. */
const PART_MS = 4000;
const BUFFERS = 4;
/** Mirage's guest has no states in between by which it could see that the backend noticed its Closed. */
const REST_MS = 50;

interface Course {
  readonly host: Host;
  readonly guest: ScriptedGuest;
  /** The backend's steps until the guest had disconnected for the first time. */
  readonly firstSteps: number;
}

/** Connects, moves frames both ways, disconnects, and does all that once more. */
async function course(script: GuestScript, killAt: readonly number[] = []): Promise<Course> {
  const host = new Host(killAt);
  await host.create();
  host.start();
  const guest = new ScriptedGuest(host);
  await connected(host, guest, script);
  await part(host, script.disconnect(guest), 'disconnecting');
  await host.run(REST_MS);
  const firstSteps = host.steps;
  await connected(host, guest, script);
  return { host, guest, firstSteps };
}

async function connected(host: Host, guest: ScriptedGuest, script: GuestScript): Promise<void> {
  await part(host, script.connect(guest), 'connecting');
  guest.rings.post(
    Array.from({ length: BUFFERS }, (_, i) => guest.rings.ref(i)),
    script.postsQuietly,
  );
  await fromGuest(host, guest);
  await toGuest(host, guest);
}

async function part(host: Host, work: Promise<unknown>, what: string): Promise<void> {
  if (!(await host.done(work, PART_MS))) {
    throw new Error(`${what} does not end: backend ${host.states.join(' ')}, errors ${host.errors}`);
  }
}

/** Sends a frame from the guest: it gets one response, and reaches the host once, or twice after a kill. */
async function fromGuest(host: Host, guest: ScriptedGuest): Promise<void> {
  const before = host.processes;
  const written = writtenTo(host);
  guest.rings.pages.bytes.fill(0x5a, 8 * 4096, 8 * 4096 + 60);
  host.dare(() => guest.rings.send([{ page: 8, size: 60, id: 33 }]));
  await host.run(REST_MS);
  expect(guest.rings.txResponses()).toEqual([{ id: 33, status: 0 }]);
  const came = writtenTo(host).slice(written.length);
  expect(came.length).toBeGreaterThanOrEqual(1);
  expect(came.length).toBeLessThanOrEqual(host.processes > before ? 2 : 1);
  for (const frame of came) expect(frame).toEqual(new Uint8Array(60).fill(0x5a));
}

/** Waits until a frame reaches the guest. A kill may lose the frame that is being read. */
async function toGuest(host: Host, guest: ScriptedGuest): Promise<void> {
  const frame = Uint8Array.from({ length: 90 }, (_, i) => i + 1);
  const { processes } = host;
  host.dare(() => host.port?.put(frame));
  await host.run(REST_MS);
  if (host.processes > processes && guest.rings.rxResponses().length === 0) {
    host.dare(() => host.port?.put(frame));
    await host.run(REST_MS);
  }
  const [first, ...rest] = guest.rings.rxResponses();
  expect(first).toMatchObject({ offset: 0, status: 90 });
  expect(rest.length).toBeLessThanOrEqual(host.processes > processes ? 1 : 0);
  expect(guest.rings.pages.bytes.slice(0, 90)).toEqual(frame);
}

function writtenTo(host: Host): Uint8Array[] {
  return host.ports.flatMap(({ written }) => written);
}

function shownStates(host: Host, script: GuestScript): readonly number[] {
  return host.states.filter((state) => (script.fears ?? []).includes(state));
}

// Most errors here are errors from the store: a stack for each costs much of the time.
const { stackTraceLimit } = Error;
beforeAll(() => {
  Error.stackTraceLimit = 0;
});
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit;
});

describe.each(GUESTS.map((script) => [script.name, script] as const))('%s', (_name, script) => {
  it('connects, moves frames both ways, disconnects and connects again', async () => {
    const { host } = await course(script);
    expect(host.errors).toEqual([]);
    expect(shownStates(host, script)).toEqual([]);
    expect(host.vif?.state).toBe('connected');
    await host.stop();
  });

  it('does so with the backend killed at each of its steps, until it has disconnected', async () => {
    const whole = await course(script);
    expect(whole.firstSteps).toBeGreaterThan(50);
    for (let step = 1; step <= whole.firstSteps; step++) {
      const failure = await course(script, [step]).then(
        ({ host }) =>
          host.processes === 2 && host.errors.length === 0
            ? undefined
            : `processes ${host.processes}, ${host.errors}`,
        (error) => String(error),
      );
      expect(failure, `killed at step ${step} of ${whole.firstSteps}`).toBeUndefined();
    }
  }, 300_000);

  it('finds a backend that starts after it did', async () => {
    const host = new Host();
    await host.create();
    const guest = new ScriptedGuest(host);
    const connecting = script.connect(guest);
    await host.hypervisor.advance(1000);
    host.start();
    await part(host, connecting, 'connecting');
    await fromGuest(host, guest);
    expect(host.errors).toEqual([]);
  });

  it.each([true, false])('comes back from a suspension with new rings (a backend runs: %s)', async (runs) => {
    const host = new Host();
    await host.create();
    host.start();
    const guest = new ScriptedGuest(host);
    await connected(host, guest, script);
    if (!runs) host.kill();
    const again = script.connect(guest);
    await host.hypervisor.advance(1000);
    host.start();
    await part(host, again, 'connecting again');
    await fromGuest(host, guest);
    // A guest that writes no state but Connected leaves a journal of rings that are gone: vifd reports that it ignores it.
    expect(host.errors.filter((error) => !/journal is of another connection/.test(error))).toEqual([]);
    await host.stop();
  });

  it('waits for a hotplug script that is slow', async () => {
    const host = new Host();
    await host.create('/etc/xen/scripts/vif-bridge');
    host.start();
    const guest = new ScriptedGuest(host);
    const connecting = script.connect(guest);
    expect(await host.done(connecting, 1000)).toBe(false);
    await host.toolstack.store.write(`${host.paths.backendPath}/hotplug-status`, 'connected');
    await part(host, connecting, 'connecting');
    await fromGuest(host, guest);
    expect(host.errors).toEqual([]);
  });
});

describe('a guest that connects anew faster than the backend looks', () => {
  const FEATURES = { 'request-rx-copy': 1, 'feature-rx-notify': 1, state: 4 };

  async function join(host: Host, guest: ScriptedGuest): Promise<void> {
    await host.done(guest.write({ ...guest.offer(1), ...FEATURES }), PART_MS);
    await host.run(REST_MS);
  }

  it('is served at its new rings', async () => {
    const host = new Host();
    await host.create();
    const guest = new ScriptedGuest(host);
    await join(host, guest);
    await fromGuest(host, guest);
    for (const state of [XenbusState.Initialising, undefined]) {
      const keys = { ...guest.offer(1), ...FEATURES };
      const again = (state === undefined ? Promise.resolve() : guest.say(state)).then(() =>
        guest.write(keys),
      );
      await host.done(again, PART_MS);
      await host.run(REST_MS);
      await fromGuest(host, guest);
    }
    expect(host.errors).toEqual([]);
    await host.stop();
  });

  it('is served again after it broke the protocol, and not before', async () => {
    const host = new Host();
    await host.create();
    const guest = new ScriptedGuest(host);
    await join(host, guest);
    guest.rings.send([{ size: 60, offset: 4090 }]);
    await host.run(REST_MS);
    expect(host.vif?.state).toBe('stopped');
    await host.done(guest.say(XenbusState.Connected), PART_MS);
    await host.run(REST_MS);
    expect(host.vif?.state).toBe('stopped');
    expect(host.errors).toHaveLength(1);
    await join(host, guest);
    expect(host.vif?.state).toBe('connected');
    await fromGuest(host, guest);
    expect(host.vif?.reason).toBeUndefined();
  });

  it('is served once it has mended keys that could not be used', async () => {
    const host = new Host();
    await host.create();
    const guest = new ScriptedGuest(host);
    const keys = guest.offer(1);
    await host.done(guest.write({ ...keys, 'event-channel': 'none', ...FEATURES }), PART_MS);
    for (let again = 0; again < 3; again++) {
      await host.done(guest.say(XenbusState.Connected), PART_MS);
      await host.run(REST_MS);
    }
    expect(host.vif?.state).toBe('stopped');
    // Reported once, however often the guest writes the same.
    expect(host.errors).toHaveLength(1);
    await host.done(guest.write({ ...keys, ...FEATURES }), PART_MS);
    await host.run(REST_MS);
    await fromGuest(host, guest);
  });
});
