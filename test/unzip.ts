import { inflateRawSync } from 'node:zlib';
import { expect } from 'vitest';

/** What a reader of ZIP files finds by the central directory at the end. */
export function unzip(archive: Buffer): Map<string, { content: Buffer; mode: number }> {
  const end = archive.length - 22;
  expect(archive.readUInt32LE(end)).toBe(0x06054b50);
  const files = new Map<string, { content: Buffer; mode: number }>();
  let at = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left--) {
    expect(archive.readUInt32LE(at)).toBe(0x02014b50);
    const packed = archive.readUInt32LE(at + 20);
    const nameLength = archive.readUInt16LE(at + 28);
    const local = archive.readUInt32LE(at + 42);
    const start = local + 30 + archive.readUInt16LE(local + 26);
    const name = archive.toString('utf8', at + 46, at + 46 + nameLength);
    const content = inflateRawSync(archive.subarray(start, start + packed));
    expect(content.length).toBe(archive.readUInt32LE(at + 24));
    files.set(name, { content, mode: archive.readUInt16LE(at + 40) });
    at += 46 + nameLength;
  }
  return files;
}
