import { expect, it } from 'vitest';
import { Connection } from '../../lib/xen/store/connection.js';
import type { Transport, TransportHandlers } from '../../lib/xen/store/transport.js';
import { encodeMessage, encodeStrings, MessageType, PAYLOAD_MAX } from '../../lib/xen/store/wire.js';

/** Responds to each request with an error. */
class Refusing implements Transport {
  readonly path = '/socket';
  readonly payloadMax = PAYLOAD_MAX;
  readonly #errno: string;
  #handlers: TransportHandlers | undefined;

  constructor(errno: string) {
    this.#errno = errno;
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers;
  }

  send(bytes: Buffer): void {
    const requestId = bytes.readUInt32LE(4);
    const payload = encodeStrings(this.#errno);
    this.#handlers?.onData(encodeMessage({ type: MessageType.ERROR, requestId, transactionId: 0, payload }));
  }

  close(): void {}
}

function outcomeOf(type: number, errno: string): unknown[] {
  const outcome: unknown[] = [];
  const connection = new Connection(new Refusing(errno), { onHeard() {}, onEvent() {}, onLost() {} });
  connection.send({
    type,
    path: '/a',
    payload: encodeStrings('/a'),
    transactionId: 0,
    onLoss: 'fail',
    resolve: (payload) => outcome.push('resolved', payload),
    reject: (error) => outcome.push('rejected', error),
  });
  return outcome;
}

it.each(['READ', 'DIRECTORY', 'DIRECTORY_PART', 'GET_PERMS', 'RM'] as const)(
  'a missing node is an answer to %s, of which no error is made',
  (name) => {
    expect(outcomeOf(MessageType[name], 'ENOENT')).toEqual(['resolved', undefined]);
  },
);

it.each(['WRITE', 'MKDIR', 'SET_PERMS', 'WATCH', 'TRANSACTION_END'] as const)(
  'ENOENT is an error to %s',
  (name) => {
    expect(outcomeOf(MessageType[name], 'ENOENT')).toEqual([
      'rejected',
      expect.objectContaining({ errno: 'ENOENT' }),
    ]);
  },
);

it('any other refusal is an error to READ', () => {
  expect(outcomeOf(MessageType.READ, 'EACCES')).toEqual([
    'rejected',
    expect.objectContaining({ errno: 'EACCES' }),
  ]);
});
