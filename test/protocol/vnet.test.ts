import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as vnet from '../../lib/protocol/vnet.js';

/** The fields of `struct virtio_net_hdr_v1`, at the offsets that linux/virtio_net.h gives them. */
interface Fields {
  readonly flags: number;
  readonly gsoType: number;
  readonly headerBytes: number;
  readonly gsoBytes: number;
  readonly csumStart: number;
  readonly csumOffset: number;
}

/** Reads the header at byte `at`, without the code under test. */
function fieldsAt(bytes: Uint8Array, at: number): Fields & { buffers: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 12);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    headerBytes: view.getUint16(2, true),
    gsoBytes: view.getUint16(4, true),
    csumStart: view.getUint16(6, true),
    csumOffset: view.getUint16(8, true),
    buffers: view.getUint16(10, true),
  };
}

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const anyFields = fc.record({
  flags: u8,
  gsoType: u8,
  headerBytes: u16,
  gsoBytes: u16,
  csumStart: u16,
  csumOffset: u16,
});
const anyMemory = fc.uint8Array({ minLength: 64, maxLength: 64 });
/** Where a frame may lie: at a multiple of 2, behind its header. */
const anyOffset = fc.integer({ min: 6, max: 26 }).map((half) => half * 2);

function wordsOf({ flags, gsoType, headerBytes, gsoBytes, csumStart, csumOffset }: Fields) {
  const first = vnet.vnetFirst(flags, gsoType, headerBytes);
  return [first, vnet.vnetSecond(gsoBytes, csumStart), csumOffset] as const;
}

/** Fails unless `bytes` has `fields` in front of `offset`, and is unchanged in all other places. */
function expectWritten(bytes: Uint8Array, before: Uint8Array, offset: number, fields: Fields): void {
  expect(fieldsAt(bytes, offset - 12)).toEqual({ ...fields, buffers: 0 });
  expect(bytes.subarray(0, offset - 12)).toEqual(before.subarray(0, offset - 12));
  expect(bytes.subarray(offset)).toEqual(before.subarray(offset));
}

describe('the vnet header', () => {
  it('has 12 bytes', () => {
    expect(vnet.VNET_HEADER_BYTES).toBe(12);
  });

  it('is written in front of a frame, aligned or half-aligned, and nothing else is', () => {
    fc.assert(
      fc.property(anyMemory, anyOffset, anyFields, (before, offset, fields) => {
        const bytes = before.slice();
        vnet.writeVnet(new Uint32Array(bytes.buffer), offset, ...wordsOf(fields));
        expectWritten(bytes, before, offset, fields);
      }),
    );
  });

  it('is written at any byte, and nothing else is', () => {
    fc.assert(
      fc.property(anyMemory, fc.integer({ min: 12, max: 64 }), anyFields, (before, offset, fields) => {
        const bytes = before.slice();
        vnet.writeVnetBytes(bytes, offset - 12, ...wordsOf(fields));
        expectWritten(bytes, before, offset, fields);
      }),
    );
  });

  it('is read in front of a frame, aligned or half-aligned, as it is read from bytes', () => {
    fc.assert(
      fc.property(anyMemory, anyOffset, (bytes, offset) => {
        const words = new Uint32Array(bytes.slice().buffer);
        const view = new DataView(bytes.buffer, bytes.byteOffset);
        for (const index of [0, 1, 2]) {
          const expected = view.getInt32(offset - 12 + index * 4, true);
          expect(vnet.vnetWord(words, offset, index) | 0).toBe(expected);
          expect(vnet.vnetWordOfBytes(bytes, offset - 12, index) | 0).toBe(expected);
        }
      }),
    );
  });

  it('has the fields of virtio_net_hdr', () => {
    fc.assert(
      fc.property(anyMemory, anyOffset, (bytes, offset) => {
        const words = new Uint32Array(bytes.slice().buffer);
        const [first, second, third] = [0, 1, 2].map((index) => vnet.vnetWord(words, offset, index));
        const expected = fieldsAt(bytes, offset - 12);
        expect({
          flags: vnet.vnetFlags(first),
          gsoType: vnet.vnetGsoType(first),
          headerBytes: vnet.vnetHeaderBytes(first),
          gsoBytes: vnet.vnetGsoBytes(second),
          csumStart: vnet.vnetCsumStart(second),
          csumOffset: vnet.vnetCsumOffset(third),
          buffers: expected.buffers,
        }).toEqual(expected);
        expect(vnet.vnetGsoKind(first)).toBe(expected.gsoType & 0x7f);
        expect(vnet.vnetChecksum(second, third)).toBe(expected.csumStart | (expected.csumOffset << 16));
      }),
    );
  });
});
