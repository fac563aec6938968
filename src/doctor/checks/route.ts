import { isIP } from 'node:net';
import type { PeerCertificate } from 'node:tls';
import type { Failure } from '../../failures/failure.ts';
import { NETWORK_CAUSES } from '../../failures/network-causes.ts';
import { cleanNetworkText } from '../../failures/network-text.ts';
import { day, nameIn } from '../../http/certificate.ts';
import { namedProxy, withoutBrackets } from '../../http/environment-proxy.ts';
import { type Answer, type DoctorRun, hasConnected, type Probe } from '../doctor-run.ts';
import { count, type Detail, type Finding, hundredths, problemOf } from '../finding.ts';

const FEW_DAYS = 14;
const DAY_MS = 24 * 60 * 60_000;

type Step = 'proxy' | 'dns' | 'tcp' | 'tls';

/** The connection to the gateway: an HTTP proxy or none, the name, TCP, TLS. */
export async function checkRoute(run: DoctorRun): Promise<Finding[]> {
  const [contact, probe] = await Promise.all([run.contact(), run.probe()]);
  const lost = hasConnected(contact) ? undefined : contact.failure;
  const failed = lost && stepOf(lost, probe);
  const judged = (finding: Finding): Finding => {
    if (lost === undefined || finding.name !== failed) return finding;
    const { networkCause = 'connection-closed', detail } = lost;
    const line = detail ?? NETWORK_CAUSES[networkCause].what(run.settings.url.host);
    return { ...finding, status: 'fail', line, problem: problemOf(lost) };
  };
  return [
    proxyFinding(run),
    dnsFinding(run, probe),
    tcpFinding(probe),
    tlsFinding(run, contact, probe),
  ].map(judged);
}

/** Where the connection failed. */
function stepOf({ networkCause }: Failure, probe: Probe): Step {
  if (networkCause?.startsWith('proxy-')) return 'proxy';
  if (networkCause?.startsWith('name-')) return 'dns';
  if (networkCause !== undefined && NETWORK_CAUSES[networkCause].cause === 'tls') return 'tls';
  if ('skipped' in probe) return 'proxy';
  // Whoever connects and gets no further has TLS before him.
  if (probe.tls !== undefined) return 'tls';
  return probe.addresses.length === 0 ? 'dns' : 'tcp';
}

function proxyFinding(run: DoctorRun): Finding {
  const { settings, env } = run;
  const base = { check: 'route', name: 'proxy', status: 'ok' } as const;
  const named = namedProxy(settings.url, env);
  if (named === undefined) {
    return { ...base, line: 'no proxy', details: { used: false } };
  }
  const { variable, url, exemption } = named;
  const host = URL.canParse(url) ? new URL(url).host : 'unknown';
  const used = exemption === undefined;
  const why = exemption === 'NO_PROXY' ? 'NO_PROXY excludes this host' : 'local gateway';
  const line = used ? `via ${host} (from ${variable})` : `no proxy (${why})`;
  return { ...base, line, details: { used, variable, proxy: host } };
}

function dnsFinding({ settings }: DoctorRun, probe: Probe): Finding {
  const base = { check: 'route', name: 'dns' } as const;
  if ('skipped' in probe) return { ...base, status: 'skipped', line: probe.skipped };
  const { hostname } = settings.url;
  const { addresses, lookupMs: ms, lookupCode } = probe;
  if (addresses.includes(withoutBrackets(hostname))) {
    return { ...base, status: 'skipped', line: 'the URL uses an IP address' };
  }
  if (lookupCode !== undefined) {
    return { ...base, status: 'warn', line: `host name not found (${lookupCode})`, ms };
  }
  const [v4, v6] = [4, 6].map((family) => addresses.filter((own) => isIP(own) === family).length);
  const line = `${count(v4 ?? 0, 'IPv4 address', 'es')}, ${count(v6 ?? 0, 'IPv6 address', 'es')}`;
  return { ...base, status: 'ok', line, ms, details: { addresses } };
}

function tcpFinding(probe: Probe): Finding {
  const base = { check: 'route', name: 'tcp' } as const;
  if ('skipped' in probe) return { ...base, status: 'skipped', line: probe.skipped };
  const { reached } = probe;
  if (reached.length === 0) return { ...base, status: 'skipped', line: 'no address' };
  const times = reached.flatMap(({ connectMs }) => connectMs ?? []);
  const line = reached
    .map(({ family, connectMs, code = '' }) =>
      connectMs === undefined ? `IPv${family} failed (${code})` : `connected over IPv${family}`,
    )
    .join(', ');
  return {
    ...base,
    status: times.length === reached.length ? 'ok' : 'warn',
    line,
    ...(times.length === 0 ? {} : { ms: Math.min(...times) }),
    details: Object.fromEntries(
      reached.map(({ family, connectMs, code }): [string, Detail] => [
        `ipv${family}`,
        connectMs === undefined ? (code ?? '') : hundredths(connectMs),
      ]),
    ),
  };
}

function tlsFinding({ env, settings, trace }: DoctorRun, contact: Answer, probe: Probe): Finding {
  const base = { check: 'route', name: 'tls' } as const;
  if (settings.url.protocol === 'http:') {
    return { ...base, status: 'skipped', line: 'the URL starts with http://' };
  }
  const probed = 'skipped' in probe ? undefined : probe.tls;
  const ms = probed === undefined ? {} : { ms: probed.ms };
  const own = trace.connections.find(({ tls }) => tls !== undefined)?.tls;
  const { protocol, certificate } = own ?? probed ?? {};
  if (protocol === undefined || certificate?.subject === undefined) {
    if (probed?.code !== undefined) {
      return { ...base, ...ms, status: 'warn', line: `the TLS handshake failed (${probed.code})` };
    }
    return { ...base, status: 'skipped', line: 'no connection' };
  }
  const daysLeft = Math.floor((Date.parse(certificate.valid_to) - Date.now()) / DAY_MS);
  const details = detailsOf(protocol, certificate, daysLeft);
  const left = `expires in ${count(daysLeft, 'day')}`;
  // Node.js takes any certificate then, for every connection of the process.
  if (env.NODE_TLS_REJECT_UNAUTHORIZED === '0') {
    return {
      ...base,
      ...ms,
      status: 'warn',
      line: 'certificate checks are off (NODE_TLS_REJECT_UNAUTHORIZED=0)',
      details,
      problem: {
        sentence:
          'Certificate checks are off (NODE_TLS_REJECT_UNAUTHORIZED=0), so others on the network could read the API key.',
        remedy:
          "Remove NODE_TLS_REJECT_UNAUTHORIZED from the client's config. If your organization has its own CA, pass its PEM file with --ca FILE.",
      },
    };
  }
  return {
    ...base,
    ...ms,
    status: daysLeft < FEW_DAYS && contact.failure?.networkCause === undefined ? 'warn' : 'ok',
    line: `${protocol.replace('v', ' ')}, certificate for ${details.subject} from ${details.issuer}, ${left}`,
    details,
  };
}

function detailsOf(protocol: string, certificate: PeerCertificate, daysLeft: number) {
  const { subject, issuer, subjectaltname, valid_from, valid_to } = certificate;
  return {
    protocol,
    subject: nameIn(subject),
    issuer: nameIn(issuer),
    names: cleanNetworkText(subjectaltname ?? '', 300),
    validFrom: day(new Date(valid_from)),
    validTo: day(new Date(valid_to)),
    daysLeft,
  };
}
