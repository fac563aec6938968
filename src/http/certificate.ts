import { isIP, type Socket } from 'node:net';
import { connect, type PeerCertificate } from 'node:tls';
import type { NetworkCause } from '../failures/network-causes.ts';
import { cleanNetworkText } from '../failures/network-text.ts';
import { withoutBrackets } from './environment-proxy.ts';
import { guarded } from './guarded.ts';

const DEFAULT_LIMIT_MS = 10_000;

/**
 * What is wrong with the certificate of `url`'s host, naming it: for a network cause that a failed
 * connection has shown, whose error does not say whose certificate it was. Connects once more and
 * sends nothing. Undefined when that fails or takes longer than `limitMs` or, where that is 0, than
 * 10 s: a request waits for it. Never rejects.
 */
export async function describeCertificate(
  url: URL,
  networkCause: NetworkCause,
  limitMs: number,
): Promise<string | undefined> {
  const host = withoutBrackets(url.hostname);
  const connection = { host, port: Number(url.port || 443) };
  const { certificate } = await peekTls(host, connection, limitMs || DEFAULT_LIMIT_MS);
  if (certificate === undefined) return undefined;
  const subject = `its certificate for ${nameIn(certificate.subject)}`;
  const issuer = nameIn(certificate.issuer);
  switch (networkCause) {
    case 'certificate-expired': {
      const [start, end] = [new Date(certificate.valid_from), new Date(certificate.valid_to)];
      return start.getTime() > Date.now()
        ? `${subject} is not valid before ${day(start)}`
        : `${subject} expired on ${day(end)}`;
    }
    case 'certificate-self-signed':
      return `${subject} is self-signed`;
    case 'certificate-unknown-issuer':
      return `${subject} is from ${issuer}, which this computer does not trust`;
    default:
      return undefined;
  }
}

/** What a server shows in a TLS handshake; `code`: why there was none. */
export interface TlsPeek {
  readonly protocol?: string;
  readonly certificate?: PeerCertificate;
  readonly code?: string;
}

/**
 * Shakes hands with `host` over `connection`, whoever its certificate is from, sends nothing, and
 * closes the connection. Takes at most `limitMs`; 0 means no limit. Never rejects.
 */
export function peekTls(
  host: string,
  connection: { readonly socket: Socket } | { readonly host: string; readonly port: number },
  limitMs: number,
): Promise<TlsPeek> {
  return new Promise((resolve) => {
    const socket = connect({
      ...connection,
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: false,
    });
    const finish = (result: TlsPeek) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(result);
    };
    const fail = (error: unknown) =>
      finish({ code: (error as NodeJS.ErrnoException).code ?? 'failed' });
    const timer =
      limitMs === 0 ? undefined : setTimeout(() => finish({ code: 'ETIMEDOUT' }), limitMs);
    const onSecure = () => {
      const certificate = socket.getPeerCertificate();
      finish({
        protocol: socket.getProtocol() ?? '',
        ...(certificate.subject === undefined ? {} : { certificate }),
      });
    };
    socket.once('secureConnect', guarded(onSecure, fail));
    socket.once('error', fail);
    socket.once('close', () => finish({ code: 'ECONNRESET' }));
  });
}

/** The name of a certificate's subject or issuer, fit to show. */
export function nameIn(name: PeerCertificate['subject']): string {
  const [text] = [name.CN ?? name.O ?? name.OU].flat();
  return cleanNetworkText(String(text ?? 'no name'), 100) || 'no name';
}

/** `2026-01-31`. */
export function day(date: Date): string {
  return Number.isNaN(date.getTime()) ? 'an unknown day' : date.toISOString().slice(0, 10);
}
