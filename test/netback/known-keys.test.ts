/** Which keys of a vif's nodes are known, and which are read again. */
import { beforeEach, describe, expect, it } from 'vitest';
import { VifdError } from '../../lib/errors.js';
import { KnownKeys, type StoreReader } from '../../lib/netback/vif/known-keys.js';

/** A store of three keys in two folders that records each request. */
class Recorded implements StoreReader {
  readonly values = new Map([
    ['/a/x', '1'],
    ['/a/y', '2'],
    ['/b/z', '3'],
  ]);
  readonly asked: string[] = [];
  calls = 0;
  fails = false;

  read(path: string): Promise<string | undefined> {
    this.calls++;
    return this.#answer(path);
  }

  readAll(paths: readonly string[]): Promise<readonly (string | undefined)[]> {
    this.calls++;
    return Promise.all(paths.map((path) => this.#answer(path)));
  }

  async list(folder: string): Promise<string[]> {
    this.asked.push(`list ${folder}`);
    const paths = [...this.values.keys()].filter((path) => path.startsWith(`${folder}/`));
    return paths.map((path) => path.slice(folder.length + 1));
  }

  async #answer(path: string): Promise<string | undefined> {
    this.asked.push(path);
    if (this.fails) throw new VifdError('ERR_STORE', 'EIO', { errno: 'EIO' });
    return this.values.get(path);
  }

  /** @returns the requests since the last call. */
  take(): string[] {
    return this.asked.splice(0);
  }
}

let store: Recorded;
let known: KnownKeys;
beforeEach(() => {
  store = new Recorded();
  known = new KnownKeys(store);
});

describe('keys that are read together', () => {
  it('cost one call a folder, and one request a key in the order of the paths', async () => {
    expect(await known.readAll(['/a/y', '/b/z', '/a/x', '/a/absent'])).toEqual(['2', '3', '1', undefined]);
    expect(store.take()).toEqual(['/a/y', '/a/x', '/a/absent', '/b/z']);
    expect(store.calls).toBe(2);
  });

  it('are asked for only if they are unknown, and known from then on, one by one too', async () => {
    await known.read('/a/x');
    expect(await known.readAll(['/a/x', '/a/y'])).toEqual(['1', '2']);
    expect(await known.read('/a/y')).toBe('2');
    expect(await known.readAll(['/a/y', '/a/x'])).toEqual(['2', '1']);
    expect(store.take()).toEqual(['/a/x', '/a/y']);
  });

  it('are asked for again where a change was reported, even during the call', async () => {
    const reading = known.readAll(['/a/x', '/a/y']);
    known.forget('/a/y');
    expect(await reading).toEqual(['1', '2']);
    store.take();
    store.values.set('/a/y', '5');
    expect(await known.readAll(['/a/x', '/a/y'])).toEqual(['1', '5']);
    expect(store.take()).toEqual(['/a/y']);
  });

  it('cost no request where a listing has shown that they are absent', async () => {
    known.expect('/a', ['x', 'absent', 'too']);
    expect(await known.readAll(['/a/x', '/a/absent', '/a/too', '/b/z'])).toEqual([
      '1',
      undefined,
      undefined,
      '3',
    ]);
    expect(store.take().sort()).toEqual(['/a/x', '/b/z', 'list /a']);
  });

  it('are all unknown after an error', async () => {
    store.fails = true;
    await expect(known.readAll(['/a/x', '/a/y'])).rejects.toThrow('EIO');
    store.fails = false;
    store.take();
    expect(await known.readAll(['/a/x', '/a/y'])).toEqual(['1', '2']);
    expect(store.take()).toEqual(['/a/x', '/a/y']);
  });

  it('may be none', async () => {
    expect(await known.readAll([])).toEqual([]);
    expect(store.calls).toBe(0);
  });
});
