import type { Direction } from '../forms/forms.js';

/** The cell of the table that counts a frame. `how`: the payload mode, or the guest; `through`: the kind of cut, or the port. */
export interface Cell {
  readonly direction: Direction;
  readonly headers: string;
  readonly tags: string;
  readonly protocol: string;
  readonly how: string;
  readonly through: string;
}

export interface Count extends Cell {
  frames: number;
  differences: number;
  /** Frames without a result. */
  dropped: number;
}

/** A frame whose result differs from the expected one. */
export interface Difference {
  readonly where: Cell | 'references';
  /** The form and the drawn values. */
  readonly name: string;
  readonly seed: number;
  /** Bytes of each slot; undefined for frames to the guest. */
  readonly pieces?: readonly number[];
  readonly what: string;
  /** The first frame that differs, among the expected ones and among those that came; undefined where there is none. */
  readonly expected?: Uint8Array;
  readonly got?: Uint8Array;
}

/** How many differences of a kind are recorded with their bytes; the others are only counted. */
const REMEMBERED_OF_A_KIND = 3;

export class Tally {
  readonly counts = new Map<string, Count>();
  readonly differences: Difference[] = [];
  frames = 0;
  differing = 0;
  readonly #kinds = new Map<string, number>();

  /** Adds a cell that must not stay empty. */
  expect(cell: Cell): void {
    this.#count(cell);
  }

  add(cell: Cell, isDropped: boolean): void {
    const count = this.#count(cell);
    count.frames++;
    if (isDropped) count.dropped++;
    this.frames++;
  }

  differ(difference: Difference): void {
    if (difference.where !== 'references') this.#count(difference.where).differences++;
    this.differing++;
    const kind = kindOf(difference);
    const known = this.#kinds.get(kind) ?? 0;
    this.#kinds.set(kind, known + 1);
    if (known < REMEMBERED_OF_A_KIND) this.differences.push(difference);
  }

  get empty(): Count[] {
    return [...this.counts.values()].filter(({ frames }) => frames === 0);
  }

  #count(cell: Cell): Count {
    const key = Object.values(cell).join('|');
    const known = this.counts.get(key);
    if (known !== undefined) return known;
    const made = { ...cell, frames: 0, differences: 0, dropped: 0 };
    this.counts.set(key, made);
    return made;
  }
}

/** @returns the kind of a difference. Differences of a kind mostly have one cause: they have all but sizes, cuts and tags in common. */
export function kindOf({ where, name, what }: Difference): string {
  const [headers, , protocol] = name.split(' | ');
  const place = where === 'references' ? where : `${where.direction} | ${where.how}`;
  return [place, headers, protocol, what.replace(/\d+/g, 'N')].join(' | ');
}
