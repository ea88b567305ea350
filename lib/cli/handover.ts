import { readForeign } from '../daemon/foreign.js';
import { type Mark, VifMark, type VifName } from '../daemon/mark.js';
import { TAP_MAC } from '../daemon/ownership.js';
import { VifdError } from '../errors.js';
import type { LinkSettings, Links } from '../host/links.js';
import { Offer, readServable } from '../netback/vif/offer.js';
import { backendVifPath, frontendVifPath, parseXenbusState, XenbusState } from '../protocol/xenbus.js';
import type { Store } from '../xen/seam.js';
import type { KernelControl } from './kernel-control.js';

/** The objects and functions that a change of a vif's owner needs. */
export interface HandoverParts {
  readonly store: Store;
  /** The domain of the backend, in which this process runs. */
  readonly domid: number;
  readonly kernel: KernelControl;
  readonly links: Links;
  /** Returns the id of the vifd process that serves vifs; undefined if there is none. */
  readonly daemon: () => number | undefined;
  /** Returns the id of the process that serves this vif: a worker of that vifd, or the vifd itself. */
  readonly server: (vif: VifName) => number | undefined;
  /** Without a daemon, and without a worker that serves the vif: attaches to a vif and detaches from it, as a daemon would. A daemon that has started meanwhile is not an error. */
  readonly detachOnce: (vif: VifName) => Promise<void>;
  /** Resolves after some time, for polling of states that no watch reports. */
  readonly pause: () => Promise<void>;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export interface Handed extends Omit<LinkSettings, 'bridge'> {
  readonly vif: string;
  readonly bridge: string | undefined;
  /** The time from the request to the old driver to detach until the new driver serves. */
  readonly gapMs: number;
}

/** How long to wait for a driver, as libxl waits for a backend. The guest has no network meanwhile, but its connections survive longer. */
const PATIENCE_MS = 10_000;

/** The offer of `vifd run`, with all features. */
const OFFER = new Offer();

/**
 * Takes a live vif over from the kernel's driver. The interface has the same bridge, address, MTU and up state afterwards. After a kill at any
 * moment, a second `adopt` or a `release` completes the change.
 */
export async function adopt(parts: HandoverParts, vif: VifName): Promise<Handed> {
  const { kernel, links } = parts;
  const node = await requireVif(parts, vif);
  const mark = markOf(parts, vif);
  const seen = await mark.read();
  const bound = kernel.serves(vif);
  if (!bound && seen.owner === 'vifd' && seen.keep === undefined)
    throw new VifdError('ERR_OWNER', `vifd serves ${vif.id} already. Nothing was changed.`, { vif: vif.id });
  requireDaemon(parts, vif);
  await requireServable(parts, vif);
  const keep = await settingsBefore(parts, vif, seen, bound);
  requireBridge(links, vif, keep);

  const began = parts.now();
  // From here on the daemon attaches to the vif as soon as the kernel's driver has detached, even if this process is killed.
  const fresh = bound || seen.owner !== 'vifd';
  requireThere(vif, await (fresh ? mark.begin('vifd', keep) : mark.proceed('vifd', keep)));
  if (bound) {
    try {
      kernel.unbind(vif);
    } catch (error) {
      await mark.end('kernel');
      throw error;
    }
    await mark.proceed('vifd', keep);
  }
  const attached = async () => {
    const { attached: pid } = await mark.read();
    return pid !== undefined && pid === parts.server(vif);
  };
  if (!(await within(parts, vif, attached))) {
    await giveToKernel(parts, vif, keep);
    const message = `vifd did not attach to ${vif.id} within ${PATIENCE_MS / 1000} s, so the kernel's xen-netback serves it again: read vifd's log.`;
    throw new VifdError('ERR_TIMEOUT', message, { vif: vif.id });
  }
  const gapMs = parts.now() - began;
  await plug(parts, node);
  // Once attached, vifd moves frames. If the kernel's driver left the state at InitWait, vifd writes Connected later.
  if (!(await within(parts, vif, () => isServed(parts, vif, node))))
    throw daemonIsLate(parts, vif, 'connected');
  requireThere(vif, await mark.end('vifd'));
  return { vif: vif.id, ...keep, bridge: keep.bridge, gapMs };
}

/** Gives a vif back to the kernel's driver, as the reverse of `adopt`. Needs no daemon. */
export async function release(parts: HandoverParts, vif: VifName): Promise<Handed> {
  await requireVif(parts, vif);
  const mark = markOf(parts, vif);
  const seen = await mark.read();
  const bound = parts.kernel.serves(vif);
  if (bound && seen.keep === undefined)
    throw new VifdError(
      'ERR_OWNER',
      `The kernel's xen-netback serves ${vif.id} already. Nothing was changed.`,
      { vif: vif.id },
    );
  await requireTakeable(parts, vif);
  const keep = await settingsBefore(parts, vif, seen, bound);
  requireBridge(parts.links, vif, keep);
  return giveToKernel(parts, vif, keep);
}

async function giveToKernel(parts: HandoverParts, vif: VifName, keep: LinkSettings): Promise<Handed> {
  const { kernel, links } = parts;
  const node = await requireVif(parts, vif);
  const mark = markOf(parts, vif);
  const began = parts.now();
  requireThere(vif, await mark.begin('kernel', keep));
  if (!kernel.serves(vif)) {
    await untilDetached(parts, vif);
    try {
      if (!kernel.loaded) await kernel.load();
      kernel.bind(vif);
    } catch (error) {
      await mark.proceed('vifd', keep);
      throw error;
    }
  }
  const linkThere = async () => kernel.interfaceOf(vif) !== undefined;
  if (!(await within(parts, vif, linkThere))) throw kernelIsLate(vif, `made no interface ${vif.id}`);
  links.apply(kernel.interfaceOf(vif) ?? vif.id, keep);
  await plug(parts, node);
  const connected = () => isServed(parts, vif, node);
  if (!(await within(parts, vif, connected))) throw kernelIsLate(vif, 'did not connect');
  const gapMs = parts.now() - began;
  requireThere(vif, await mark.end('kernel'));
  return { vif: vif.id, ...keep, bridge: keep.bridge, gapMs };
}

/** Whether the new driver serves the guest; true also for a guest that is not connected. */
async function isServed({ store }: HandoverParts, vif: VifName, node: string): Promise<boolean> {
  const frontend = `${frontendVifPath(vif.domid, vif.handle)}/state`;
  const [own, guest] = await Promise.all([store.read(`${node}/state`), readForeign(store, frontend)]);
  return parseXenbusState(own) === XenbusState.Connected || parseXenbusState(guest) !== XenbusState.Connected;
}

/** Resolves when no driver has the vif: vifd's tap must be gone, because the kernel's interface gets the same name. */
async function untilDetached(parts: HandoverParts, vif: VifName): Promise<void> {
  const gone = async () => {
    if (parts.links.nameOf(vif.id) === undefined) return true;
    // A worker may serve it still whose supervisor has died.
    if (parts.daemon() === undefined && parts.server(vif) === undefined) await parts.detachOnce(vif);
    return parts.links.nameOf(vif.id) === undefined;
  };
  if (await within(parts, vif, gone)) return;
  throw daemonIsLate(parts, vif, 'detached from');
}

/** Writes `hotplug-status` again: the script ran when the vif was created, but the kernel's driver deletes the key when it is unbound. */
async function plug({ store }: HandoverParts, node: string): Promise<void> {
  await store.transaction(async (view) => {
    const script = await view.read(`${node}/script`);
    if (script !== undefined && script !== '') await view.write(`${node}/hotplug-status`, 'connected');
  });
}

/**
 * Returns the settings for the new interface. Those that an unfinished change has recorded apply, unless the interface is still the old one,
 * from which they were read.
 */
async function settingsBefore(
  { kernel, links, store, domid }: HandoverParts,
  vif: VifName,
  { owner, keep }: Mark,
  bound: boolean,
): Promise<LinkSettings> {
  const untouched = bound && owner === 'vifd';
  if (keep !== undefined && !untouched) return keep;
  const name = bound ? kernel.interfaceOf(vif) : links.nameOf(vif.id);
  if (name !== undefined) return { ...links.read(name), ...(name === vif.id ? {} : { name }) };
  // No driver has the vif and there is no interface: the toolstack's settings apply.
  const node = backendVifPath(domid, vif.domid, vif.handle);
  const [bridge, mtu] = await Promise.all(['bridge', 'mtu'].map((key) => store.read(`${node}/${key}`)));
  return {
    ...(bridge === undefined ? {} : { bridge }),
    mac: TAP_MAC,
    mtu: Number(mtu ?? 1500),
    up: true,
    port: {},
  };
}

async function requireVif({ store, domid }: HandoverParts, vif: VifName): Promise<string> {
  const node = backendVifPath(domid, vif.domid, vif.handle);
  requireThere(vif, (await store.read(`${node}/frontend`)) !== undefined);
  return node;
}

function requireThere(vif: VifName, there: boolean): void {
  if (there) return;
  const message = `There is no ${vif.id} in this domain: \`vifd list\` shows the vifs that it has.`;
  throw new VifdError('ERR_NO_VIF', message, { vif: vif.id });
}

function requireDaemon(parts: HandoverParts, vif: VifName): void {
  if (parts.daemon() !== undefined) return;
  const message = `No vifd runs, so ${vif.id} would lose its network: first start \`vifd run\` with the same --journal.`;
  throw new VifdError('ERR_NOT_RUNNING', message, { vif: vif.id });
}

/** Requires that vifd can serve the guest: it must be connected, and must not use features that only the kernel offered. */
async function requireServable({ store, domid }: HandoverParts, vif: VifName): Promise<void> {
  const frontend = frontendVifPath(vif.domid, vif.handle);
  const state = parseXenbusState(await readForeign(store, `${frontend}/state`));
  const refused = (why: string) =>
    new VifdError('ERR_OWNER', `${vif.id} cannot be adopted: ${why}.`, { vif: vif.id });
  if (state !== XenbusState.Connected)
    throw refused(`its guest is not connected (state ${state}); try again when it is`);
  const node = backendVifPath(domid, vif.domid, vif.handle);
  const handshake = await readServable(store, frontend, node, OFFER);
  if (!handshake.ok) throw refused(handshake.reason);
}

/** Requires a guest without multicast filtering: the kernel's driver starts with an empty list, and would drop all multicast. */
async function requireTakeable({ store }: HandoverParts, vif: VifName): Promise<void> {
  const frontend = frontendVifPath(vif.domid, vif.handle);
  if ((await readForeign(store, `${frontend}/request-multicast-control`)) !== '1') return;
  const message = `${vif.id} cannot be released: its guest filters multicast by a list that the kernel's driver cannot get, so it would lose all multicast frames.`;
  throw new VifdError('ERR_OWNER', message, { vif: vif.id });
}

function requireBridge(links: Links, vif: VifName, { bridge }: LinkSettings): void {
  if (bridge === undefined || links.exists(bridge)) return;
  const message =
    `The bridge ${bridge} of ${vif.id} is gone: create it (\`ip link add ${bridge} type bridge\`), ` +
    'then run the same command again.';
  throw new VifdError('ERR_LINK', message, { vif: vif.id });
}

/**
 * Polls until the condition is true or the time is over.
 * @returns whether it is true.
 * @throws VifdError ERR_NO_VIF if the vif is removed meanwhile.
 */
async function within(parts: HandoverParts, vif: VifName, isSo: () => Promise<boolean>): Promise<boolean> {
  const end = parts.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (parts.now() > end) return false;
    await requireVif(parts, vif);
    await parts.pause();
  }
  return true;
}

function daemonIsLate(parts: HandoverParts, vif: VifName, done: string): VifdError {
  const holder = parts.daemon();
  const who = holder === undefined ? 'Another process' : `vifd (process ${holder})`;
  const message = `${who} has not ${done} ${vif.id} within ${PATIENCE_MS / 1000} s: read its log, then run the same command again.`;
  return new VifdError('ERR_TIMEOUT', message, { vif: vif.id });
}

function kernelIsLate(vif: VifName, what: string): VifdError {
  const message =
    `The kernel's xen-netback has ${vif.id}, but ${what} within ${PATIENCE_MS / 1000} s: read \`dmesg\`, ` +
    'then run the same command again, which continues from here.';
  return new VifdError('ERR_KERNEL_DRIVER', message, { vif: vif.id });
}

function markOf({ store, domid }: HandoverParts, vif: VifName): VifMark {
  return new VifMark(store, domid, vif);
}
