import { backendVifPath, frontendVifPath, XenbusState } from '../protocol/xenbus.js';
import type { Clock, Permission, Store, StoreView } from '../xen/types.js';
import { StateWatch } from './state-watch.js';

/** As LIBXL_DESTROY_TIMEOUT. */
const REMOVE_TIMEOUT_MS = 10_000;

export interface VifOptions {
  readonly domid: number;
  readonly handle: number;
  /** Default 0. */
  readonly backendDomid?: number;
  readonly mac: string;
  /** For the guest; libxl's default is 1500. */
  readonly mtu?: number;
  readonly bridge?: string;
  /** Hotplug script. Given, `hotplug-status` is written empty, and the backend waits until a script fills it in. */
  readonly script?: string;
}

export interface VifPaths {
  readonly frontendPath: string;
  readonly backendPath: string;
}

/** Writes what libxl writes when a vif is added to a guest (libxl_nic.c, libxl_device.c). */
export async function createVif(store: Store, options: VifOptions): Promise<VifPaths> {
  const { domid, handle, backendDomid = 0 } = options;
  const frontendPath = frontendVifPath(domid, handle);
  const backendPath = backendVifPath(backendDomid, domid, handle);
  const guestOwns = permissions(domid, backendDomid);
  const backendOwns = permissions(backendDomid, domid);
  await store.transaction(async (view) => {
    await view.rm(frontendPath);
    await view.rm(backendPath);
    await writeTree(view, frontendPath, frontendKeys(options, backendPath), guestOwns);
    await writeTree(view, backendPath, backendKeys(options, frontendPath), backendOwns);
    // The guest may read these and not change them.
    const readOnly = { mtu: String(options.mtu ?? 1500), trusted: '1' };
    for (const [key, value] of Object.entries(readOnly)) {
      await writeNode(view, `${frontendPath}/${key}`, value, backendOwns);
    }
  });
  return { frontendPath, backendPath };
}

interface VifAddress {
  readonly domid: number;
  readonly handle: number;
  readonly backendDomid?: number;
}

/**
 * Removes a vif as `xl network-detach` does (libxl_device.c): asks the backend to close, and waits. One that does not
 * answer is asked again with the frontend's node gone; then both nodes go, and folders that are empty without them.
 * @returns whether the backend closed in time.
 */
export async function removeVif(
  store: Store,
  clock: Clock,
  vif: VifAddress,
  timeoutMs = REMOVE_TIMEOUT_MS,
): Promise<boolean> {
  const { domid, handle, backendDomid = 0 } = vif;
  const frontendPath = frontendVifPath(domid, handle);
  const backendPath = backendVifPath(backendDomid, domid, handle);
  await using state = await StateWatch.open(store, `${backendPath}/state`);
  const asked = async (force: boolean): Promise<boolean> => {
    await store.transaction(async (view) => {
      if (force) await removeTree(view, frontendPath);
      if ((await view.read(`${backendPath}/state`)) === undefined) return;
      await view.write(`${backendPath}/online`, '0');
      await view.write(`${backendPath}/state`, String(XenbusState.Closing));
    });
    // Unknown: a backend may remove its own node (`xl devd` does).
    return state.until([XenbusState.Closed, XenbusState.Unknown], { clock, timeoutMs }).then(
      () => true,
      () => false,
    );
  };
  const closed = (await asked(false)) || (await asked(true));
  await store.transaction(async (view) => {
    await removeTree(view, frontendPath);
    await removeTree(view, backendPath);
  });
  return closed;
}

/** Folders that held nothing but this go with it, up to that of all vifs. */
async function removeTree(view: StoreView, path: string): Promise<void> {
  await view.rm(path);
  const parent = path.slice(0, path.lastIndexOf('/'));
  if (!parent.endsWith('/vif') && (await view.list(parent)).length === 0) await view.rm(parent);
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
