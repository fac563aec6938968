import { type RpcError, toRpcError } from '../failures/catalogue.ts';
import type { Failure } from '../failures/failure.ts';
import type { Mark } from '../terminal/printer.ts';

/** The checks, in the order in which they run. */
export const CHECKS = [
  'machine',
  'url',
  'route',
  'discovery',
  'sign-in',
  'key',
  'authorization',
  'protocol',
  'speed',
  'client',
] as const;

export type CheckName = (typeof CHECKS)[number];

/** `warn`: it works, but there is something to know. */
export type Status = Mark;

/** What is wrong, and the one thing to do about it. */
export interface Problem {
  /** A whole sentence. */
  readonly sentence: string;
  /** Whole sentences. */
  readonly remedy: string;
  /** As in `data` of the error that the proxy answers with; absent where the proxy has no such error. */
  readonly reason?: string;
  readonly cause?: string;
}

export type Detail = string | number | boolean | readonly string[];

/** What a check found out about one thing. */
export interface Finding {
  readonly check: CheckName;
  /** The thing, in one word; no two findings share one. */
  readonly name: string;
  readonly status: Status;
  /** Without a full stop; for `skipped`, why. */
  readonly line: string;
  /** Milliseconds that it took to find out; absent where nothing was waited for. */
  readonly ms?: number;
  readonly details?: Readonly<Record<string, Detail>>;
  /** With `fail`, and with a `warn` that should be fixed. */
  readonly problem?: Problem;
}

/** What the proxy would answer a client with. */
export function problemOf(failure: Failure): Problem {
  return problemIn(toRpcError(failure));
}

/** An error of the catalogue as a problem: `message` is the sentence and, after it, the remedy. */
export function problemIn({ message, data }: RpcError): Problem {
  const { hint, reason, cause } = data as { hint: string; reason: string; cause?: string };
  return {
    sentence: message.slice(0, message.length - hint.length).trimEnd(),
    remedy: hint,
    reason,
    ...(cause === undefined ? {} : { cause }),
  };
}

/** `3 tools`, `1 tool`. */
export function count(number: number, thing: string, plural = 's'): string {
  return `${number} ${thing}${number === 1 ? '' : plural}`;
}

/** `0.4 ms`, `12 ms`, `1.25 s`. */
export function duration(ms: number): string {
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** Milliseconds to two decimals. */
export const hundredths = (ms: number) => Math.round(ms * 100) / 100;
