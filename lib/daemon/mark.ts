import { VifdError } from '../errors.js';
import type { LinkSettings } from '../host/links.js';
import type { VifAddress } from '../netback/vif-info.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Store, StoreView } from '../xen/seam.js';

export type VifName = VifAddress;
export type Owner = 'vifd' | 'kernel';

/** The keys below a vif's backend node that record its owner. They end with the vif, and outlive every vifd process. */
export interface Mark {
  /** The owner: the driver that serves the vif. Undefined if neither an operator nor vifd has set it; see `Ownership`. */
  readonly owner: Owner | undefined;
  /** The settings of the interface. Present while a change of the owner is incomplete. */
  readonly keep: LinkSettings | undefined;
  /** The id of the vifd process that attached last. */
  readonly attached: number | undefined;
}

/** The record of a vif's owner in the store: `<backend>/vifd/{owner,keep,attached}`. */
export class VifMark {
  readonly path: string;
  readonly #store: Store;
  readonly #domid: number;
  readonly #node: string;

  constructor(store: Store, domid: number, vif: Pick<VifAddress, 'domid' | 'handle'>) {
    this.#store = store;
    this.#domid = domid;
    this.#node = backendVifPath(domid, vif.domid, vif.handle);
    this.path = `${this.#node}/vifd`;
  }

  async read(): Promise<Mark> {
    const [owner, keep, attached] = await Promise.all(
      ['owner', 'keep', 'attached'].map((key) => this.#store.read(`${this.path}/${key}`)),
    );
    return {
      owner: owner === 'vifd' || owner === 'kernel' ? owner : undefined,
      keep: keep === undefined ? undefined : parseKeep(`${this.path}/keep`, keep),
      attached: attached === undefined ? undefined : Number(attached),
    };
  }

  /** Makes vifd the owner of a vif without one, whatever drivers are loaded later. */
  claim(): Promise<boolean> {
    return this.#write({ owner: 'vifd' });
  }

  /**
   * Records that a change of the owner begins. A later `adopt` or `release` that finds `keep` can complete the change.
   * @returns false if the vif is gone.
   */
  begin(owner: Owner, keep: LinkSettings): Promise<boolean> {
    return this.#write({ owner, keep: JSON.stringify(keep), attached: undefined });
  }

  /** As `begin`, for a change that has begun already: `attached` stays. The write also causes a look of the daemon. */
  proceed(owner: Owner, keep: LinkSettings): Promise<boolean> {
    return this.#write({ owner, keep: JSON.stringify(keep) });
  }

  /** Records that the change is complete; or, if `owner` is the previous owner, that it is cancelled. */
  end(owner: Owner): Promise<boolean> {
    return this.#write({ owner, keep: undefined });
  }

  attached(pid: number): Promise<boolean> {
    return this.#write({ attached: `${pid}` });
  }

  /** Writes keys; undefined removes one. Writes nothing if the vif is gone, since that would create a part of its node again. */
  #write(values: Record<string, string | undefined>): Promise<boolean> {
    return this.#store.transaction(async (view: StoreView) => {
      if ((await view.read(`${this.#node}/frontend`)) === undefined) return false;
      if (!(await view.list(this.#node)).includes('vifd')) {
        await view.mkdir(this.path);
        // The guest, which may read the rest of the node, must not read this. Nodes that are created below get the same permissions.
        await view.setPermissions(this.path, [{ domid: this.#domid, access: 'none' }]);
      }
      for (const [key, value] of Object.entries(values)) {
        if (value === undefined) await view.rm(`${this.path}/${key}`);
        else await view.write(`${this.path}/${key}`, value);
      }
      return true;
    });
  }
}

function parseKeep(path: string, text: string): LinkSettings {
  try {
    return JSON.parse(text) as LinkSettings;
  } catch (cause) {
    const message = `${path} holds ${JSON.stringify(text)}, which vifd did not write: remove it with xenstore-rm.`;
    throw new VifdError('ERR_STATE', message, { cause });
  }
}
