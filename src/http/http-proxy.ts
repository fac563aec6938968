import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { isBadHttp } from './bad-http.ts';
import { guarded } from './guarded.ts';

const PROXY = 'the HTTP proxy';

type Code =
  | 'ERR_PROXY_INVALID'
  | 'ERR_PROXY_UNREACHABLE'
  | 'ERR_PROXY_UNTRUSTED'
  | 'ERR_PROXY_REFUSED'
  | 'ERR_PROXY_FAILED'
  | 'ERR_PROXY_HUNG_UP';

/** What an HTTP proxy did instead of letting a connection through, in words to show. */
export class ProxyFailure extends Error {
  readonly code: Code;
  /** With which status it refused. */
  readonly status: number | undefined;

  constructor(code: Code, message: string, status?: number) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** By its code: each bundle has a class of its own. */
export function isProxyFailure(error: Error): error is ProxyFailure {
  return (error as NodeJS.ErrnoException).code?.startsWith('ERR_PROXY_') === true;
}

/** An HTTP proxy, from its URL: `http://user:password@host:port`. */
export class HttpProxy {
  readonly url: URL;
  /** What lets requests through it, as names and values by turns (RFC 9110 §11.7.2). */
  readonly credentials: readonly string[];

  /** Throws a ProxyFailure when `text` is not an http or https URL. */
  constructor(text: string) {
    if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
      throw new ProxyFailure('ERR_PROXY_INVALID', `the address of ${PROXY} is not a URL`);
    }
    this.url = new URL(text);
    // Takes a `%` that encodes nothing for what it is.
    const { unescape: decoded } = process.getBuiltinModule('node:querystring');
    const pair = `${decoded(this.url.username)}:${decoded(this.url.password)}`;
    this.credentials =
      pair === ':' ? [] : ['proxy-authorization', `Basic ${Buffer.from(pair).toString('base64')}`];
  }

  /** The proxy could not be connected to. A name that is not found is the matter, not its port. */
  unreachable(error: NodeJS.ErrnoException & { hostname?: string }): ProxyFailure {
    const { code = '', hostname = this.url.host } =
      error instanceof AggregateError ? error.errors[0] : error;
    const host = `${PROXY} ${hostname}`;
    return /CERT|^UNABLE_TO/.test(code)
      ? new ProxyFailure(
          'ERR_PROXY_UNTRUSTED',
          `the certificate of ${host} is not trusted: ${code}`,
        )
      : new ProxyFailure('ERR_PROXY_UNREACHABLE', `${host} is not responding: ${code}`);
  }

  /**
   * Asks for a tunnel to `authority`, host and port, on a connection to the proxy (CONNECT, RFC 9110
   * §9.3.6). Resolves when that is what the connection has become. Rejects with a ProxyFailure.
   */
  tunnel(connection: Socket, authority: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = process.getBuiltinModule('node:http').request({
        createConnection: () => connection,
        method: 'CONNECT',
        path: authority,
        headers: ['host', authority, 'connection', 'keep-alive', ...this.credentials],
      });
      const onConnect = (
        { statusCode: status = 0 }: IncomingMessage,
        _: unknown,
        early: Buffer,
      ) => {
        if (early.length > 0) connection.unshift(early);
        if (status >= 200 && status < 300) resolve();
        else reject(new ProxyFailure(codeOf(status), `${PROXY} answered ${status}`, status));
      };
      const onError = (error: Error) => {
        const did = isBadHttp(error) ? 'does not speak HTTP' : 'closed the connection';
        reject(new ProxyFailure('ERR_PROXY_HUNG_UP', `${PROXY} ${did}`));
      };
      request.once('connect', guarded(onConnect, reject));
      request.once('error', guarded(onError, reject));
      request.end();
    });
  }
}

function codeOf(status: number): Code {
  return status >= 500 ? 'ERR_PROXY_FAILED' : 'ERR_PROXY_REFUSED';
}
