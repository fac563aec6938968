import { crc32, deflateSync } from 'node:zlib';

/** Pixels to a side. */
const SIZE = 256;
/** Samples to a side of a pixel, to smooth the edges. */
const SAMPLES = 3;

const BACKGROUND = [24, 32, 56];
const KEY = [255, 204, 92];

/** A key on a dark square with round corners, as a PNG (PNG 3rd edition) of 256 × 256 pixels. */
export function iconPng(): Buffer {
  const rows: Buffer[] = [];
  for (let y = 0; y < SIZE; y++) {
    // Filter type 0 (9.2).
    const row = Buffer.alloc(1 + SIZE * 4);
    for (let x = 0; x < SIZE; x++) row.set(pixel(x, y), 1 + x * 4);
    rows.push(row);
  }
  const header = Buffer.from([
    0,
    0,
    SIZE >> 8,
    SIZE & 255,
    0,
    0,
    SIZE >> 8,
    SIZE & 255,
    8,
    6,
    0,
    0,
    0,
  ]);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(Buffer.concat(rows), { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** Red, green, blue and alpha, each from 0 to 255. */
function pixel(x: number, y: number): number[] {
  let [covered, keyed] = [0, 0];
  for (let sample = 0; sample < SAMPLES ** 2; sample++) {
    const sx = (x + ((sample % SAMPLES) + 0.5) / SAMPLES) / SIZE;
    const sy = (y + (Math.floor(sample / SAMPLES) + 0.5) / SAMPLES) / SIZE;
    if (isInSquare(sx, sy)) covered++;
    if (isInKey(sx, sy)) keyed++;
  }
  const share = covered === 0 ? 0 : keyed / covered;
  const mixed = BACKGROUND.map((from, at) => Math.round(from + ((KEY[at] ?? 0) - from) * share));
  return [...mixed, Math.round((255 * covered) / SAMPLES ** 2)];
}

/** All coordinates are from 0 to 1. */
function isInSquare(x: number, y: number): boolean {
  const radius = 0.18;
  const beyond = (at: number) => Math.max(0, radius - at, at - (1 - radius));
  return Math.hypot(beyond(x), beyond(y)) <= radius;
}

function isInKey(x: number, y: number): boolean {
  const fromBow = Math.hypot(x - 0.32, y - 0.5);
  const isBow = fromBow < 0.17 && fromBow > 0.085;
  const isShaft = x > 0.46 && x < 0.84 && Math.abs(y - 0.5) < 0.043;
  const isTooth = y > 0.5 && y < 0.64 && ((x > 0.66 && x < 0.72) || (x > 0.77 && x < 0.84));
  return isBow || isShaft || isTooth;
}
