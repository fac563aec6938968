import { crc32, deflateRawSync } from 'node:zlib';

/** A file for an archive: its path in it, with slashes. */
export interface ZipEntry {
  readonly path: string;
  readonly content: Buffer;
  readonly isExecutable?: boolean;
}

/** Version 2.0, with deflate (APPNOTE.TXT 6.3.10, 4.4.3); made on UNIX, which says what the modes are. */
const VERSION = 20;
const MADE_ON_UNIX = 3 << 8;
const UTF_8 = 1 << 11;
const DEFLATE = 8;
/** 1980-01-01, so that the same files make the same archive. */
const DATE = (1 << 5) | 1;

/** A ZIP archive (APPNOTE.TXT 6.3.10, without ZIP64: up to 65,535 files and 4 GiB). */
export function zip(entries: readonly ZipEntry[]): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { path, content, isExecutable } of entries) {
    const name = Buffer.from(path);
    const data = deflateRawSync(content, { level: 9 });
    const common = [
      ...[short(VERSION), short(UTF_8), short(DEFLATE), short(0), short(DATE)],
      ...[long(crc32(content)), long(data.length), long(content.length)],
      ...[short(name.length), short(0)],
    ];
    const local = Buffer.concat([long(0x04034b50), ...common, name, data]);
    const mode = 0o100000 | (isExecutable ? 0o755 : 0o644);
    directory.push(
      ...[long(0x02014b50), short(MADE_ON_UNIX | VERSION), ...common],
      // No comment, disk 0, no internal attributes.
      ...[short(0), short(0), short(0), long(mode * 0x10000), long(offset), name],
    );
    locals.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const count = short(entries.length);
  return Buffer.concat([
    ...[...locals, central, long(0x06054b50), short(0), short(0), count, count],
    ...[long(central.length), long(offset), short(0)],
  ]);
}

/** In two bytes, the lower one first. */
function short(value: number): Buffer {
  const field = Buffer.alloc(2);
  field.writeUInt16LE(value);
  return field;
}

/** In four bytes, the lowest one first. */
function long(value: number): Buffer {
  const field = Buffer.alloc(4);
  field.writeUInt32LE(value);
  return field;
}
