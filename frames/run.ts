import { Progress } from '../programs/progress.js';
import { type Form, FROM_GUEST, forms, nameOf, TO_GUEST } from './forms/forms.js';
import { drawVariant, type Size, type Variant } from './forms/variants.js';
import { FROM_GUEST_MODES, type FromGuestMode, FromGuestRun } from './guest/from-guest.js';
import { GUESTS, type GuestKind } from './guest/guests.js';
import type { Sending } from './guest/slots.js';
import { type Delivery, type ToGuestPort, ToGuestRun } from './guest/to-guest.js';
import { judgeFromGuest, judgeToGuest } from './judge.js';
import { silence } from './network.js';
import type { FramesOptions } from './options.js';
import {
  cutsOf,
  type Extent,
  expectCells,
  fromGuestCell,
  isFor,
  portsFor,
  sizesOf,
  toGuestCell,
} from './plan.js';
import { Random } from './random.js';
import { Kernel } from './references/kernel.js';
import { firstApart, type Reference, refer } from './references/reference.js';
import { Scapy } from './references/scapy.js';
import { type Cell, Tally } from './report/tally.js';

/** For how many forms references are made at a time, while the frames of the forms before pass through vifd. */
const FORMS_AT_A_TIME = 24;

interface Sized {
  readonly size: Size;
  readonly reference: Reference;
}

/** Sends all frames and judges them, in namespaces of its own. @throws Error if no form matches, or vifd stops a guest. */
export async function runTable(options: FramesOptions): Promise<Tally> {
  silence();
  const tally = new Tally();
  const chosen = forms(options.quick).filter((form) => nameOf(form).includes(options.only ?? ''));
  if (chosen.length === 0) throw new Error(`no form contains ${JSON.stringify(options.only)}`);
  expectCells(tally, chosen, options);
  using scapy = new Scapy();
  await using kernel = new Kernel('frames');
  await using table = await Table.open(options, kernel, tally);
  const progress = new Progress();
  const parts = cut(chosen, FORMS_AT_A_TIME);
  let next = referencesOf(parts[0], options, scapy, kernel, tally);
  for (const [index] of parts.entries()) {
    const references = await next;
    const following = parts[index + 1];
    if (following !== undefined) next = referencesOf(following, options, scapy, kernel, tally);
    // The next turn awaits it and fails with it; until then a rejection must not count as unhandled.
    next.catch(() => {});
    await table.send(references);
    await table.deliver(references);
    const done = Math.min(chosen.length, (index + 1) * FORMS_AT_A_TIME);
    progress.say(`${done} of ${chosen.length} forms, ${tally.frames} frames, ${tally.differing} differences`);
  }
  progress.end();
  return tally;
}

async function referencesOf(
  part: readonly Form[],
  extent: Extent,
  scapy: Scapy,
  kernel: Kernel,
  tally: Tally,
): Promise<Sized[]> {
  const drawn = part.flatMap((form) =>
    sizesOf(form, extent).flatMap((size) =>
      (form.protocol.fromGuestOnly ? [FROM_GUEST] : [FROM_GUEST, TO_GUEST]).map(async (direction) => {
        const variant = await drawVariant(scapy, form, direction as Variant['direction'], size, extent.seed);
        return { size, variant };
      }),
    ),
  );
  const variants = await Promise.all(drawn);
  const references = await refer(
    variants.map(({ variant }) => variant),
    kernel,
    scapy,
    ({ variant: { name, seed }, what, expected, got }) =>
      tally.differ({ where: 'references', name, seed, what, ...firstApart(expected, got).frames }),
  );
  return references.map((reference, index) => ({ size: variants[index].size, reference }));
}

/** All backends that frames go through, open at once. */
class Table implements AsyncDisposable {
  readonly #extent: Extent;
  readonly #tally: Tally;
  readonly #senders: { readonly mode: FromGuestMode; readonly run: FromGuestRun }[] = [];
  readonly #receivers: { readonly port: ToGuestPort; readonly guest: GuestKind; readonly run: ToGuestRun }[] =
    [];
  readonly #random: Random;
  #mark = 0;

  static async open(extent: Extent, kernel: Kernel, tally: Tally): Promise<Table> {
    const table = new Table(extent, tally);
    for (const mode of FROM_GUEST_MODES)
      table.#senders.push({ mode, run: await FromGuestRun.open(mode, kernel) });
    for (const guest of GUESTS) {
      for (const port of portsFor(guest, extent)) {
        const index = table.#receivers.length;
        table.#receivers.push({ port, guest, run: await ToGuestRun.open(port, guest, index) });
      }
    }
    return table;
  }

  private constructor(extent: Extent, tally: Tally) {
    this.#extent = extent;
    this.#tally = tally;
    this.#random = new Random(extent.seed);
  }

  async send(references: readonly Sized[]): Promise<void> {
    const own = references.filter(({ reference }) => reference.variant.direction === FROM_GUEST);
    for (const { mode, run } of this.#senders) {
      const cells = new Map<Sending, { readonly cell: Cell; readonly reference: Reference }>();
      for (const { size, reference } of own) {
        const { variant } = reference;
        for (const { kind, pieces } of cutsOf(variant, size, mode, this.#extent))
          cells.set(
            { variant, pieces, mark: this.#mark++ },
            { cell: fromGuestCell(variant.form, mode, kind), reference },
          );
      }
      await this.#sendAll(run, cells);
    }
  }

  async #sendAll(
    run: FromGuestRun,
    cells: ReadonlyMap<Sending, { readonly cell: Cell; readonly reference: Reference }>,
  ): Promise<void> {
    let left = [...cells.keys()];
    while (left.length > 0) {
      const count = run.room(left);
      const before = run.dropped;
      const sent = await run.send(left.slice(0, count), this.#random);
      if (run.broken !== undefined)
        throw new Error(
          `vifd stopped the guest (${run.broken}): ${left[0].variant.name} or one of ${count} behind it`,
        );
      let vanished = 0;
      for (const one of sent) {
        const { cell, reference } = cells.get(one.sending)!;
        const { pieces, variant } = one.sending;
        this.#tally.add(cell, one.out.length === 0);
        if (one.port === undefined && one.out.length === 0 && !one.refused) vanished++;
        const wrong = judgeFromGuest(one, reference);
        const { name, seed } = variant;
        if (wrong !== undefined) this.#tally.differ({ where: cell, name, seed, pieces, ...wrong });
      }
      // Not for a tap: there the kernel may drop frames that vifd has sent.
      const counted = run.dropped - before;
      if (run.seesPort && counted !== vanished)
        this.#tally.differ({
          where: cells.get(left[0])!.cell,
          name: left[0].variant.name,
          seed: left[0].variant.seed,
          what: `${vanished} frames of this batch of ${count} were dropped, and ${counted} were counted`,
        });
      left = left.slice(count);
    }
  }

  async deliver(references: readonly Sized[]): Promise<void> {
    const own = references.filter(({ reference }) => reference.variant.direction === TO_GUEST);
    for (const { port, guest, run } of this.#receivers) {
      const cells = new Map<Delivery, Reference>();
      for (const { reference } of own) {
        if (isFor(reference.variant, guest))
          cells.set({ variant: reference.variant, mark: this.#mark++ }, reference);
      }
      for (const one of await run.deliver([...cells.keys()])) {
        const { variant } = one.delivery;
        const cell = toGuestCell(variant.form, guest, port);
        this.#tally.add(cell, one.received.length === 0);
        const wrong = judgeToGuest(one, cells.get(one.delivery)!, guest, port);
        const { name, seed } = variant;
        if (wrong !== undefined) this.#tally.differ({ where: cell, name, seed, ...wrong });
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { run } of [...this.#senders, ...this.#receivers]) await run[Symbol.asyncDispose]();
  }
}

function cut<T>(values: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, i) =>
    values.slice(i * size, (i + 1) * size),
  );
}
