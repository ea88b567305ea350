import { describe, expect, it } from 'vitest';
import { VifdError } from '../lib/errors.js';
import { AsyncUndoStack, UndoStack } from '../lib/undo.js';

function caught(run: () => void): unknown {
  try {
    run();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

/** @returns a step that records its name in `ran`, and then throws `error` if there is one. */
function noting(ran: string[], name: string, error?: unknown): () => void {
  return () => {
    ran.push(name);
    if (error !== undefined) throw error;
  };
}

describe('UndoStack', () => {
  it('runs the last step first, each once', () => {
    const ran: string[] = [];
    const undo = new UndoStack();
    undo.defer(noting(ran, 'first'));
    const resource = { [Symbol.dispose]: noting(ran, 'second') };
    expect(undo.use(resource)).toBe(resource);
    undo.defer(noting(ran, 'third'));
    undo[Symbol.dispose]();
    expect(ran).toEqual(['third', 'second', 'first']);
    undo[Symbol.dispose]();
    expect(ran).toHaveLength(3);
  });

  it('runs a step that another step adds', () => {
    const ran: string[] = [];
    const undo = new UndoStack();
    undo.defer(noting(ran, 'first'));
    undo.defer(() => undo.defer(noting(ran, 'added')));
    undo[Symbol.dispose]();
    expect(ran).toEqual(['added', 'first']);
  });

  it('runs the other steps when one throws, and throws that error as it is', () => {
    const ran: string[] = [];
    const error = new Error('no');
    const undo = new UndoStack();
    undo.defer(noting(ran, 'first'));
    undo.defer(noting(ran, 'second', error));
    undo.defer(noting(ran, 'third'));
    expect(caught(() => undo[Symbol.dispose]())).toBe(error);
    expect(ran).toEqual(['third', 'second', 'first']);
  });

  it('joins several errors, in the order in which they were thrown', () => {
    const [one, two] = [new Error('one'), 'two'];
    const undo = new UndoStack();
    undo.defer(noting([], '', two));
    undo.defer(noting([], '', one));
    const error = caught(() => undo[Symbol.dispose]());
    expect(error).toBeInstanceOf(AggregateError);
    expect(error).toMatchObject({ message: 'one; then two', errors: [one, two] });
  });

  it('gives several errors the code of the first', () => {
    const one = new VifdError('ERR_TAP', 'one', { errno: 'EIO', vif: 'vif7.0' });
    const two = new VifdError('ERR_JOURNAL', 'two');
    const undo = new UndoStack();
    undo.defer(noting([], '', two));
    undo.defer(noting([], '', one));
    const error = caught(() => undo[Symbol.dispose]());
    expect(error).toBeInstanceOf(VifdError);
    const expected = { code: 'ERR_TAP', errno: 'EIO', vif: 'vif7.0', message: 'one; then two' };
    expect(error).toMatchObject({ ...expected, cause: { errors: [one, two] } });
  });

  it('passes faults of the host to its listener and throws the rest', () => {
    const faults: unknown[] = [];
    const [fault, mistake] = [new VifdError('ERR_HOST', 'later'), new VifdError('ERR_STATE', 'no')];
    const undo = new UndoStack((error) => faults.push(error));
    undo.defer(noting([], '', fault));
    undo.defer(noting([], '', mistake));
    undo.defer(noting([], '', fault));
    expect(caught(() => undo[Symbol.dispose]())).toBe(mistake);
    expect(faults).toEqual([fault, fault]);
  });

  it('throws a fault of the host if there is no listener', () => {
    const fault = new VifdError('ERR_HOST', 'later');
    const undo = new UndoStack();
    undo.defer(noting([], '', fault));
    expect(caught(() => undo[Symbol.dispose]())).toBe(fault);
  });

  it('keeps the error that it is run after, in front of those of its steps', () => {
    const ran: string[] = [];
    const failure = new VifdError('ERR_XEN_GRANT', 'failure');
    const undo = new UndoStack();
    undo.defer(noting(ran, 'step'));
    expect(undo.after(failure)).toBe(failure);
    expect(ran).toEqual(['step']);
    undo.defer(noting(ran, 'step', new VifdError('ERR_STATE', 'step')));
    expect(undo.after(failure)).toMatchObject({ code: 'ERR_XEN_GRANT', message: 'failure; then step' });
  });
});

describe('AsyncUndoStack', () => {
  it('awaits each step before the next one, the last first', async () => {
    const ran: string[] = [];
    const undo = new AsyncUndoStack();
    undo.defer(noting(ran, 'first'));
    const later = async () => {
      ran.push('second begins');
      await new Promise(setImmediate);
      ran.push('second ends');
    };
    const asynchronous = { [Symbol.asyncDispose]: later };
    expect(undo.use(asynchronous)).toBe(asynchronous);
    undo.use({ [Symbol.dispose]: noting(ran, 'third') });
    await undo[Symbol.asyncDispose]();
    expect(ran).toEqual(['third', 'second begins', 'second ends', 'first']);
    await undo[Symbol.asyncDispose]();
    expect(ran).toHaveLength(4);
  });

  it('runs the other steps when one throws or rejects, and joins the errors', async () => {
    const ran: string[] = [];
    const [thrown, rejected] = [new Error('thrown'), new Error('rejected')];
    const undo = new AsyncUndoStack();
    undo.defer(noting(ran, 'first'));
    undo.defer(noting(ran, 'second', thrown));
    undo.defer(() => Promise.reject(rejected));
    await expect(undo[Symbol.asyncDispose]()).rejects.toMatchObject({ errors: [rejected, thrown] });
    expect(ran).toEqual(['second', 'first']);
  });

  it('keeps the error that it is run after, in front of those of its steps', async () => {
    const failure = new VifdError('ERR_XEN_UNAVAILABLE', 'failure');
    const undo = new AsyncUndoStack();
    expect(await undo.after(failure)).toBe(failure);
    undo.defer(() => Promise.reject(new Error('step')));
    const joined = { code: 'ERR_XEN_UNAVAILABLE', message: 'failure; then step' };
    expect(await undo.after(failure)).toMatchObject(joined);
  });
});
