import { backendVifPath, frontendVifPath, XenbusState } from '../../protocol/xenbus.js';
import type { Clock, Permission, Store, StoreView } from '../../xen/seam.js';
import { StateWatch } from './state-watch.js';

/** LIBXL_DESTROY_TIMEOUT of libxl_internal.h. */
const REMOVE_TIMEOUT_MS = 10_000;

/** What `createVif` writes for a vif. */
export interface VifOptions {
  /** The guest's domain. */
  readonly domid: number;
  /** The number of the vif among those of the guest; 0 for the first one. */
  readonly handle: number;
  /** Default 0. */
  readonly backendDomid?: number;
  /** The MAC address, as 00:16:3e:00:00:01. */
  readonly mac: string;
  /** For the guest; libxl's default is 1500. */
  readonly mtu?: number;
  /** Default: none. */
  readonly bridge?: string;
  /** Hotplug script. If it is set, `hotplug-status` is written empty, and the backend waits until a script writes a value. */
  readonly script?: string;
}

/** Where the nodes of a vif are. */
export interface VifPaths {
  /** The frontend's node. */
  readonly frontendPath: string;
  /** The backend's node. */
  readonly backendPath: string;
}

/** Writes what libxl writes when a vif is added to a guest (libxl_nic.c, libxl_device.c). */
export async function createVif(store: Store, options: VifOptions): Promise<VifPaths> {
  const { domid, handle, backendDomid = 0 } = options;
  const frontendPath = frontendVifPath(domid, handle);
  const backendPath = backendVifPath(backendDomid, domid, handle);
  const guestOwns = permissions(domid, backendDomid);
  const backendOwns = permissions(backendDomid, domid);
  const libxlPath = libxlVifPath(domid, handle);
  const ofBackend = backendKeys(options, frontendPath);
  await store.transaction(async (view) => {
    await view.rm(libxlPath);
    // libxl keeps its own copy of the backend's keys, which no backend can change.
    const copied = { frontend: frontendPath, backend: backendPath, ...ofBackend };
    for (const [key, value] of Object.entries(copied)) await view.write(`${libxlPath}/${key}`, value);
    await view.rm(frontendPath);
    await view.rm(backendPath);
    await writeTree(view, frontendPath, frontendKeys(options, backendPath), guestOwns);
    await writeTree(view, backendPath, ofBackend, backendOwns);
    // The guest may read these and not change them.
    const readOnly = { mtu: String(options.mtu ?? 1500), trusted: '1' };
    for (const [key, value] of Object.entries(readOnly)) {
      await writeNode(view, `${frontendPath}/${key}`, value, backendOwns);
    }
  });
  return { frontendPath, backendPath };
}

/** Which vif `removeVif` removes. */
export interface VifToRemove {
  /** The guest's domain. */
  readonly domid: number;
  /** The number of the vif among those of the guest. */
  readonly handle: number;
  /** Default 0. */
  readonly backendDomid?: number;
}

/** Options of `removeVif`. */
export interface RemoveOptions {
  /** How long to wait for the backend each time, in ms; default 10 s, as libxl. */
  readonly timeoutMs?: number;
  /**
   * Remove the frontend's node at once, as libxl does when it destroys the domain. Default: only after the backend has not responded, as
   * `xl network-detach` does.
   */
  readonly force?: boolean;
}

/**
 * Removes a vif as libxl does (libxl_device.c, libxl__initiate_device_generic_remove). It asks the backend to close, with `online` 0 and
 * `state` 5 in one transaction, and waits. If the backend does not respond, libxl asks once more, in a transaction that also removes the
 * frontend's node. Then it removes both nodes, its own node, and all folders that are empty without them (libxl__device_destroy). In a driver
 * domain `xl devd` removes the backend's node: libxl waits for that too, and without force leaves all nodes alone if that does not happen.
 * @returns whether the vif is gone, and the backend closed it in time.
 */
export async function removeVif(
  store: Store,
  clock: Clock,
  vif: VifToRemove,
  { timeoutMs = REMOVE_TIMEOUT_MS, force = false }: RemoveOptions = {},
): Promise<boolean> {
  const { domid, handle, backendDomid = 0 } = vif;
  const frontendPath = frontendVifPath(domid, handle);
  const backendPath = backendVifPath(backendDomid, domid, handle);
  await using state = await StateWatch.open(store, `${backendPath}/state`);
  const becomes = (...states: XenbusState[]): Promise<boolean> =>
    state.until(states, { clock, timeoutMs }).then(
      () => true,
      () => false,
    );
  const asked = async (forced: boolean): Promise<boolean> => {
    await store.transaction(async (view) => {
      if (forced) await cleanUp(view, frontendPath);
      const now = await view.read(`${backendPath}/state`);
      if (now === undefined) return;
      await view.write(`${backendPath}/online`, '0');
      if (now !== String(XenbusState.Closed))
        await view.write(`${backendPath}/state`, String(XenbusState.Closing));
    });
    return becomes(XenbusState.Closed, XenbusState.Unknown);
  };
  const unforced = !force && (await asked(false));
  const closed = unforced || (await asked(true));
  const removedThere = !closed || backendDomid === 0 || (await becomes(XenbusState.Unknown));
  if (unforced && !removedThere) return false;
  await store.transaction(async (view) => {
    await cleanUp(view, frontendPath);
    await cleanUp(view, libxlVifPath(domid, handle));
    await cleanUp(view, backendPath);
  });
  return closed && removedThere;
}

/** libxl__device_libxl_path. */
function libxlVifPath(domid: number, handle: number): string {
  return `/libxl/${domid}/device/vif/${handle}`;
}

/** A domain's own folder, which is never empty on a real host. */
const OF_DOMAIN = /^\/(local\/domain|libxl)\/[0-9]+$/;

/** Removes a node, and the folders above it that hold nothing without it (libxl__xs_path_cleanup). */
async function cleanUp(view: StoreView, path: string): Promise<void> {
  await view.rm(path);
  for (let at = parentOf(path); !OF_DOMAIN.test(at); at = parentOf(at)) {
    if ((await view.read(at)) !== '' || (await view.list(at)).length > 0) return;
    await view.rm(at);
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/'));
}

function frontendKeys(options: VifOptions, backendPath: string): Record<string, string> {
  return {
    backend: backendPath,
    'backend-id': String(options.backendDomid ?? 0),
    state: String(XenbusState.Initialising),
    handle: String(options.handle),
    mac: options.mac,
  };
}

function backendKeys(options: VifOptions, frontendPath: string): Record<string, string> {
  const { bridge, script, mtu } = options;
  return {
    frontend: frontendPath,
    'frontend-id': String(options.domid),
    online: '1',
    state: String(XenbusState.Initialising),
    handle: String(options.handle),
    mac: options.mac,
    type: 'vif',
    ...(bridge === undefined ? {} : { bridge }),
    ...(mtu === undefined ? {} : { mtu: String(mtu) }),
    ...(script === undefined ? {} : { script, 'hotplug-status': '' }),
  };
}

function permissions(owner: number, reader: number): Permission[] {
  return [
    { domid: owner, access: 'none' },
    { domid: reader, access: 'read' },
  ];
}

async function writeTree(
  view: StoreView,
  path: string,
  keys: Record<string, string>,
  access: readonly Permission[],
): Promise<void> {
  await view.mkdir(path);
  await view.setPermissions(path, access);
  for (const [key, value] of Object.entries(keys)) await writeNode(view, `${path}/${key}`, value, access);
}

async function writeNode(
  view: StoreView,
  path: string,
  value: string,
  access: readonly Permission[],
): Promise<void> {
  await view.write(path, value);
  await view.setPermissions(path, access);
}
