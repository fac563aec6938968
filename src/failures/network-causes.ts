/** What kept an HTTP response from coming at all: `data.cause`. */
export type UnreachableCause = 'dns' | 'refused' | 'reset' | 'timeout' | 'tls' | 'proxy';

interface Words {
  readonly cause: UnreachableCause;
  /** What happened, to follow "Cannot reach the gateway:". Used where there is no exact detail. */
  readonly what: (host: string) => string;
  readonly remedy: string;
}

const CERTIFICATE_AUTHORITY =
  'If your organization runs it, ask your administrator for its CA certificate and pass it with --ca FILE.';

/** Each way in which no response comes, finer than its cause: each has its own remedy. */
export const NETWORK_CAUSES = {
  'name-not-found': {
    cause: 'dns',
    what: (host) => `DNS has no address for ${host}`,
    remedy: 'Check the host name in the URL. For an internal host, connect to your VPN.',
  },
  'name-lookup-failed': {
    cause: 'dns',
    what: (host) => `the DNS lookup of ${host} failed`,
    remedy: 'Check your network connection, then try again.',
  },
  'connection-refused': {
    cause: 'refused',
    what: (host) => `${host} refused the connection`,
    remedy: 'Check the host and port in the URL, and that the gateway is running.',
  },
  'no-route': {
    cause: 'refused',
    what: (host) => `there is no network route to ${host}`,
    remedy: 'Check your network connection. For an internal host, connect to your VPN.',
  },
  'connection-closed': {
    cause: 'reset',
    what: () => 'the connection closed before the gateway replied',
    remedy: 'Try again. If it keeps happening, a firewall or proxy may be closing the connection.',
  },
  'connect-timeout': {
    cause: 'timeout',
    what: (host) => `the connection to ${host} timed out`,
    remedy: 'Check your network, VPN and firewall. To wait longer, use --connect-timeout SECONDS.',
  },
  'answer-timeout': {
    cause: 'timeout',
    what: () => 'the gateway did not reply in time',
    remedy: 'Try again. To wait longer, use --timeout SECONDS.',
  },
  'certificate-expired': {
    cause: 'tls',
    what: () => 'its certificate has expired or is not valid yet',
    remedy:
      "Check this computer's clock. If it is right, ask the gateway's operator to renew the certificate.",
  },
  'certificate-self-signed': {
    cause: 'tls',
    what: () => 'its certificate is self-signed',
    remedy: CERTIFICATE_AUTHORITY,
  },
  'certificate-wrong-host': {
    cause: 'tls',
    what: () => 'its certificate is for a different host',
    remedy: 'Check the host in the URL. It must match the certificate.',
  },
  'certificate-unknown-issuer': {
    cause: 'tls',
    what: () => "this computer does not trust the certificate's issuer",
    remedy: CERTIFICATE_AUTHORITY,
  },
  'not-tls': {
    cause: 'tls',
    what: (host) => `${host} does not use TLS on this port`,
    remedy: 'Check the port in the URL. Without TLS, the URL starts with http://',
  },
  'tls-failed': {
    cause: 'tls',
    what: () => 'the TLS handshake failed',
    remedy:
      'A firewall or proxy may be interfering, or the gateway requires a client certificate: --cert, --key-pem.',
  },
  'http2-only': {
    cause: 'tls',
    what: () => 'the gateway only accepts HTTP/2',
    remedy: "mcp-latchkey uses HTTP/1.1. Ask the gateway's operator to accept it, too.",
  },
  'certificate-file': {
    cause: 'tls',
    what: () => 'a certificate file could not be read',
    remedy: 'Check the files passed with --ca, --cert and --key-pem. They must be PEM files.',
  },
  'private-key-encrypted': {
    cause: 'tls',
    what: () => 'the private key of --key-pem is encrypted',
    remedy: 'Pass --key-pem-passphrase-env NAME with the variable that contains its passphrase.',
  },
  'proxy-unreachable': {
    cause: 'proxy',
    what: () => 'the HTTP proxy is not responding',
    remedy: 'Check HTTPS_PROXY and HTTP_PROXY. To bypass the proxy, add the gateway to NO_PROXY.',
  },
  'proxy-untrusted': {
    cause: 'proxy',
    what: () => "the HTTP proxy's certificate is not trusted",
    remedy: "Ask your administrator for the proxy's CA certificate and pass it with --ca FILE.",
  },
  'proxy-failed': {
    cause: 'proxy',
    what: () => 'the HTTP proxy could not reach the gateway',
    remedy:
      'Check the URL. If it is right, ask your administrator, or bypass the proxy with NO_PROXY.',
  },
  'proxy-refused': {
    cause: 'proxy',
    what: () => 'the HTTP proxy blocked the connection',
    remedy: 'Ask your administrator to allow the gateway, or bypass the proxy with NO_PROXY.',
  },
  'proxy-wants-credentials': {
    cause: 'proxy',
    what: () => 'the HTTP proxy requires a user name and password',
    remedy: 'Add them to HTTPS_PROXY or HTTP_PROXY: http://user:password@proxy:port',
  },
  'proxy-invalid': {
    cause: 'proxy',
    what: () => 'the HTTP proxy address is not an http:// or https:// URL',
    remedy: 'Set HTTPS_PROXY, HTTP_PROXY or ALL_PROXY to a URL such as http://proxy:port',
  },
} satisfies Record<string, Words>;

export type NetworkCause = keyof typeof NETWORK_CAUSES;
