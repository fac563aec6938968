import { release } from 'node:os';
import type { DoctorRun } from '../doctor-run.ts';
import { duration, type Finding } from '../finding.ts';

const SYSTEMS: Readonly<Record<string, string>> = {
  darwin: 'macOS',
  linux: 'Linux',
  win32: 'Windows',
};

/** A clock that is further off makes certificates and sign-ins fail. */
const MOST_SKEW_MS = 2 * 60_000;

/** What runs here. */
export async function checkMachine(): Promise<Finding> {
  const { knownNewerVersion } = await import('../../install/install.ts');
  const newer = knownNewerVersion(__VERSION__);
  const program = `mcp-latchkey ${__VERSION__}${newer ? ` (${newer} is available: update)` : ''}`;
  const system = SYSTEMS[process.platform] ?? process.platform;
  return {
    check: 'machine',
    name: 'machine',
    status: newer === undefined ? 'ok' : 'warn',
    line: `Node.js ${process.versions.node}, ${program}, ${system} ${process.arch}`,
    details: {
      node: process.versions.node,
      program: __VERSION__,
      ...(newer === undefined ? {} : { newerProgram: newer }),
      platform: process.platform,
      release: release(),
      architecture: process.arch,
    },
  };
}

/** What the organization has set for this computer; nothing where it has not. */
export async function checkPolicy({ settings: { policy } }: DoctorRun): Promise<Finding[]> {
  if (policy === undefined) return [];
  const { file, contact } = policy;
  const whom = contact === undefined ? '' : `, contact ${contact}`;
  return [
    {
      check: 'machine',
      name: 'policy',
      status: 'ok',
      line: `managed by your organization${whom}`,
      details: { file, sets: policy.summary() },
    },
  ];
}

/** How far this computer's clock is from the gateway's, by its `Date` (RFC 9110 §6.6.1). */
export async function checkClock(run: DoctorRun): Promise<Finding> {
  const base = { check: 'machine', name: 'clock' } as const;
  const { requests } = await run.contact();
  const dated = requests.find(({ headers }) => !Number.isNaN(Date.parse(headers.date ?? '')));
  if (dated === undefined) {
    const line = 'no response to compare it with';
    return { ...base, status: 'skipped', line };
  }
  const { headers, sentMs = 0, headMs = 0 } = dated;
  const own = run.startedAt.getTime() + (sentMs + headMs) / 2;
  // The date is cut to the second.
  const skewMs = own - (Date.parse(headers.date ?? '') + 500);
  const details = { skewSeconds: Math.round(skewMs / 1000) };
  if (Math.abs(skewMs) <= MOST_SKEW_MS) {
    const seconds = Math.abs(details.skewSeconds);
    const line = seconds <= 1 ? 'in sync with the gateway' : `${seconds} s off`;
    return { ...base, status: 'ok', line, details };
  }
  const off = `${inWords(Math.abs(skewMs))} ${skewMs > 0 ? 'ahead' : 'behind'}`;
  return {
    ...base,
    status: 'warn',
    line: off,
    details,
    problem: {
      sentence: `This computer's clock is ${off}.`,
      remedy: "Turn on automatic date and time in this computer's settings.",
    },
  };
}

function inWords(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 1) return duration(ms);
  if (minutes < 120) return `${Math.round(minutes)} minutes`;
  return minutes < 48 * 60
    ? `${Math.round(minutes / 60)} hours`
    : `${Math.round(minutes / 60 / 24)} days`;
}
