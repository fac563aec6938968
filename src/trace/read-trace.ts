import { existsSync } from 'node:fs';
import { readPrivate } from '../private-path.ts';
import type { HttpLine, TraceLine } from './records.ts';

/** The largest file that is read. */
const MOST_BYTES = 512 * 1024 * 1024;

/** One process's part of a trace, oldest line first. */
export type TraceRun = readonly TraceLine[];

/**
 * The runs in a trace file and in what was rotated out of it (FILE.1), the newest last. A line that is
 * not one of a trace is left out. Throws UnusableFile when a file cannot be read.
 */
export function readTrace(file: string): TraceRun[] {
  const older = `${file}.1`;
  const files = existsSync(older) ? [older, file] : [file];
  const runs = new Map<number, TraceLine[]>();
  for (const path of files) {
    const text = readPrivate(path, 'trusted', () => {}, MOST_BYTES).toString('utf8');
    for (const row of text.split('\n')) {
      const line = lineIn(row);
      if (line === undefined) continue;
      // A process may have the id of an earlier one.
      const known = line.type === 'run' ? undefined : runs.get(line.run);
      if (known !== undefined) known.push(line);
      else {
        runs.delete(line.run);
        runs.set(line.run, [line]);
      }
    }
  }
  return [...runs.values()].map(withHeaders);
}

/** Each line with its headers, also where they are those of a line before it. */
function withHeaders(run: TraceRun): TraceRun {
  const lines = new Map<unknown, HttpLine>();
  return run.map((line) => {
    if (line.type !== 'http') return line;
    lines.set(line.n, line);
    const { requestHeadersAs, responseHeadersAs, ...own } = line;
    const requestHeaders = own.requestHeaders ?? lines.get(requestHeadersAs)?.requestHeaders;
    const responseHeaders = own.responseHeaders ?? lines.get(responseHeadersAs)?.responseHeaders;
    return {
      ...own,
      ...(requestHeaders !== undefined && { requestHeaders }),
      ...(responseHeaders !== undefined && { responseHeaders }),
    };
  });
}

function lineIn(row: string): TraceLine | undefined {
  try {
    const line: unknown = JSON.parse(row);
    if (typeof line !== 'object' || line === null) return undefined;
    const { n, run, ms, type } = line as Record<string, unknown>;
    const isLine = [n, run, ms].every(Number.isFinite) && typeof type === 'string';
    return isLine ? (line as TraceLine) : undefined;
  } catch {
    return undefined;
  }
}
