import { lookup } from 'node:dns/promises';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { peekTls, type TlsPeek } from '../http/certificate.ts';
import { withoutBrackets } from '../http/environment-proxy.ts';

/** How far one address of the gateway could be reached. */
interface AddressProbe {
  readonly address: string;
  readonly family: 4 | 6;
  /** Milliseconds; absent when no connection came about. */
  readonly connectMs?: number;
  /** The system's code for why it did not. */
  readonly code?: string;
}

/** A step of the probe, in milliseconds of the clock that it was given. */
interface ProbeStep {
  readonly label: string;
  readonly startMs: number;
  readonly endMs: number;
}

export interface RouteProbe {
  readonly lookupMs: number;
  /** Every address that the name has. */
  readonly addresses: readonly string[];
  /** Why the name could not be looked up. */
  readonly lookupCode?: string;
  /** The first address of each family. */
  readonly reached: readonly AddressProbe[];
  /** The handshake, on the first connection that came about. Whoever the certificate is from. */
  readonly tls?: TlsPeek & { readonly ms: number };
  readonly steps: readonly ProbeStep[];
}

/**
 * Goes the way to `url`'s host step by step, and sends nothing: looks the name up, connects to one
 * address of each family, shakes hands for https. Takes at most `limitMs` for each step, where 0 is
 * no limit. Never rejects.
 */
export async function probeRoute(
  url: URL,
  limitMs: number,
  now: () => number,
): Promise<RouteProbe> {
  const host = withoutBrackets(url.hostname);
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  const steps: ProbeStep[] = [];
  const timed = async <Value>(label: string, run: () => Promise<Value>) => {
    const startMs = now();
    const value = await run();
    const endMs = now();
    steps.push({ label, startMs, endMs });
    return { value, ms: endMs - startMs };
  };

  const isName = isIP(host) === 0;
  const found = await timed('DNS', () => addressesOf(host, limitMs));
  if (!isName) steps.length = 0;
  const { addresses, code: lookupCode } = found.value;
  const firsts = ([4, 6] as const).flatMap((family) => {
    const address = addresses.find((own) => isIP(own) === family);
    return address === undefined ? [] : [{ address, family }];
  });
  const tries = await openEach(
    firsts.map(({ address }) => address),
    port,
    limitMs,
    now,
  );
  const sockets: Socket[] = [];
  const reached = firsts.map(({ address, family }, index): AddressProbe => {
    const { startMs, endMs, outcome } = tries[index] as ConnectionTry;
    steps.push({ label: `TCP, IPv${family}`, startMs, endMs });
    if (typeof outcome === 'string') return { address, family, code: outcome };
    sockets.push(outcome);
    return { address, family, connectMs: endMs - startMs };
  });
  const [socket] = sockets;
  const tls =
    url.protocol === 'https:' && socket !== undefined
      ? await timed('TLS', () => peekTls(host, { socket }, limitMs))
      : undefined;
  for (const own of sockets) own.destroy();
  return {
    lookupMs: found.ms,
    addresses,
    ...(lookupCode === undefined ? {} : { lookupCode }),
    reached,
    ...(tls === undefined ? {} : { tls: { ms: tls.ms, ...tls.value } }),
    steps,
  };
}

async function addressesOf(
  host: string,
  limitMs: number,
): Promise<{ addresses: string[]; code?: string }> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = Object.assign(new Error(), { code: 'ETIMEDOUT' });
    timer = startTimer(limitMs, () => reject(error));
  });
  try {
    const all = await Promise.race([lookup(host, { all: true }), late]);
    return { addresses: [...new Set(all.map(({ address }) => address))] };
  } catch (error) {
    return { addresses: [], code: codeOf(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** How long the other addresses have once one has been reached. */
const GRACE_MS = 1_000;

interface ConnectionTry {
  readonly startMs: number;
  readonly endMs: number;
  /** The connection, or the system's code for why there is none. */
  readonly outcome: Socket | string;
}

/**
 * Connects to each of the addresses, side by side, in at most `limitMs` (0 means no limit); an
 * address that does not answer is given up 1 s after another did. Never rejects.
 */
export async function openEach(
  addresses: readonly string[],
  port: number,
  limitMs: number,
  now: () => number,
): Promise<ConnectionTry[]> {
  const giveUp = new AbortController();
  let grace: NodeJS.Timeout | undefined;
  const limit = startTimer(limitMs, () => giveUp.abort());
  const tries = await Promise.all(
    addresses.map(async (address) => {
      const startMs = now();
      const outcome = await open(address, port, giveUp.signal);
      if (typeof outcome !== 'string') grace ??= setTimeout(() => giveUp.abort(), GRACE_MS);
      return { startMs, endMs: now(), outcome };
    }),
  );
  clearTimeout(limit);
  clearTimeout(grace);
  return tries;
}

function open(host: string, port: number, giveUp: AbortSignal): Promise<Socket | string> {
  return new Promise((resolve) => {
    const socket = connectTcp({ host, port });
    const stop = () => {
      socket.destroy();
      resolve('ETIMEDOUT');
    };
    giveUp.addEventListener('abort', stop);
    socket.once('connect', () => {
      giveUp.removeEventListener('abort', stop);
      resolve(socket);
    });
    // Stays, for an error after the connection.
    socket.on('error', (error) => resolve(codeOf(error)));
  });
}

function startTimer(limitMs: number, giveUp: () => void): NodeJS.Timeout | undefined {
  return limitMs === 0 ? undefined : setTimeout(giveUp, limitMs);
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'failed';
}
