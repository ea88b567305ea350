import { constants } from 'node:os';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeStrings,
  encodeMessage,
  encodeStrings,
  encodeWrite,
  errnoName,
  errnoNumber,
  formatPermission,
  HEADER_BYTES,
  type Message,
  MessageDecoder,
  MessageType,
  PAYLOAD_MAX,
  parsePermission,
  storeError,
} from '../../lib/xen/store/wire.js';

const u32 = fc.nat(0xffff_ffff);
const messages = fc.array(
  fc.record({
    type: u32,
    requestId: u32,
    transactionId: u32,
    payload: fc.uint8Array({ maxLength: PAYLOAD_MAX }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 8 },
);

/** Cuts at the given places, as a socket may. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length));
}

describe('messages', () => {
  it('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(), { maxLength: 40 }), (sent: Message[], places) => {
        const decoder = new MessageDecoder();
        const stream = Buffer.concat(sent.map(encodeMessage));
        const received = cut(stream, places).flatMap((chunk) => decoder.push(chunk));
        expect(received).toEqual(sent);
      }),
    );
  });

  it('come out byte by byte too', () => {
    const sent: Message = {
      type: 11,
      requestId: 7,
      transactionId: 3,
      payload: encodeWrite('/a', 'x'.repeat(4000)),
    };
    const decoder = new MessageDecoder();
    const received = [...encodeMessage(sent)].flatMap((byte) => decoder.push(Buffer.of(byte)));
    expect(received).toEqual([sent]);
  });

  it('are laid out as in xs_wire.h', () => {
    const bytes = encodeMessage({
      type: MessageType.READ,
      requestId: 1,
      transactionId: 2,
      payload: encodeStrings('/a'),
    });
    expect(bytes.toString('hex')).toBe('02000000' + '01000000' + '02000000' + '03000000' + '2f6100');
    expect(encodeWrite('/a', 'v').toString('latin1')).toBe('/a\0v');
  });

  it('are refused above 4096 bytes of payload, as soon as the header is there', () => {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(PAYLOAD_MAX + 1, 12);
    const decoder = new MessageDecoder();
    expect(decoder.push(header.subarray(0, 15))).toEqual([]);
    expect(() => decoder.push(header.subarray(15))).toThrow(/4097 bytes/);
    const payload = Buffer.alloc(PAYLOAD_MAX + 1);
    expect(() => encodeMessage({ type: 2, requestId: 1, transactionId: 0, payload })).toThrow(/4097 bytes/);
  });

  it('never take random bytes for more than they are', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), (chunks) => {
        const decoder = new MessageDecoder();
        let read = 0;
        try {
          for (const chunk of chunks) {
            for (const { payload } of decoder.push(Buffer.from(chunk))) read += HEADER_BYTES + payload.length;
          }
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_STORE', errno: 'EPROTO' });
        }
        expect(read).toBeLessThanOrEqual(chunks.reduce((bytes, chunk) => bytes + chunk.length, 0));
      }),
    );
  });
});

describe('strings', () => {
  it('come out as they went in', () => {
    const text = fc.string({ unit: 'grapheme' }).filter((string) => !string.includes('\0'));
    fc.assert(
      fc.property(fc.array(text, { minLength: 1 }), (strings) => {
        expect(decodeStrings(encodeStrings(...strings))).toEqual(strings);
      }),
    );
  });

  it('need their NUL', () => {
    expect(decodeStrings(Buffer.from('a\0b'))).toEqual(['a']);
    expect(decodeStrings(Buffer.alloc(0))).toEqual([]);
  });
});

describe('permissions', () => {
  it.each([
    ['b0', { domid: 0, access: 'both' }],
    ['r5', { domid: 5, access: 'read' }],
    ['n1', { domid: 1, access: 'none' }],
    ['w32752', { domid: 32752, access: 'write' }],
  ] as const)('%s', (text, permission) => {
    expect(parsePermission(text)).toEqual(permission);
    expect(formatPermission(permission)).toBe(text);
  });

  it.each(['', 'r', 'x1', 'r-1', 'r1x', 'R1', 'r65536', 'r123456', 'r 1'])('%j is none', (text) => {
    expect(parsePermission(text)).toBeUndefined();
  });
});

describe('errors', () => {
  it.each([
    ['EAGAIN', MessageType.TRANSACTION_END, /transaction end failed with EAGAIN: other programs/],
    ['ENOSPC', MessageType.TRANSACTION_START, /quota of transactions.*--transaction/],
    ['ENOSPC', MessageType.WRITE, /write of "\/a" failed with ENOSPC: the quota of nodes.*--entry-nb/],
    ['E2BIG', MessageType.WATCH, /quota of watches.*--watch-nb/],
    ['E2BIG', MessageType.WRITE, /4096 bytes/],
    ['EQUOTA', MessageType.MKDIR, /quota-maxentity/],
    ['EACCES', MessageType.READ, /lacks the rights.*xenstore-chmod/],
    ['EIO', MessageType.READ, /look at its log/],
    ['ENOENT', MessageType.GET_PERMS, /failed with ENOENT\.$/],
  ])('say what to do about %s', (errno, type, message) => {
    const path = type === MessageType.TRANSACTION_START || type === MessageType.TRANSACTION_END ? '' : '/a';
    expect(storeError(errno, type, path).message).toMatch(message);
    expect(storeError(errno, type, path, storeError(errno, type, path)).message).toMatch(message);
    expect(storeError(errno, type, path, new Error('gone')).message).toMatch(
      /connection to xenstored was lost/,
    );
  });

  it('have names on the wire and numbers here', () => {
    expect(errnoNumber('ENOENT')).toBe(constants.errno.ENOENT);
    expect(errnoName(constants.errno.EAGAIN)).toBe('EAGAIN');
    // As xenstored's send_error does for an errno without a name.
    expect(errnoName(9999)).toBe('EINVAL');
    expect(errnoNumber('EQUOTA')).toBeUndefined();
  });
});
