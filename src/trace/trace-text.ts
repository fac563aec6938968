import type { Paint } from '../terminal/colour.ts';
import { wrapText } from '../terminal/wrap-text.ts';
import type { Call, Session, Side, Step } from './steps.ts';

/** Which calls are shown; everything where nothing is set. */
export interface Filter {
  readonly method?: string | undefined;
  readonly tool?: string | undefined;
  readonly failed?: boolean | undefined;
  readonly slowerThanMs?: number | undefined;
}

/** The steps of the calls that fit. With `failed`, also failures that belong to no call. */
export function filtered({ steps, calls }: Session, filter: Filter): readonly Step[] {
  const { method, tool, failed = false, slowerThanMs } = filter;
  if (method === undefined && tool === undefined && !failed && slowerThanMs === undefined) {
    return steps;
  }
  const fits = (call: Call) =>
    (method === undefined || call.method === method) &&
    (tool === undefined || call.name === tool) &&
    (!failed || call.isFailure) &&
    (slowerThanMs === undefined || (call.tookMs ?? Number.POSITIVE_INFINITY) > slowerThanMs);
  const numbers = new Set(calls.filter(fits).map(({ number }) => number));
  const isLoose =
    failed && method === undefined && tool === undefined && slowerThanMs === undefined;
  return steps.filter(({ call, isFailure }) =>
    call === undefined ? isLoose && isFailure : numbers.has(call),
  );
}

const SIDES: readonly Side[] = ['client', 'proxy', 'gateway'];

/** Where the text begins, after the time, the lanes and the mark. */
const INDENT = 31;
/** In a narrower terminal, too little of each line would be left. */
const LEAST_COLUMNS = 2 * INDENT;

/**
 * A step in one line: when, between whom, what. For a terminal of so many `columns`, the text is wrapped
 * and stays in its column; undefined: it stays whole.
 */
export function stepText(
  { ms, from, to, text, isFailure }: Step,
  paint: Paint,
  columns: number | undefined,
): string {
  const [a, b] = [SIDES.indexOf(from), SIDES.indexOf(to)];
  const arrow = a === b ? '·' : a < b ? '→' : '←';
  const lanes = a === b ? SIDES[a] : `${SIDES[Math.min(a, b)]} ${arrow} ${SIDES[Math.max(a, b)]}`;
  const time = `${(ms / 1000).toFixed(3)} s`.padStart(11);
  const mark = isFailure ? '✗' : ' ';
  const isWhole = columns === undefined || columns < LEAST_COLUMNS;
  const words = isWhole ? text : wrapText(text, columns, INDENT).trimStart();
  const line = `${(lanes ?? '').padEnd(15)} ${mark} ${words}`;
  return `${paint('dim', time)}  ${isFailure ? paint('red', line) : line}`;
}
