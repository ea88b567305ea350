import { VifdError } from '../errors.js';
import type { LinkSettings } from '../host/links.js';
import type { VifAddress } from '../netback/vif-info.js';
import { backendVifPath } from '../protocol/xenbus.js';
import type { Store, StoreView } from '../xen/seam.js';

export type VifName = VifAddress;
export type Owner = 'vifd' | 'kernel';

/** What is written below a vif's backend node: it goes with the vif, and outlives every process of ours. */
export interface Mark {
  /** Who is to serve the vif. Undefined: nobody has said; see `Ownership`. */
  readonly owner: Owner | undefined;
  /** How the interface was set up. There while a change of the owner is not complete. */
  readonly keep: LinkSettings | undefined;
  /** The process of vifd that attached last. */
  readonly attached: number | undefined;
}

/** The notes that say who serves a vif: `<backend>/vifd/{owner,keep,attached}`. */
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

  /** Nobody has said: we serve it from now on, whatever drivers are loaded later. */
  claim(): Promise<boolean> {
    return this.#write({ owner: 'vifd' });
  }

  /**
   * A change of the owner begins. Whoever finds `keep` there can complete it.
   * @returns false when the vif has gone.
   */
  begin(owner: Owner, keep: LinkSettings): Promise<boolean> {
    return this.#write({ owner, keep: JSON.stringify(keep), attached: undefined });
  }

  /** As `begin`, for one that was begun: who attached meanwhile stays noted. Wakes the daemon, too. */
  goOn(owner: Owner, keep: LinkSettings): Promise<boolean> {
    return this.#write({ owner, keep: JSON.stringify(keep) });
  }

  /** The change is complete; or it is called off, where `owner` is the one of before. */
  end(owner: Owner): Promise<boolean> {
    return this.#write({ owner, keep: undefined });
  }

  attached(pid: number): Promise<boolean> {
    return this.#write({ attached: `${pid}` });
  }

  /** Undefined removes. Nothing is written of a vif that has gone: that would bring back a part of it. */
  #write(values: Record<string, string | undefined>): Promise<boolean> {
    return this.#store.transaction(async (view: StoreView) => {
      if ((await view.read(`${this.#node}/frontend`)) === undefined) return false;
      if (!(await view.list(this.#node)).includes('vifd')) {
        await view.mkdir(this.path);
        // No matter of the guest's, which may read the rest of the node. What is made below has the same permissions.
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
