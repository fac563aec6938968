import type { Paint } from '../terminal/colour.ts';
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

/** A step in one line: when, between whom, what. */
export function stepText({ ms, from, to, text, isFailure }: Step, paint: Paint): string {
  const [a, b] = [SIDES.indexOf(from), SIDES.indexOf(to)];
  const arrow = a === b ? '·' : a < b ? '→' : '←';
  const lanes = a === b ? SIDES[a] : `${SIDES[Math.min(a, b)]} ${arrow} ${SIDES[Math.max(a, b)]}`;
  const time = `${(ms / 1000).toFixed(3)} s`.padStart(11);
  const mark = isFailure ? '✗' : ' ';
  const line = `${(lanes ?? '').padEnd(15)} ${mark} ${text}`;
  return `${paint('dim', time)}  ${isFailure ? paint('red', line) : line}`;
}
