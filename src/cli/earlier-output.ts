import { closeSync, ftruncateSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { openPrivate, UnusableFile } from '../private-path.ts';

/** What a command writes into a file that the user names, and how an earlier one is recognized. */
export interface OutputKind {
  /** In words that follow "is not": `an earlier report of doctor`. */
  readonly name: string;
  /** The first bytes, as Latin-1. */
  readonly start: string;
  /** What nothing else has among its first 64 kB, as Latin-1. */
  readonly marker: string;
}

const BEGINNING_BYTES = 64 * 1024;

/**
 * Throws UnusableFile where `path` leads to a file with something in it that is not an earlier output
 * of this kind: it may be all that the user has of it. Throws the file system's error as well.
 */
export function refuseOtherFile(path: string, { name, start, marker }: OutputKind): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined || !stats.isFile() || stats.size === 0) return;
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(Math.min(stats.size, BEGINNING_BYTES));
    const text = bytes.toString('latin1', 0, readSync(fd, bytes));
    if (text.startsWith(start) && text.includes(marker)) return;
  } finally {
    closeSync(fd);
  }
  throw new UnusableFile(
    `${path} is already there, and is not ${name}. Move it away, or use another file name`,
  );
}

/**
 * Writes a page for the user alone, in the place of an earlier one of the same command or into a
 * device. Throws UnusableFile, or the file system's error.
 */
export function writePage(path: string, page: string, command: 'doctor' | 'trace'): void {
  const name = command === 'doctor' ? 'an earlier report of doctor' : 'an earlier page of trace';
  const marker = `<title>mcp-latchkey ${command}`;
  refuseOtherFile(path, { name, start: '<!doctype html>\n<html lang="en">\n', marker });
  const { fd, stats } = openPrivate(path, 'output');
  try {
    if (stats.isFile()) ftruncateSync(fd);
    writeFileSync(fd, page);
  } finally {
    closeSync(fd);
  }
}
