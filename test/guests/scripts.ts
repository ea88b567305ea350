import { CTRL_SET_HASH_ALGORITHM, CTRL_SUCCESS, HASH_ALGORITHM_NONE } from '../../lib/protocol/control.js';
import { XenbusState } from '../../lib/protocol/xenbus.js';
import { RawControl, type RawResponse } from '../netback/raw-control.js';
import type { GuestScript, ScriptedGuest } from './scripted-guest.js';

const { Unknown, Initialising, InitWait, Initialised, Connected } = XenbusState;
const { Closing, Closed, Reconfiguring, Reconfigured } = XenbusState;

/** Linux: `xennet_connect`, `talk_to_netback`; `xennet_bus_close` when the driver goes. */
const linux: GuestScript = {
  name: 'Linux',
  source: 'torvalds/linux drivers/net/xen-netfront.c',
  async connect(guest) {
    await guest.say(Initialising);
    await guest.until(InitWait);
    const split = (await guest.read('feature-split-event-channels')) === '1';
    const queues = (await guest.read('multi-queue-max-queues')) === undefined ? {} : queuesKey(1);
    await guest.write({
      ...guest.offer(split ? 2 : 1),
      ...queues,
      'request-rx-copy': 1,
      'feature-rx-notify': 1,
      'feature-sg': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
      'feature-ipv6-csum-offload': 1,
    });
    await guest.say(Connected);
    await guest.until(Connected);
  },
  async disconnect(guest) {
    await guest.say(Closing);
    await guest.until(Closing, Unknown);
    await guest.say(Closed);
    await guest.until(Closed, Unknown);
  },
};

/** Linux after kexec or in a crash kernel: it finds a connection that is not its own, and ends it first. */
const linuxAfterKexec: GuestScript = {
  ...linux,
  name: 'Linux after kexec',
  source: 'torvalds/linux drivers/xen/xenbus/xenbus_probe_frontend.c, xenbus_reset_frontend',
  async connect(guest) {
    const state = (await guest.backend()).state;
    // Continues from the backend's present state; waits 5 s for each.
    if (state === Connected) {
      await guest.say(Closing);
      await guest.until(Closing);
    }
    if (state === Connected || state === Closing) {
      await guest.say(Closed);
      await guest.until(Closed);
    }
    await linux.connect(guest);
  },
  // This guest does not: its kernel is gone, and its rings with it.
  async disconnect() {},
};

const WINDOWS_CHANGE_MS = 120_000;

/** Windows waits at most 120 s for each change of the backend, and most states lead to a step. */
const windows: GuestScript = {
  name: 'Windows',
  source:
    'xcp-ng/win-xenvif src/xenvif/frontend.c, receiver.c, controller.c: FrontendPrepare, FrontendConnect, FrontendClose',
  // ASSERT(FALSE) in all three loops.
  fears: [Reconfiguring, Reconfigured],
  async connect(guest) {
    await windowsLoop(guest, InitWait, { [Closed]: Initialising, [Connected]: Closing, [Closing]: Closed });
    const split = (await guest.read('feature-split-event-channels')) === '1';
    const control = (await guest.read('feature-ctrl-ring')) === '1' ? new RawControl(guest.xen) : undefined;
    await guest.remove('feature-gso-tcpv4-prefix', 'feature-gso-tcpv6-prefix');
    await guest.write({
      ...guest.offer(split ? 2 : 1),
      'request-rx-copy': 1,
      'feature-sg': 1,
      'feature-rx-notify': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
      'feature-no-csum-offload': 0,
      'feature-ipv6-csum-offload': 1,
      ...queuesKey(1),
      ...control?.keys,
    });
    await windowsLoop(guest, Connected, {
      [InitWait]: Connected,
      [Initialised]: Connected,
      [Closing]: Closed,
    });
    if (control !== undefined) await windowsAsks(guest, control);
    // Multicast filters come on the ring; the driver asks for them while it runs.
    await guest.write({ 'request-multicast-control': 0 });
  },
  async disconnect(guest) {
    await windowsLoop(guest, Closed, { [Connected]: Closing, [InitWait]: Closing, [Closing]: Closed });
  },
};

/** Writes a state for each state that the backend writes, until its own is `goal`. */
async function windowsLoop(
  guest: ScriptedGuest,
  goal: XenbusState,
  ownStates: Partial<Record<XenbusState, XenbusState>>,
): Promise<void> {
  let state: XenbusState = Unknown;
  while (state !== goal) {
    state = await guest.change(state, WINDOWS_CHANGE_MS);
    if (state === Unknown) throw new Error('Windows takes its device for gone');
    const own = state === goal ? undefined : ownStates[state];
    if (own !== undefined) await guest.say(own);
  }
}

/** A request on the control ring: kicked again every 100 ms, and given up after 5 s (controller.c). */
async function windowsAsks(guest: ScriptedGuest, control: RawControl): Promise<void> {
  const first = control.ask([CTRL_SET_HASH_ALGORITHM, HASH_ALGORITHM_NONE]);
  for (let waitedMs = 0; control.responses(first).length === 0; waitedMs += 100) {
    if (waitedMs >= 5000) throw new Error('Windows gives up: no response on the control ring within 5 s');
    await new Promise<void>((resolve) => guest.xen.clock.after(100, resolve));
    control.notify();
  }
  const [{ type, status }] = control.responses(first) as [RawResponse];
  if (type !== CTRL_SET_HASH_ALGORITHM || status !== CTRL_SUCCESS)
    throw new Error(`response ${type}: ${status}`);
}

/** FreeBSD: as Linux, but writes Closed at once when the backend is Closing. No GSO over IPv6. */
const freebsd: GuestScript = {
  name: 'FreeBSD',
  source: 'freebsd/freebsd-src sys/dev/xen/netfront/netfront.c: talk_to_backend, netfront_backend_changed',
  async connect(guest) {
    await guest.say(Initialising);
    await guest.until(InitWait);
    await guest.write({
      ...guest.offer(1),
      'request-rx-copy': 1,
      'feature-rx-notify': 1,
      'feature-sg': 1,
      'feature-gso-tcpv4': 1,
      'feature-no-csum-offload': 0,
    });
    await guest.say(Connected);
    await guest.until(Connected);
  },
  /** What `ifconfig xn0 -lro` does (xn_ioctl, "xn_reset"). */
  async disconnect(guest) {
    await guest.remove('feature-gso-tcpv4', 'feature-no-csum-offload');
    await guest.say(Closing);
    await guest.until(Closing);
    await guest.say(Closed);
    await guest.until(Closed);
  },
};

/** NetBSD connects at InitWait in any state of its own, and panics at a state that it does not know. */
const netbsd: GuestScript = {
  name: 'NetBSD',
  source: 'NetBSD/src sys/arch/xen/xen/if_xennet_xenbus.c: xennet_talk_to_backend, xennet_backend_changed',
  fears: [Reconfiguring, Reconfigured],
  async connect(guest) {
    await guest.say(Initialising);
    await guest.until(InitWait);
    await guest.write({
      vifname: 'xennet0',
      ...guest.offer(1),
      'request-rx-copy': 1,
      'feature-rx-notify': 1,
      'feature-ipv6-csum-offload': 1,
      'feature-sg': 1,
    });
    await guest.say(Connected);
    await guest.until(Connected);
  },
  async disconnect(guest) {
    await guest.say(Closing);
    await guest.until(Closing);
    await guest.say(Closed);
    await guest.until(Closed);
  },
};

/** mini-os (pv-grub, stub domains): writes Connected without reading the backend's state, and does not write feature-rx-notify. */
const miniOs: GuestScript = {
  name: 'mini-os',
  source: 'mirage/mini-os netfront.c: init_netfront, shutdown_netfront',
  postsQuietly: true,
  async connect(guest) {
    // One transaction, the state with the keys.
    await guest.write({ ...guest.offer(1), 'request-rx-copy': 1, state: Connected });
    const state = await guest.until(Connected, Closing, Closed, Reconfiguring, Reconfigured);
    if (state !== Connected) throw new Error(`mini-os gives up: backend not available, state=${state}`);
  },
  async disconnect(guest) {
    await guest.say(Closing);
    await guest.until(Closing, Closed, Reconfiguring, Reconfigured);
    await guest.say(Closed);
    await guest.until(Closed, Reconfiguring, Reconfigured);
    await guest.say(Initialising);
    await guest.until(InitWait, Initialised, Connected, Closing);
    await guest.remove('tx-ring-ref', 'rx-ring-ref', 'event-channel', 'request-rx-copy');
  },
};

/** MirageOS: writes Connected without reading the backend's state, and from Closed again without Initialising in between. */
const mirage: GuestScript = {
  name: 'MirageOS',
  source: 'mirage/mirage-net-xen lib/frontend.ml plug_inner, lib/xenstore.ml',
  async connect(guest) {
    await guest.write({
      ...guest.offer(1),
      'feature-sg': 1,
      'feature-gso-tcpv4': 0,
      'request-rx-copy': 1,
      'feature-rx-flip': 0,
      'feature-rx-notify': 1,
      'feature-smart-poll': 0,
    });
    await guest.say(Connected);
    await guest.until(Connected);
  },
  async disconnect(guest) {
    await guest.say(Closed);
  },
};

function queuesKey(queues: number): Record<string, number> {
  return { 'multi-queue-num-queues': queues };
}

export const GUESTS: readonly GuestScript[] = [
  linux,
  linuxAfterKexec,
  windows,
  freebsd,
  netbsd,
  miniOs,
  mirage,
];
