import { VifdError, type VifdErrorCode } from '../errors.js';
import { parseRate, type Rate } from './credit.js';
import { type FaultListener, Faults } from './faults.js';
import type { VifId } from './types.js';
import type { VifSight } from './vif-node.js';
import { named } from './vif-parts.js';

/** What is wrong with a vif now, and what is wrong of that which others wrote into its nodes. */
export class VifFaults extends Faults {
  readonly #id: VifId;

  constructor(id: VifId, listener: FaultListener) {
    super(listener);
    this.#id = id;
  }

  /** @returns what was thrown as an error whose message names the vif. */
  named(thrown: unknown): VifdError {
    return named(this.#id, thrown);
  }

  /** Begins a fault, or ends it where there is no message. */
  heed(kind: string, code: VifdErrorCode, message: string | undefined): void {
    if (message === undefined) this.end(kind);
    else this.begin(kind, new VifdError(code, `${this.#id}: ${message}`, { vif: this.#id }));
  }

  /** What the hotplug script and the guest reported. */
  heedSight({ hotplugError, strange }: VifSight): void {
    const failed = hotplugError === undefined ? undefined : `the hotplug script failed: ${hotplugError}`;
    this.heed('hotplug', 'ERR_STATE', failed);
    this.heed('state', 'ERR_PROTOCOL', strange);
  }

  /** @returns the toolstack's rate; undefined: no limit, since there is none or it cannot be read. */
  rateOf(text: string | undefined): Rate | undefined {
    const rate = parseRate(text);
    const wrong = rate !== undefined && 'wrong' in rate;
    this.heed('rate', 'ERR_STATE', wrong ? rate.wrong : undefined);
    return wrong ? undefined : rate;
  }
}
