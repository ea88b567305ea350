const ENTRY_BYTES = 64;
const SECTION_BYTES = 64;
const SYMBOL_BYTES = 24;

/** `r0 = XDP_PASS; exit` (linux/bpf.h). */
const PASS = Buffer.from('b7000000020000009500000000000000', 'hex');
const NAMES = ['', '.strtab', 'xdp', 'license', '.symtab', 'pass'];
const [STRTAB, XDP, , SYMTAB] = [1, 2, 3, 4];
const [PROGBITS, SYMTAB_TYPE, STRTAB_TYPE] = [1, 2, 3];
const [WRITABLE, EXECUTABLE_TEXT] = [3, 6];

/**
 * An object file (elf.h) with an XDP program that passes every frame, for `ip link set eth0 xdp object FILE section xdp`: the lab has no
 * compiler for BPF.
 */
export function xdpPassObject(): Buffer {
  const strings = Buffer.from(`${NAMES.join('\0')}\0`);
  const bodies = [strings, PASS, Buffer.from('GPL\0'), symbols()];
  const types = [STRTAB_TYPE, PROGBITS, PROGBITS, SYMTAB_TYPE];
  const flags = [0, EXECUTABLE_TEXT, WRITABLE, 0];
  const headers: Buffer[] = [Buffer.alloc(SECTION_BYTES)];
  const padded: Buffer[] = [];
  let offset = ENTRY_BYTES;
  for (const [i, body] of bodies.entries()) {
    const section = i + 1;
    const link = section === SYMTAB ? { link: STRTAB, info: 1, entry: SYMBOL_BYTES } : {};
    headers.push(
      header({ name: nameAt(section), type: types[i], flags: flags[i], offset, size: body.length, ...link }),
    );
    padded.push(Buffer.concat([body, Buffer.alloc(-body.length & 7)]));
    offset += body.length + (-body.length & 7);
  }
  return Buffer.concat([fileHeader(offset, headers.length), ...padded, ...headers]);
}

function nameAt(index: number): number {
  return NAMES.slice(0, index).reduce((sum, name) => sum + name.length + 1, 0);
}

function fileHeader(sectionsAt: number, sections: number): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES);
  // 64 bits, little-endian, version 1; relocatable, EM_BPF.
  bytes.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  bytes.writeUInt16LE(1, 16);
  bytes.writeUInt16LE(247, 18);
  bytes.writeUInt32LE(1, 20);
  bytes.writeBigUInt64LE(BigInt(sectionsAt), 40);
  bytes.writeUInt16LE(ENTRY_BYTES, 52);
  bytes.writeUInt16LE(SECTION_BYTES, 58);
  bytes.writeUInt16LE(sections, 60);
  bytes.writeUInt16LE(STRTAB, 62);
  return bytes;
}

interface Section {
  readonly name: number;
  readonly type: number | undefined;
  readonly flags: number | undefined;
  readonly offset: number;
  readonly size: number;
  readonly link?: number;
  readonly info?: number;
  readonly entry?: number;
}

function header({ name, type = 0, flags = 0, offset, size, link = 0, info = 0, entry = 0 }: Section): Buffer {
  const bytes = Buffer.alloc(SECTION_BYTES);
  bytes.writeUInt32LE(name, 0);
  bytes.writeUInt32LE(type, 4);
  bytes.writeBigUInt64LE(BigInt(flags), 8);
  bytes.writeBigUInt64LE(BigInt(offset), 24);
  bytes.writeBigUInt64LE(BigInt(size), 32);
  bytes.writeUInt32LE(link, 40);
  bytes.writeUInt32LE(info, 44);
  bytes.writeBigUInt64LE(8n, 48);
  bytes.writeBigUInt64LE(BigInt(entry), 56);
  return bytes;
}

/** The null symbol, and the program's: global, a function. */
function symbols(): Buffer {
  const bytes = Buffer.alloc(2 * SYMBOL_BYTES);
  bytes.writeUInt32LE(nameAt(NAMES.indexOf('pass')), SYMBOL_BYTES);
  bytes[SYMBOL_BYTES + 4] = 0x12;
  bytes.writeUInt16LE(XDP, SYMBOL_BYTES + 6);
  bytes.writeBigUInt64LE(BigInt(PASS.length), SYMBOL_BYTES + 16);
  return bytes;
}
