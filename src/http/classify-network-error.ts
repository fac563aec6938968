import type { NetworkCause } from '../failures/network-causes.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { isProxyFailure, type ProxyFailure } from './http-proxy.ts';

/** What went wrong, and its exact words where there is more to say than the cause itself. */
export interface Diagnosis {
  readonly networkCause: NetworkCause;
  readonly detail?: string;
}

const CAUSE_BY_CODE: Readonly<Record<string, NetworkCause>> = {
  ENOTFOUND: 'name-not-found',
  EAI_AGAIN: 'name-lookup-failed',
  EAI_FAIL: 'name-lookup-failed',
  ECONNREFUSED: 'connection-refused',
  EHOSTUNREACH: 'no-route',
  ENETUNREACH: 'no-route',
  EADDRNOTAVAIL: 'no-route',
  EACCES: 'no-route',
  CERT_HAS_EXPIRED: 'certificate-expired',
  CERT_NOT_YET_VALID: 'certificate-expired',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'certificate-self-signed',
  ERR_TLS_CERT_ALTNAME_INVALID: 'certificate-wrong-host',
  HOSTNAME_MISMATCH: 'certificate-wrong-host',
  SELF_SIGNED_CERT_IN_CHAIN: 'certificate-unknown-issuer',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'certificate-unknown-issuer',
  UNABLE_TO_GET_ISSUER_CERT: 'certificate-unknown-issuer',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'certificate-unknown-issuer',
  ERR_SSL_WRONG_VERSION_NUMBER: 'not-tls',
  ERR_SSL_PACKET_LENGTH_TOO_LONG: 'not-tls',
  // No protocol of those that were offered (RFC 7301 §3.2).
  ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: 'http2-only',
};

const CAUSE_BY_PROXY_CODE: Readonly<Record<ProxyFailure['code'], NetworkCause>> = {
  ERR_PROXY_INVALID: 'proxy-invalid',
  ERR_PROXY_UNREACHABLE: 'proxy-unreachable',
  ERR_PROXY_UNTRUSTED: 'proxy-untrusted',
  ERR_PROXY_REFUSED: 'proxy-refused',
  ERR_PROXY_FAILED: 'proxy-failed',
  ERR_PROXY_HUNG_UP: 'proxy-refused',
};

/** The settings that an error is judged by. */
interface Settings {
  /** The endpoint. */
  readonly gateway: string;
  readonly connectTimeoutMs: number;
  readonly timeoutMs: number;
}

/** Says what an error of the connection means. */
export function classifyNetworkError(error: Error, settings: Settings): Diagnosis {
  if (isProxyFailure(error)) return diagnoseProxy(error);
  // Happy eyeballs (RFC 8305) collects one error an address.
  const first: Error = error instanceof AggregateError ? error.errors[0] : error;
  const {
    code = '',
    address,
    proxy,
  } = first as NodeJS.ErrnoException & {
    address?: string;
    proxy?: string;
  };
  const { connectTimeoutMs, timeoutMs } = settings;
  const { host, hostname: own } = new URL(settings.gateway);
  // The system's own comes sooner, where it has a shorter patience.
  if (code === 'ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') {
    const to = proxy === undefined ? `to ${host}` : `through the HTTP proxy ${proxy}`;
    const after = connectTimeoutMs === 0 ? '' : ` in ${seconds(connectTimeoutMs)}`;
    const detail = `no connection ${to}${after}`;
    return { networkCause: 'connect-timeout', detail };
  }
  if (code === 'ERR_ANSWER_TIMEOUT') {
    const detail = `connected, but no reply for ${seconds(timeoutMs)}`;
    return { networkCause: 'answer-timeout', detail };
  }
  if (code === 'STREAM_SILENT') return { networkCause: 'connect-timeout', detail: first.message };
  const known = Object.hasOwn(CAUSE_BY_CODE, code) ? CAUSE_BY_CODE[code] : undefined;
  if (known === 'connection-refused' && address !== undefined && own !== address) {
    return { networkCause: known, detail: `${host} refused the connection at ${address}` };
  }
  if (known === 'certificate-wrong-host') {
    const names = cleanNetworkText(certificateNames(first), 100);
    return { networkCause: known, detail: `its certificate is for ${names}, not for ${own}` };
  }
  if (known !== undefined) return { networkCause: known };
  if (/^(?:ERR_TLS|ERR_SSL|CERT_)|^EPROTO$/.test(code)) {
    return { networkCause: 'tls-failed', detail: `the TLS handshake failed: ${code}` };
  }
  if (code === 'STREAM_ENDED') return { networkCause: 'connection-closed', detail: first.message };
  return { networkCause: 'connection-closed' };
}

function diagnoseProxy({ code, status, message }: ProxyFailure): Diagnosis {
  if (status === 407) return { networkCause: 'proxy-wants-credentials' };
  return { networkCause: CAUSE_BY_PROXY_CODE[code], detail: cleanNetworkText(message) };
}

function certificateNames(error: Error): string {
  const { cert } = error as { cert?: { subjectaltname?: string; subject?: { CN?: string } } };
  return cert?.subjectaltname?.replaceAll('DNS:', '') ?? cert?.subject?.CN ?? 'another host';
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 100) / 10} seconds`;
}
