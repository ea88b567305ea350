import { VifdError } from '../errors.js';

/**
 * Returns a value of a message if it has the type T, and bounds; objects as copies that have the listed fields alone.
 * @throws VifdError ERR_WORKER.
 */
export type Shape<T> = (value: unknown, name: string) => T;

/** A shape for each field. A field of type `undefined` may be missing (JSON has no undefined). */
export type Fields<T> = { readonly [Name in keyof T]-?: Shape<T[Name]> };

/** @param name of the field; @param wanted what it should be. */
export function unfit(name: string, wanted: string): VifdError {
  return new VifdError('ERR_WORKER', `A process of vifd sent a message whose ${name} is not ${wanted}.`);
}

export function text<T extends string = string>(charactersMax: number, pattern?: RegExp): Shape<T> {
  return (value, name) => {
    if (typeof value === 'string' && value.length <= charactersMax && (pattern?.test(value) ?? true))
      return value as T;
    throw unfit(
      name,
      `a text of at most ${charactersMax} characters${pattern === undefined ? '' : ` like ${pattern.source}`}`,
    );
  };
}

export function oneOf<T extends string>(...texts: readonly T[]): Shape<T> {
  return (value, name) => {
    const found = texts.find((one) => one === value);
    if (found === undefined) throw unfit(name, texts.join(' or '));
    return found;
  };
}

export function number(value: unknown, name: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw unfit(name, 'a number');
}

/** A number from 0 to `most`, which may have a fraction. */
export function amount(most: number): Shape<number> {
  return (value, name) => {
    if (typeof value === 'number' && value >= 0 && value <= most) return value;
    throw unfit(name, `a number from 0 to ${most}`);
  };
}

export function whole(most = Number.MAX_SAFE_INTEGER): Shape<number> {
  const inRange = amount(most);
  return (value, name) => {
    if (Number.isInteger(value)) return inRange(value, name);
    throw unfit(name, `a whole number from 0 to ${most}`);
  };
}

export function flag(value: unknown, name: string): boolean {
  if (typeof value === 'boolean') return value;
  throw unfit(name, 'true or false');
}

/** JSON has neither undefined fields nor undefined elements. */
export function maybe<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value, name) => (value === undefined ? undefined : shape(value, name));
}

export function listOf<T>(shape: Shape<T>, most: number): Shape<readonly T[]> {
  return (value, name) => {
    if (Array.isArray(value) && value.length <= most) return value.map((one) => shape(one, `${name}[]`));
    throw unfit(name, `a list of at most ${most}`);
  };
}

export function object<T extends object>(fields: Fields<T>): Shape<T> {
  const shapes = Object.entries(fields) as [string, Shape<unknown>][];
  return (value, name) => {
    const given = fieldsOf(value, name);
    const checked: Record<string, unknown> = {};
    for (const [field, shape] of shapes) {
      const one = shape(given[field], `${name}.${field}`);
      if (one !== undefined) checked[field] = one;
    }
    return checked as T;
  };
}

/** Returns the fields of an object, unchecked. @throws VifdError ERR_WORKER for another value. */
export function fieldsOf(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw unfit(name, 'an object');
}
