import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openRotated } from '../src/rotated-file.ts';

const ROTATION = { limitBytes: 10, files: 3 };

describe('a file that is rotated', () => {
  const newFolder = () => {
    const folder = mkdtempSync(join(tmpdir(), 'latchkey-rotated-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return folder;
  };
  const append = (file: string, text: string) => {
    const fd = openRotated(file, text.length, ROTATION);
    writeSync(fd, text);
    closeSync(fd);
  };

  it('is left as it is while another process rotates it, but not for long', () => {
    const file = join(newFolder(), 'log');
    append(file, '0123456789');
    writeFileSync(`${file}.lock`, '');
    append(file, 'more');
    expect(readFileSync(file, 'utf8')).toBe('0123456789more');
    // That process has died.
    const longAgo = Date.now() / 1000 - 60;
    utimesSync(`${file}.lock`, longAgo, longAgo);
    append(file, '-');
    append(file, 'new');
    expect(readFileSync(file, 'utf8')).toBe('new');
    expect(readFileSync(`${file}.1`, 'utf8')).toBe('0123456789more-');
    expect(existsSync(`${file}.lock`)).toBe(false);
  });

  it('becomes an older one before it gets too large, and the oldest is dropped', () => {
    const folder = newFolder();
    const file = join(folder, 'log');
    for (const text of ['one-1', 'one-2', 'two', 'two-more', 'three-----', 'four'])
      append(file, text);
    expect(readdirSync(folder).sort()).toEqual(['log', 'log.1', 'log.2']);
    expect(readFileSync(file, 'utf8')).toBe('four');
    expect(readFileSync(`${file}.1`, 'utf8')).toBe('three-----');
    expect(readFileSync(`${file}.2`, 'utf8')).toBe('two-more');
  });

  it('replaces no older file that cannot be moved', () => {
    const folder = newFolder();
    const file = join(folder, 'log');
    for (const text of ['0123456789', 'abcdefghij']) append(file, text);
    // A folder that is not empty stands for a file that another program has open on Windows.
    mkdirSync(join(`${file}.2`, 'x'), { recursive: true });
    append(file, 'more');
    expect(readFileSync(file, 'utf8')).toBe('abcdefghijmore');
    expect(readFileSync(`${file}.1`, 'utf8')).toBe('0123456789');
    rmSync(`${file}.2`, { recursive: true });
    append(file, 'new');
    expect(readFileSync(`${file}.2`, 'utf8')).toBe('0123456789');
    expect(readFileSync(`${file}.1`, 'utf8')).toBe('abcdefghijmore');
  });

  it('takes one text that is too large on its own', () => {
    const file = join(newFolder(), 'log');
    append(file, 'much more than ten bytes');
    expect(statSync(file).size).toBe(24);
  });

  it.skipIf(process.platform === 'win32')('is for the user alone, also after a rotation', () => {
    const file = join(newFolder(), 'log');
    for (const text of ['0123456789', 'next']) append(file, text);
    for (const path of [file, `${file}.1`]) expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it.skipIf(process.platform === 'win32')('is rotated where a link leads to', () => {
    const folder = newFolder();
    const [link, file] = [join(folder, 'link'), join(folder, 'file')];
    writeFileSync(file, '0123456789');
    symlinkSync(file, link);
    append(link, 'next');
    expect(readdirSync(folder).sort()).toEqual(['file', 'file.1', 'link']);
    expect(readFileSync(file, 'utf8')).toBe('next');
  });
});
