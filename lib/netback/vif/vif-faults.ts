import { VifdError, type VifdErrorCode } from '../../errors.js';
import { type FaultListener, Faults } from '../faults/present-faults.js';
import { parseRate, type Rate } from '../guest/credit.js';
import type { VifId } from '../vif-info.js';
import { named } from './vif-errors.js';
import type { VifSnapshot } from './vif-node.js';

/** The present faults of a vif, including those in the keys that the hotplug script, the guest and the toolstack wrote. */
export class VifFaults extends Faults {
  readonly #id: VifId;

  constructor(id: VifId, listener: FaultListener) {
    super(listener);
    this.#id = id;
  }

  /** @returns an error with the message of `thrown`, which also names the vif. */
  named(thrown: unknown): VifdError {
    return named(this.#id, thrown);
  }

  /** @returns an error about the vif. */
  about(code: VifdErrorCode, message: string): VifdError {
    return new VifdError(code, `${this.#id}: ${message}`, { vif: this.#id });
  }

  /** @returns the error with the vif in front of its message, even if the message names the vif already. */
  prefixed({ code, message, errno }: VifdError): VifdError {
    const details = { vif: this.#id, ...(errno === undefined ? {} : { errno }) };
    return new VifdError(code, `${this.#id}: ${message}`, details);
  }

  /** Begins the fault `kind`, or ends it if there is no message. */
  heed(kind: string, code: VifdErrorCode, message: string | undefined): void {
    if (message === undefined) this.end(kind);
    else this.begin(kind, this.about(code, message));
  }

  /** Begins or ends the faults of the hotplug script and of the guest's state. */
  heedSnapshot({ hotplugError, strange }: VifSnapshot): void {
    const failed = hotplugError === undefined ? undefined : `the hotplug script failed: ${hotplugError}`;
    this.heed('hotplug', 'ERR_STATE', failed);
    this.heed('state', 'ERR_PROTOCOL', strange);
  }

  /**
   * Begins or ends the fault of an unreadable `rate`.
   * @returns the toolstack's rate; undefined for no limit, if the key is missing or unreadable.
   */
  rateOf(text: string | undefined): Rate | undefined {
    const rate = parseRate(text);
    const wrong = rate !== undefined && 'wrong' in rate;
    this.heed('rate', 'ERR_STATE', wrong ? rate.wrong : undefined);
    return wrong ? undefined : rate;
  }
}
