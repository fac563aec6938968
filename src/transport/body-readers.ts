import { ByteCollector } from '../http/byte-collector.ts';
import type { Headers } from '../http/request.ts';
import type { Response } from '../jsonrpc/message.ts';
import { dataOf } from './error-words.ts';
import type { ExchangeOutcome } from './exchange-outcome.ts';
import { whatItIs } from './response-parts.ts';

const MOST_BYTES = 64 * 1024;

/** Takes a body's chunks as they come. */
export interface BodyReader {
  push(chunk: Buffer): void;
  /** The body is whole. */
  end(): ExchangeOutcome;
  /** The body broke off. Undefined unless it has brought what was due all the same. */
  salvage(): ExchangeOutcome | undefined;
}

/** Ends an exchange before its body does. */
type Finish = (end: ExchangeOutcome) => void;

/** Reads 64 KiB of what comes with an error status; `replyIn` finds the reply to the request. */
export function refusalReader(
  { status, headers }: { status: number; headers: Headers },
  replyIn: (bytes: Buffer) => Response | undefined,
  finish: Finish,
): BodyReader {
  const body = new ByteCollector({ limitBytes: MOST_BYTES });
  const end = (isWhole: boolean): ExchangeOutcome => {
    const bytes = body.take();
    const events = dataOf(bytes.toString('utf8'));
    // Whatever its type is said to be: plain text often holds JSON here.
    const reply = [bytes, ...events.map((data) => Buffer.from(data))]
      .map(replyIn)
      .find((found) => found !== undefined);
    const isCut = !isWhole && reply === undefined && /^\s*[[{]/.test(bytes.toString('latin1'));
    return {
      ...{ kind: 'http-error', status, headers, body: bytes },
      ...(reply === undefined ? {} : { reply }),
      ...(isCut ? { isReplyCut: true } : {}),
    };
  };
  return {
    push: (chunk) => {
      if (!body.push(chunk)) finish(end(false));
    },
    end: () => end(true),
    salvage: () => end(false),
  };
}

/** Reads 64 KiB of a body that is not MCP, to say what it is. */
export function otherReader(status: number, type: string, finish: Finish): BodyReader {
  const body = new ByteCollector({ limitBytes: MOST_BYTES });
  const end = (): ExchangeOutcome => ({
    kind: 'not-mcp',
    status,
    what: whatItIs(type, body.take()),
  });
  return {
    push: (chunk) => {
      if (!body.push(chunk)) finish(end());
    },
    end,
    salvage: () => undefined,
  };
}

/** Reads 64 KiB of what comes where no reply is due. */
export function discardingReader(finish: Finish): BodyReader {
  const end = (): ExchangeOutcome => ({ kind: 'accepted', isEventStream: false });
  let length = 0;
  return {
    push: (chunk) => {
      length += chunk.length;
      if (length > MOST_BYTES) finish(end());
    },
    end,
    salvage: end,
  };
}
