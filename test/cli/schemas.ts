import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';

export type SchemaName = 'check' | 'list' | 'run-event' | 'show';

/** As far as these schemas use the vocabulary. */
interface Node {
  readonly $ref?: string;
  readonly type?: string;
  readonly additionalProperties?: boolean;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly items?: Node;
  readonly oneOf?: readonly Node[];
  readonly $defs?: Readonly<Record<string, Node>>;
  readonly const?: unknown;
}

/** A schema of docs/schemas, which validates outputs and keeps account of the properties that occurred in them. */
export class OutputSchema {
  readonly root: Node;
  readonly #valid: ReturnType<Ajv2020['compile']>;
  readonly #seen = new Set<Node>();

  constructor(name: SchemaName) {
    this.root = JSON.parse(readFileSync(`docs/schemas/${name}.json`, 'utf8'));
    // Strict: a word that the schema language does not have is an error of the schema.
    this.#valid = new Ajv2020({ strict: true, strictRequired: false }).compile(this.root);
  }

  /** Returns what is wrong with a line that a program printed; empty if nothing is. */
  faultsOf(line: string): string[] {
    const value: unknown = JSON.parse(line);
    if (!this.#valid(value)) return (this.#valid.errors ?? []).map((e) => `${e.instancePath} ${e.message}`);
    this.#mark(this.root, value);
    return [];
  }

  /** The properties, by pointer, that no line had so far. */
  get unseen(): string[] {
    return this.objects().flatMap(([pointer, { properties = {} }]) =>
      Object.entries(properties)
        .filter(([, node]) => !this.#seen.has(node))
        .map(([name]) => `${pointer}/${name}`),
    );
  }

  /** Every schema of an object, with its pointer. */
  objects(node: Node = this.root, pointer = ''): [string, Node][] {
    const { properties = {}, items, oneOf = [], $defs = {} } = node;
    return [
      ...(node.properties === undefined ? [] : [[pointer, node] as [string, Node]]),
      ...Object.entries(properties).flatMap(([name, at]) => this.objects(at, `${pointer}/${name}`)),
      ...(items === undefined ? [] : this.objects(items, `${pointer}[]`)),
      ...oneOf.flatMap((at) => this.objects(at, `${pointer}(${at.properties?.event.const})`)),
      ...Object.entries($defs).flatMap(([name, at]) => this.objects(at, `${pointer}#${name}`)),
    ];
  }

  #mark(node: Node, value: unknown): void {
    if (node.$ref !== undefined) this.#mark(this.root.$defs![node.$ref.replace('#/$defs/', '')], value);
    if (Array.isArray(value)) {
      for (const one of value) if (node.items !== undefined) this.#mark(node.items, one);
      return;
    }
    if (typeof value !== 'object' || value === null) return;
    const { event } = value as { event?: unknown };
    for (const branch of node.oneOf ?? [])
      if (branch.properties?.event.const === event) this.#mark(branch, value);
    for (const [name, one] of Object.entries(value)) {
      const property = node.properties?.[name];
      if (property === undefined) continue;
      this.#seen.add(property);
      this.#mark(property, one);
    }
  }
}

/** Returns the value with a property more in each of its objects, one at a time. */
export function extended(value: unknown): unknown[] {
  if (Array.isArray(value))
    return value.flatMap((one, i) => extended(one).map((other) => value.with(i, other)));
  if (typeof value !== 'object' || value === null) return [];
  const inside = Object.entries(value).flatMap(([name, one]) =>
    extended(one).map((other) => ({ ...value, [name]: other })),
  );
  return [{ ...value, internal: 1 }, ...inside];
}
