import { CTRL_RING_SIZE } from '../../lib/protocol/control.js';
import {
  RING_HEADER_WORDS,
  RING_REQ_PROD,
  RING_RSP_PROD,
  RX_FLAG_EXTRA_INFO,
  RX_SLOT_WORDS,
} from '../../lib/protocol/netif.js';
import type { ModelXen } from '../../lib/testing/model/index.js';
import { type EventChannel, PAGE_SIZE, type SharedPages } from '../../lib/xen/seam.js';
import type { Recorded } from './recorded.js';

const BUFFERS = 128;
const CTRL_SLOT_WORDS = 4;

/** A guest in the state when its backend ended: its memory, under the references and ports that it had. */
export class RecordedGuest {
  readonly #memory = new Map<string, SharedPages>();
  readonly #channels = new Map<number, EventChannel>();
  readonly #buffers: SharedPages;
  readonly #recorded: Recorded;
  /** By queue: the buffers that were posted now, by the index of their request. */
  readonly #posted: Map<number, number>[];
  #nextBuffer = 0;

  /** @param xen of the guest's domain, on a model whose grant table and ports are not in use. */
  constructor(recorded: Recorded, xen: ModelXen) {
    this.#recorded = recorded;
    const { grants, queues, control } = recorded.state;
    for (const [file, refs] of Object.entries(grants)) {
      const pages = xen.shares.allocate(refs.length);
      pages.bytes.set(recorded.bytes(file));
      this.#memory.set(file, pages);
    }
    grantAt(xen, this.#memory, grants);
    const ports = queues.flatMap(({ txPort, rxPort }) => [txPort, rxPort]);
    this.#bindAt(xen, new Set(control === undefined ? ports : [...ports, control.port]));
    this.#buffers = xen.shares.allocate(BUFFERS);
    this.#posted = queues.map(() => new Map());
  }

  ring(file: string): Uint32Array {
    const pages = this.#memory.get(file);
    if (pages === undefined) throw new Error(`there is no ${file}`);
    return pages.u32;
  }

  /** Posts empty buffers and notifies. */
  post(queue: number, count: number): void {
    const ring = this.ring(`q${queue}-rx.ring`);
    for (let i = 0; i < count; i++) {
      const index = ring[RING_REQ_PROD]!;
      const page = this.#nextBuffer++;
      this.#posted[queue]!.set(index, page);
      const ref = this.#buffers.grant(page, 0, 'write');
      ring.set([index & 0xffff, ref], RING_HEADER_WORDS + (index & 255) * RX_SLOT_WORDS);
      ring[RING_REQ_PROD] = index + 1;
    }
    this.#channels.get(this.#recorded.state.queues[queue]!.rxPort)!.notify();
  }

  /** The texts of frames that were delivered since the recording: into the buffers posted now, and into those of before. */
  texts(queue: number): string[] {
    const ring = this.ring(`q${queue}-rx.ring`);
    const texts: string[] = [];
    const end = ring[RING_RSP_PROD]!;
    for (
      let index = this.#recorded.state.queues[queue]!.rx.rspProd;
      index !== end;
      index = (index + 1) >>> 0
    ) {
      const at = RING_HEADER_WORDS + (index & 255) * RX_SLOT_WORDS;
      const [first, second] = [ring[at]!, ring[at + 1]!];
      const page = this.#posted[queue]!.get(index);
      const bytes = page === undefined ? this.#before(queue, index) : pageOf(this.#buffers, page);
      const offset = first >>> 16;
      const frame = Buffer.from(bytes.subarray(offset, offset + (second >>> 16)));
      texts.push(/to the guest, frame \d+/.exec(frame.toString('latin1'))?.[0] ?? '');
      if ((second & RX_FLAG_EXTRA_INFO) === 0) continue;
      do index = (index + 1) >>> 0;
      while (((ring[RING_HEADER_WORDS + (index & 255) * RX_SLOT_WORDS]! >>> 8) & 1) !== 0);
    }
    return texts;
  }

  /** Responses of the control ring since the recording. */
  controlAnswers(): { type: number; status: number; data: number }[] {
    const { control } = this.#recorded.state;
    if (control === undefined) return [];
    const ring = this.ring('control.ring');
    const answers = [];
    for (let i = control.rspProd; i !== ring[RING_RSP_PROD]; i = (i + 1) >>> 0) {
      const at = RING_HEADER_WORDS + (i & (CTRL_RING_SIZE - 1)) * CTRL_SLOT_WORDS;
      const [head, status, data] = ring.subarray(at);
      answers.push({ type: head! >>> 16, status: status!, data: data! });
    }
    return answers;
  }

  /** The page of a request that stood in the ring when it was recorded. */
  #before(queue: number, index: number): Uint8Array {
    const recorded = this.#recorded.bytes(`q${queue}-rx.ring`);
    const words = new Uint32Array(recorded.buffer, recorded.byteOffset, PAGE_SIZE / 4);
    const ref = words[RING_HEADER_WORDS + (index & 255) * RX_SLOT_WORDS + 1]!;
    const page = this.#recorded.state.grants['data.pages']!.indexOf(ref);
    return pageOf(this.#memory.get('data.pages')!, page);
  }

  /** The model returns each port once before it returns one again. */
  #bindAt(xen: ModelXen, wanted: ReadonlySet<number>): void {
    while (this.#channels.size < wanted.size) {
      const channel = xen.events.bindUnbound(0, () => channel.unmask());
      if (wanted.has(channel.port)) this.#channels.set(channel.port, channel);
      else channel.close();
    }
  }
}

function pageOf(pages: SharedPages, page: number): Uint8Array {
  return pages.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
}

/**
 * Grants pages under given references. The model returns each reference once before it returns one again, and then in the order in which they
 * ended: so the first round shows the order of the second.
 */
function grantAt(
  xen: ModelXen,
  memory: ReadonlyMap<string, SharedPages>,
  grants: Readonly<Record<string, readonly number[]>>,
): void {
  const places = new Map<number, { pages: SharedPages; page: number }>();
  for (const [file, refs] of Object.entries(grants))
    refs.forEach((ref, page) => void places.set(ref, { pages: memory.get(file)!, page }));
  const spare = xen.shares.allocate(1);
  const order: number[] = [];
  for (;;) {
    const ref = spare.grant(0, 0, 'read');
    spare.end(ref);
    if (ref === order[0]) break;
    order.push(ref);
  }
  // The first reference has gone to the end.
  for (const next of [...order.slice(1), order[0]!]) {
    const place = places.get(next);
    const { pages, page } = place ?? { pages: spare, page: 0 };
    const ref = pages.grant(page, 0, 'write');
    if (ref !== next) throw new Error(`reference ${ref} came where ${next} did before`);
    if (place === undefined) pages.end(ref);
  }
}
