import { realpathSync } from 'node:fs';
import { homedir, hostname, userInfo } from 'node:os';
import { matcherFor } from '../auth/configured-secrets.ts';
import { misconfiguredError } from '../failures/catalogue.ts';
import { Secrets } from '../failures/secrets.ts';
import { namedProxy, withoutBrackets } from '../http/environment-proxy.ts';
import type { Launch } from '../install/install.ts';
import { readPolicy } from '../settings/policy/policy-file.ts';
import type { ProxySettings } from '../settings/settings.ts';
import { checkAuthorization } from './checks/authorization.ts';
import { checkClient } from './checks/client.ts';
import { checkDiscovery } from './checks/discovery.ts';
import { checkKey } from './checks/key.ts';
import { checkClock, checkMachine, checkPolicy } from './checks/machine.ts';
import { checkProtocol } from './checks/protocol.ts';
import { checkRoute } from './checks/route.ts';
import { checkSignIn } from './checks/sign-in.ts';
import { checkSpeed } from './checks/speed.ts';
import { checkUrl } from './checks/url.ts';
import { clientLogLines } from './client-log.ts';
import { DoctorRun, isWaitedFor } from './doctor-run.ts';
import { type Finding, hundredths, problemIn } from './finding.ts';
import type { TracedRequest } from './http-trace.ts';
import { Redaction } from './redaction.ts';
import { type ConfiguredIn, type GatewayReport, type TimelineEntry, verdictOn } from './report.ts';

type Check = (run: DoctorRun, earlier: readonly Finding[]) => Promise<Finding | readonly Finding[]>;

/** In the order in which they are shown, with what is being done meanwhile. */
const STEPS: readonly (readonly [doing: string, check: Check])[] = [
  ['Checking this computer', checkMachine],
  ['Checking the policy', checkPolicy],
  ['Checking the clock', checkClock],
  ['Checking the URL', checkUrl],
  ['Connecting', checkRoute],
  ['Asking the gateway what it requires', checkDiscovery],
  ['Looking for a sign-in', checkSignIn],
  ['Looking for the key', checkKey],
  ['Trying the key', checkAuthorization],
  ['Starting an MCP session', checkProtocol],
  ['Measuring speed', checkSpeed],
];

/** A gateway to examine, as the proxy would be started for it. */
export interface Target {
  /** Or why the command line is invalid. */
  readonly settings: ProxySettings | { readonly why: string };
  readonly env: NodeJS.ProcessEnv;
  readonly configuredIn?: ConfiguredIn;
  /** How the client starts it. */
  readonly launch?: Launch;
  /** The proxy's own command line in it. */
  readonly words?: readonly string[];
  /** Who has the key, where it is not known here. */
  readonly keyHolder?: string;
}

/** Whose eyes a text is for, and whether what is private is hidden from them: see `Redaction`. */
export interface Redacts {
  /** On the user's own screen. */
  readonly screen: boolean;
  /** In what others get: at least what is hidden on the screen. */
  readonly shared: boolean;
}

/** What was found out about one gateway, for the user and for others. */
export interface Examination {
  readonly screen: GatewayReport;
  readonly shared: GatewayReport;
}

export interface Listener {
  /** What is being done, in words that fit before an ellipsis. */
  onProgress(doing: string): void;
  /** As it is for the screen. */
  onFinding(finding: Finding): void;
}

/**
 * Examines a gateway: runs the checks in their order, each on what the earlier ones have learned.
 * No key is in what it reports; where `redacts`, nothing else that is private either. Takes 15 s at
 * most for a gateway that is dead, unless the settings allow more. Never rejects.
 */
export async function examine(
  target: Target,
  redacts: Redacts,
  { onProgress, onFinding }: Listener,
): Promise<Examination> {
  const { settings, configuredIn, keyHolder } = target;
  if ('why' in settings) return misconfigured(target, settings.why, redacts, onFinding);
  const { url, policy } = settings;
  const env = policy?.environment(target.env) ?? target.env;
  const secrets = new Secrets((keys) => matcherFor(keys, env, settings));
  const own = redactionFor(env, redacts.screen, secrets, url.hostname);
  const shared = redactionFor(env, redacts.shared, secrets, url.hostname);
  const run = new DoctorRun(settings, env, secrets, keyHolder);
  run.begin();
  const findings: Finding[] = [];
  const masked: Finding[] = [];
  const { launch } = target;
  const steps = [...STEPS];
  if (configuredIn !== undefined && launch !== undefined) {
    const { displayUrl } = run;
    const entry = { ...configuredIn, launch, isAsked: keyHolder !== undefined, url: displayUrl };
    steps.push([
      `Starting it as ${configuredIn.client} does`,
      (_, earlier) => checkClient(entry, earlier),
    ]);
  }
  for (const [doing, check] of steps) {
    onProgress(doing);
    for (const finding of [await check(run, findings)].flat()) {
      findings.push(finding);
      if (finding.name === 'dns') {
        const addresses = (finding.details?.addresses ?? []) as string[];
        for (const redaction of [own, shared]) redaction.show(addresses);
      }
      const shown = own.maskAll(inHundredths(finding));
      masked.push(shown);
      onFinding(shown);
    }
  }
  const ms = run.trace.now();
  onProgress('Finishing');
  const timeline = await timelineOf(run);
  await run.close();
  const screen: GatewayReport = {
    url: run.displayUrl,
    ...(configuredIn === undefined ? {} : { configuredIn: own.maskAll(configuredIn) }),
    startedAt: run.startedAt.toISOString(),
    ms: hundredths(ms),
    verdict: verdictOn(url.host, masked),
    findings: masked,
    timeline,
    log: own.maskAll(run.logged.map(({ level, line }) => `${level}: ${line}`)),
    ...clientLogOf(target, own),
  };
  // Whoever gets the report needs the gateway's URL.
  return { screen, shared: { ...shared.maskAll(screen), url: run.displayUrl } };
}

function misconfigured(
  target: Target,
  why: string,
  redacts: Redacts,
  onFinding: Listener['onFinding'],
): Examination {
  const { configuredIn, env } = target;
  const own = redactionFor(env, redacts.screen);
  const finding: Finding = own.maskAll({
    check: 'url',
    name: 'url',
    status: 'fail',
    line: why,
    problem: problemIn(misconfiguredError(why)),
  });
  onFinding(finding);
  const screen: GatewayReport = {
    ...(configuredIn === undefined ? {} : { configuredIn: own.maskAll(configuredIn) }),
    startedAt: new Date().toISOString(),
    ms: 0,
    verdict: verdictOn('', [finding]),
    findings: [finding],
    timeline: [],
    log: [],
    ...clientLogOf(target, own),
  };
  return { screen, shared: redactionFor(env, redacts.shared).maskAll(screen) };
}

function clientLogOf({ configuredIn }: Target, redaction: Redaction) {
  const lines = configuredIn === undefined ? [] : clientLogLines(configuredIn);
  return lines.length === 0 ? {} : { clientLog: redaction.maskAll(lines) };
}

async function timelineOf(run: DoctorRun): Promise<TimelineEntry[]> {
  const [probe, key] = await Promise.all([run.probe(), run.key()]);
  const entries: TimelineEntry[] = [
    ...('skipped' in probe ? [] : probe.steps),
    ...(isWaitedFor(key) ? [{ label: 'finding the key', ...key }] : []),
    ...run.trace.requests.flatMap(timelineEntry),
  ];
  return entries
    .sort((a, b) => a.startMs - b.startMs)
    .map((entry) => {
      const { connectedMs, firstByteMs } = entry;
      return {
        label: entry.label,
        startMs: hundredths(entry.startMs),
        ...(connectedMs === undefined ? {} : { connectedMs: hundredths(connectedMs) }),
        ...(firstByteMs === undefined ? {} : { firstByteMs: hundredths(firstByteMs) }),
        endMs: hundredths(entry.endMs),
      };
    });
}

function timelineEntry(request: TracedRequest): TimelineEntry[] {
  const { label, method, startMs, connection, headMs, endMs } = request;
  // The tunnel through an HTTP proxy is part of the connection.
  if (endMs === undefined || method === 'CONNECT') return [];
  return [
    {
      label: method === 'GET' ? 'metadata' : label,
      startMs,
      ...(connection?.endMs === undefined ? {} : { connectedMs: connection.endMs }),
      ...(headMs === undefined ? {} : { firstByteMs: headMs }),
      endMs,
    },
  ];
}

/** What is private on this computer, and `secrets`. Without `redacts` it is only those. */
export function redactionFor(
  env: NodeJS.ProcessEnv,
  redacts: boolean,
  secrets = new Secrets((keys) => matcherFor(keys, env)),
  gatewayHost = '',
): Redaction {
  const homes = [env.HOME, env.USERPROFILE, homedir()].flatMap((home) =>
    home === undefined ? [] : [home, realPath(home)],
  );
  const proxies = ['http://any', 'https://any'].flatMap((target) => {
    const url = namedProxy(new URL(target), env)?.url;
    return url !== undefined && URL.canParse(url) ? [new URL(url)] : [];
  });
  const redaction = new Redaction({
    gatewayHost: withoutBrackets(gatewayHost),
    secrets,
    keysOnly: !redacts,
    homes: [...new Set(homes)].sort((a, b) => b.length - a.length),
    userName: userName(),
    // One that is a common word is found in too many sentences.
    machines: [hostname()].filter((name) => /[-.\d]/.test(name)),
    proxies: proxies.map((proxy) => proxy.hostname),
  });
  redaction.show(contactHosts());
  return redaction;
}

/** The host names in the contact of the organization's policy: users need it. */
function contactHosts(): readonly string[] {
  const read = readPolicy();
  const contact = read !== undefined && 'policy' in read ? read.policy.contact : undefined;
  return contact?.toLowerCase().match(/[\w-]+(?:\.[\w-]+)+/g) ?? [];
}

/** Empty where the system has none, as in some containers. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return '';
  }
}

function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function inHundredths(finding: Finding): Finding {
  return finding.ms === undefined ? finding : { ...finding, ms: hundredths(finding.ms) };
}
