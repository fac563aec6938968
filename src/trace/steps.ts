import { cleanNetworkText } from '../failures/network-text.ts';
import type { TraceRun } from './read-trace.ts';
import type { HttpLine, TraceLine } from './records.ts';

export type Side = 'client' | 'proxy' | 'gateway';

/** One thing that happened, to be shown in one row. Texts are clean. */
export interface Step {
  readonly ms: number;
  readonly from: Side;
  /** The same as `from` for what is not sent. */
  readonly to: Side;
  readonly text: string;
  readonly isFailure: boolean;
  /** The call that it belongs to, by number; undefined for what belongs to none. */
  readonly call: number | undefined;
  /** Of the first and of the last step of a call. */
  readonly edge: 'begin' | 'end' | undefined;
  /** The line, with the message of another line where it has the same. */
  readonly line: unknown;
}

/** A request of the client's, with all that was done for it. */
export interface Call {
  readonly number: number;
  readonly method: string;
  readonly name: string;
  /** Undefined without a reply. */
  tookMs: number | undefined;
  isFailure: boolean;
}

export interface Session {
  /** In the order in which they happened. */
  readonly steps: readonly Step[];
  readonly calls: readonly Call[];
}

/** What a run says, as steps. Never throws: a trace may have been made by anyone. */
export function stepsOf(run: TraceRun): Session {
  const messages = new Map(
    run.map((line) => [line.n, line as { message?: unknown; head?: unknown }]),
  );
  const complete = (line: TraceLine) => {
    const same = 'as' in line && line.as !== undefined ? messages.get(line.as) : undefined;
    const { message, head } = same ?? {};
    return {
      ...line,
      ...(message !== undefined && { message }),
      ...(head !== undefined && { head }),
    };
  };
  const loose = run.flatMap((line) => {
    const whole = complete(line);
    return loosely(line).map((step) => ({ ...step, line, whole }));
  });
  loose.sort((a, b) => a.ms - b.ms || a.line.n - b.line.n);
  const calls: Call[] = [];
  const open = new Map<string, Call>();
  const byHttp = new Map<number, Call | undefined>();
  const steps = loose.map(({ line, whole, begins, ends, ...step }): Step => {
    const id = 'id' in line && line.id !== undefined ? String(line.id) : undefined;
    let call = id === undefined ? undefined : open.get(id);
    if (begins && id !== undefined) {
      const { method, name } = line as { method?: unknown; name?: unknown };
      const words = { method: clean(method), name: clean(name) };
      call = { number: calls.length + 1, ...words, tookMs: undefined, isFailure: false };
      calls.push(call);
      open.set(id, call);
    } else if (line.type === 'http') {
      call = byHttp.has(line.http) ? byHttp.get(line.http) : line.attempt ? call : undefined;
      byHttp.set(line.http, call);
    } else if (line.type === 'received') call = byHttp.get(line.http);
    const edge = begins ? 'begin' : ends && call !== undefined ? 'end' : undefined;
    if (call !== undefined && edge === 'end') {
      open.delete(id as string);
      const { tookMs } = line as { tookMs?: unknown };
      if (typeof tookMs === 'number') call.tookMs = tookMs;
    }
    if (call !== undefined && step.isFailure) call.isFailure = true;
    return { ...step, call: call?.number, edge, line: whole };
  });
  return { steps, calls };
}

interface Loose {
  readonly ms: number;
  readonly from: Side;
  readonly to: Side;
  readonly text: string;
  readonly isFailure: boolean;
  readonly begins?: boolean;
  readonly ends?: boolean;
}

function loosely(line: TraceLine): Loose[] {
  const { ms } = line;
  const at = (from: Side, to: Side, text: string, isFailure = false): Loose => ({
    ...{ ms, from, to, isFailure },
    text: clean(text, 300),
  });
  switch (line.type) {
    case 'run':
      return [
        at(
          'proxy',
          'proxy',
          `mcp-latchkey ${line.version} on Node.js ${line.node} starts for ${line.gateway}`,
        ),
      ];
    case 'stdio': {
      const isError = line.kind === 'error' || line.kind === 'unusable';
      if (line.to === 'proxy') {
        const what = line.kind === 'unusable' ? `not a message: ${line.why}` : named(line);
        const own = at('client', 'proxy', `${what}, ${line.bytes} bytes`, isError);
        return [{ ...own, begins: line.kind === 'request' }];
      }
      const isReply = line.kind === 'error' || line.kind === 'result';
      const took = line.tookMs === undefined ? '' : ` after ${duration(line.tookMs)}`;
      const by = line.attempts === 0 ? ', from mcp-latchkey itself' : '';
      const what = isReply ? `${line.kind} for ${named(line)}${took}${by}` : named(line);
      return [{ ...at('proxy', 'client', `${what}, ${line.bytes} bytes`, isError), ends: isReply }];
    }
    case 'cancelled':
      return [{ ...at('client', 'client', `cancelled: ${named(line)}`), ends: true }];
    case 'connection': {
      const { connection, host, error, tls, readyMs = ms } = line;
      const how =
        error ?? `open after ${duration(readyMs - ms)}${tls === undefined ? '' : `, ${tls}`}`;
      return [
        at('proxy', 'proxy', `connection ${connection} to ${host}: ${how}`, error !== undefined),
      ];
    }
    case 'http':
      return httpSteps(line, at);
    case 'received':
      return [at('gateway', 'proxy', `${named(line)}, ${line.bytes} bytes`, line.kind === 'error')];
    case 'log':
      return [at('proxy', 'proxy', `log, ${line.level}: ${line.text}`, line.level === 'error')];
    case 'dropped':
      return [at('proxy', 'proxy', `${line.lines} lines are missing here: the disk was too slow`)];
    default:
      return [];
  }
}

type At = (from: Side, to: Side, text: string, isFailure?: boolean) => Loose;

function httpSteps(line: HttpLine, at: At): Loose[] {
  const { ms, verb, path, attempt, session, status, outcome, error, headMs, endMs } = line;
  const notes = [
    ...(attempt !== undefined && attempt > 1 ? [`attempt ${attempt}`] : []),
    ...(line.isTranslated ? ['translated'] : []),
    ...(session === undefined ? [] : [`session ${session}`]),
  ];
  const what = line.kind === undefined ? path : named(line);
  const sent = at('proxy', 'gateway', [`${verb} ${what}`, ...notes].join(', '));
  const backMs = headMs ?? endMs;
  if (typeof backMs !== 'number') return [sent];
  const isFailure =
    (status !== undefined && status >= 400 && verb === 'POST') ||
    ['transport-error', 'not-mcp', 'too-large', 'bug', 'refused'].includes(outcome ?? '');
  const came = status === undefined ? 'no answer' : `HTTP ${status}`;
  const why = error === undefined ? '' : `, ${error}`;
  const text = `${came} for ${verb} ${what} after ${duration(backMs - ms)}${why}`;
  return [sent, { ...at('gateway', 'proxy', text, isFailure), ms: backMs }];
}

function named({
  method,
  name,
  id,
  kind,
}: {
  method?: string;
  name?: string;
  id?: string;
  kind?: string;
}) {
  const what = [method ?? kind ?? '', ...(name === undefined ? [] : [name])].join(' ');
  return id === undefined ? what : `${what} (id ${id})`;
}

function clean(text: unknown, most = 200): string {
  return text === undefined ? '' : cleanNetworkText(String(text), most);
}

/** Milliseconds in words. */
function duration(ms: number): string {
  return ms >= 10_000
    ? `${(ms / 1000).toFixed(1)} s`
    : `${ms >= 100 ? Math.round(ms) : Math.round(ms * 10) / 10} ms`;
}
