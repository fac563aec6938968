import { CATALOGUE } from '../failures/catalogue.ts';
import type { Reason } from '../failures/failure.ts';
import type { CheckName, Finding, Problem } from './finding.ts';

/** One conclusion from all findings. */
export interface Verdict {
  readonly healthy: boolean;
  /** A whole sentence. */
  readonly sentence: string;
  /** What to do first; absent where there is nothing to do. */
  readonly remedy?: string;
  /** The finding that it is drawn from. */
  readonly finding?: string;
  readonly check?: CheckName;
  readonly reason?: string;
  /** Of the error with this reason; absent where the proxy has no such error. */
  readonly code?: number;
  readonly cause?: string;
}

/** Something that took its time. All in milliseconds since the examination began. */
export interface TimelineEntry {
  readonly label: string;
  readonly startMs: number;
  /** When the connection that it needed was open, where one was opened for it. */
  readonly connectedMs?: number;
  /** When the first of the answer was there. */
  readonly firstByteMs?: number;
  readonly endMs: number;
}

/** Whose config names the gateway. */
export interface ConfiguredIn {
  readonly client: string;
  readonly entry: string;
  readonly file: string;
}

/** What was found out about one gateway. */
export interface GatewayReport {
  /** Without its query; absent where the config has none that can be used. */
  readonly url?: string;
  readonly configuredIn?: ConfiguredIn;
  /** ISO 8601, in UTC. */
  readonly startedAt: string;
  readonly ms: number;
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  readonly timeline: readonly TimelineEntry[];
  /** What the proxy's parts have logged. */
  readonly log: readonly string[];
  /** The last lines of the client's own log for the entry; absent where there is none. */
  readonly clientLog?: readonly string[];
}

/** What `--json` prints; see docs/doctor.md. */
export interface Report {
  /** Of this format. */
  readonly version: 2;
  readonly program: string;
  readonly redacted: boolean;
  readonly healthy: boolean;
  readonly gateways: readonly GatewayReport[];
  /** Clients' configs that could not be read, with why. */
  readonly unread: readonly {
    readonly client: string;
    readonly file: string;
    readonly why: string;
    /** Whether this program is named in it, so that the client does not start it. */
    readonly namesProgram?: boolean;
  }[];
}

/**
 * The verdict: the first failure; without one, the first thing that works and should be fixed;
 * without that either, that everything works.
 */
export function verdictOn(host: string, findings: readonly Finding[]): Verdict {
  const broken = findings.find(({ status }) => status === 'fail');
  const worst = broken ?? findings.find(({ problem }) => problem !== undefined);
  if (worst?.problem !== undefined) return judged(worst, worst.problem, broken === undefined);
  const lineOf = (name: string) => findings.find((finding) => finding.name === name);
  if (lineOf('authorization')?.status === 'skipped') {
    const sentence = `${host} is reachable. The other checks need the key.`;
    return { healthy: true, sentence };
  }
  const [tools = ''] = lineOf('tools')?.line.split(':', 1) ?? [];
  const speed = lineOf('speed');
  const pings = speed?.status === 'ok' ? `, ${speed.line.replace(/ \(.*/, '')}` : '';
  return { healthy: true, sentence: `Everything works. ${host} offers ${tools}${pings}.` };
}

function judged({ name, check }: Finding, problem: Problem, works: boolean): Verdict {
  const { sentence, ...rest } = problem;
  const shown = works ? `It works, with one problem. ${sentence}` : sentence;
  return { healthy: false, sentence: shown, ...rest, ...codeOf(rest.reason), finding: name, check };
}

function codeOf(reason: string | undefined): { code?: number } {
  if (reason === undefined || !Object.hasOwn(CATALOGUE, reason)) return {};
  return { code: CATALOGUE[reason as Reason].code };
}
