import type { DoctorRun } from '../doctor-run.ts';
import { count, duration, type Finding, hundredths } from '../finding.ts';

const PINGS = 10;
/** No further ping begins after that, so that a slow gateway is not asked for a minute. */
const MOST_MS = 3_000;
/** A client feels that with every call. */
const SLOW_MS = 1_000;

/** How long a request takes once the connection is there. */
export async function checkSpeed(run: DoctorRun, earlier: readonly Finding[]): Promise<Finding> {
  const base = { check: 'speed', name: 'speed' } as const;
  const pinged = earlier.find(({ name }) => name === 'ping');
  if (pinged?.status !== 'ok') {
    return { ...base, status: 'skipped', line: 'nothing to measure' };
  }
  const { pingMethod } = run;
  const ping = pingMethod === 'ping' ? 'ping' : 'request';
  const firstBytes: number[] = [];
  const totals: number[] = [];
  const start = performance.now();
  for (let n = 0; n < PINGS && (n === 0 || performance.now() - start < MOST_MS); n++) {
    const label = `${pingMethod} ${n + 1}`;
    const answer = await run.ask(run.gateway, pingMethod, {}, label);
    const answeredMs = run.trace.now();
    const { startMs, headMs, endMs, status } = answer.requests.at(-1) ?? {};
    if (startMs === undefined) continue;
    if (answer.reply?.isError === false && status !== 200) {
      // The reply came on the stream of the HTTP+SSE transport, maybe before the POST's answer.
      firstBytes.push(answeredMs - startMs);
      totals.push(answeredMs - startMs);
      continue;
    }
    if (headMs === undefined || endMs === undefined) continue;
    if (status !== 200) continue;
    firstBytes.push(headMs - startMs);
    totals.push(endMs - startMs);
  }
  const ms = performance.now() - start;
  if (totals.length === 0)
    return {
      ...base,
      status: 'warn',
      line: `no ${ping === 'ping' ? ping : 'reply'} came back`,
      ms,
    };
  const p50Ms = median(totals);
  const { connectMs, tlsMs } = await connectionTimes(run);
  const details = {
    ...(connectMs === undefined ? {} : { connectMs: hundredths(connectMs) }),
    ...(tlsMs === undefined ? {} : { tlsMs: hundredths(tlsMs) }),
    firstByteMs: hundredths(median(firstBytes)),
    totalMs: hundredths(p50Ms),
    slowestMs: hundredths(Math.max(...totals)),
    pings: totals.length,
    ...(pingMethod === 'ping' ? {} : { pingedWith: pingMethod }),
  };
  const line = `median ${ping} ${duration(p50Ms)} (${count(totals.length, ping)})`;
  if (p50Ms < SLOW_MS) return { ...base, status: 'ok', line, ms, details };
  const isFar = (connectMs ?? 0) > p50Ms / 4;
  const took = duration(connectMs ?? 0);
  return {
    ...base,
    status: 'warn',
    line,
    ms,
    details,
    problem: {
      sentence: `${run.settings.url.host} is slow: the median ${ping} is ${duration(p50Ms)}. ${
        isFar
          ? `Connecting alone takes ${took}, so the network is slow.`
          : 'The network is fast, so the gateway is slow.'
      }`,
      remedy: isFar
        ? 'Check your VPN and Wi-Fi.'
        : "Send this report to the gateway's operator. Nothing on this computer can fix it.",
    },
  };
}

/** Of the probe, or, through an HTTP proxy, to the gateway. */
async function connectionTimes(run: DoctorRun): Promise<{ connectMs?: number; tlsMs?: number }> {
  const probe = await run.probe();
  if (!('skipped' in probe)) {
    const times = probe.reached.flatMap(({ connectMs }) => connectMs ?? []);
    return {
      ...(times.length === 0 ? {} : { connectMs: Math.min(...times) }),
      ...(probe.tls === undefined ? {} : { tlsMs: probe.tls.ms }),
    };
  }
  const opened = run.trace.connections.findLast(({ endMs }) => endMs !== undefined);
  return opened?.endMs === undefined ? {} : { connectMs: opened.endMs - opened.startMs };
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low = 0, high = 0] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  return (low + high) / 2;
}
