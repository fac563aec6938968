import { type EnvelopeMembers, putEnvelope } from './envelope.ts';
import type { TraceFile } from './trace-file.ts';

const MS = ',"ms":';
/** How the line of a message begins. */
export const MESSAGE_LINE = {
  fromClient: Buffer.from(`"type":"stdio","to":"proxy"${MS}`),
  toClient: Buffer.from(`"type":"stdio","to":"client"${MS}`),
  fromGateway: Buffer.from(`"type":"received"${MS}`),
} as const;

const HTTP = Buffer.from(',"http":');
const TOOK = Buffer.from(',"tookMs":');
const ATTEMPTS = Buffer.from(',"attempts":');
const BYTES = Buffer.from(',"bytes":');
const AS = Buffer.from(',"as":');

/** What the line of a message says; all numbers as in `records.ts`. */
export interface MessageLine {
  readonly type: (typeof MESSAGE_LINE)[keyof typeof MESSAGE_LINE];
  readonly ms: number;
  readonly envelope: EnvelopeMembers;
  readonly bytes: Buffer;
  /** The line that has these bytes, where they are recorded. */
  readonly as?: number | undefined;
  readonly http?: number | undefined;
  /** Of a reply. */
  readonly took?: { readonly ms: number; readonly attempts: number };
}

/** Writes the line of a message on stdio, or of one from the gateway. Returns its number. */
export function writeMessage(file: TraceFile, line: MessageLine): number {
  const { type, ms, http, envelope, took, bytes, as } = line;
  const lines = file.beginLine(3 * envelope.others.length, as === undefined ? bytes : undefined);
  if (lines === undefined) return file.count;
  lines.own(type);
  lines.ms(ms);
  if (http !== undefined) {
    lines.own(HTTP);
    lines.integer(http);
  }
  putEnvelope(lines, envelope);
  if (took !== undefined) {
    lines.own(TOOK);
    lines.ms(took.ms);
    lines.own(ATTEMPTS);
    lines.integer(took.attempts);
  }
  lines.own(BYTES);
  lines.integer(bytes.length);
  if (as !== undefined) {
    lines.own(AS);
    lines.integer(as);
  }
  file.endLine();
  return file.count;
}
