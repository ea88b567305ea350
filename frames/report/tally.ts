import type { Direction } from '../forms/forms.js';

/** Where a frame is counted. `how`: the payload mode, or the guest; `through`: the cut, or the port. */
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
  /** Frames of which nothing came out. */
  dropped: number;
}

/** A frame that did not become what it should. */
export interface Difference {
  readonly where: Cell | 'references';
  /** The form and what was drawn, and the seed that it was drawn from. */
  readonly name: string;
  readonly seed: number;
  /** Bytes of each slot; undefined: nothing was cut. */
  readonly pieces?: readonly number[];
  readonly what: string;
  /** The first frame that differs, of those that were expected and of those that came; undefined: there is none. */
  readonly expected?: Uint8Array;
  readonly got?: Uint8Array;
}

/** So many differences of a kind are remembered with their bytes; the rest is counted. */
const REMEMBERED_OF_A_KIND = 3;

export class Tally {
  readonly counts = new Map<string, Count>();
  readonly differences: Difference[] = [];
  frames = 0;
  differing = 0;
  readonly #kinds = new Map<string, number>();

  /** Makes a cell that must not stay empty. */
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

/** Differences of one kind are mostly one fault: they have all but sizes, cuts and tags in common. */
export function kindOf({ where, name, what }: Difference): string {
  const [headers, , protocol] = name.split(' | ');
  const place = where === 'references' ? where : `${where.direction} | ${where.how}`;
  return [place, headers, protocol, what.replace(/\d+/g, 'N')].join(' | ');
}
