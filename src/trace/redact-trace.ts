import type { TraceRun } from './read-trace.ts';
import type { TraceLine } from './records.ts';

/**
 * The run without what was said in it: of messages and bodies only names and lengths are left. `mask`
 * masks every other text.
 */
export function redactedRun(run: TraceRun, mask: (text: string) => string): TraceLine[] {
  return run.map((line) => {
    const members = Object.entries(line).map(([name, value]) => [
      name,
      name === 'message' || name === 'head' || name === 'responseBody'
        ? lengthsOf(value)
        : masked(value, mask),
    ]);
    return Object.fromEntries(members) as TraceLine;
  });
}

/** Members of a message that say what it is about, and are needed to understand the session. */
const KEPT = new Set(['jsonrpc', 'id', 'method', 'code']);

function lengthsOf(value: unknown, depth = 0): unknown {
  if (typeof value === 'string') return `[${value.length} characters]`;
  if (typeof value === 'number') return '[number]';
  if (typeof value !== 'object' || value === null) return value;
  if (depth > 20) return '[more]';
  if (Array.isArray(value)) return value.map((own) => lengthsOf(own, depth + 1));
  const members = Object.entries(value).map(([name, own]) => {
    const isKept = depth < 2 && KEPT.has(name) && typeof own !== 'object';
    return [name, isKept ? own : lengthsOf(own, depth + 1)];
  });
  return Object.fromEntries(members);
}

function masked(value: unknown, mask: (text: string) => string): unknown {
  if (typeof value === 'string') return mask(value);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, own]) => [name, masked(own, mask)]));
}
