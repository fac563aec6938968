/** What kept an HTTP answer from coming at all: `data.cause`. */
export type UnreachableCause = 'dns' | 'refused' | 'reset' | 'timeout' | 'tls' | 'proxy';

interface Words {
  readonly cause: UnreachableCause;
  /** What happened, to follow "no answer from HOST:". Used where there is no exact detail. */
  readonly what: string;
  readonly remedy: string;
}

const CERTIFICATE_AUTHORITY =
  'If it belongs to your organisation, get its CA certificate as a PEM file from your admin and name it with --ca FILE (or in NODE_EXTRA_CA_CERTS).';

/** Each way in which no answer comes, finer than its cause: every one has its own remedy. */
export const NETWORK_CAUSES = {
  'name-not-found': {
    cause: 'dns',
    what: 'the name does not exist',
    remedy: 'Check the spelling of the host in the URL, and whether it needs a VPN.',
  },
  'name-lookup-failed': {
    cause: 'dns',
    what: 'the name could not be looked up',
    remedy: 'Check that this machine is online, then try again.',
  },
  'connection-refused': {
    cause: 'refused',
    what: 'the connection was refused',
    remedy: 'Check the host and port in the URL, and that the gateway is running.',
  },
  'no-route': {
    cause: 'refused',
    what: 'there is no way to it on the network',
    remedy: 'Check that this machine is online, and whether the gateway needs a VPN.',
  },
  'connection-closed': {
    cause: 'reset',
    what: 'the connection was closed before an answer came',
    remedy: 'Try again; if it stays, a firewall or proxy on the way may be cutting the connection.',
  },
  'connect-timeout': {
    cause: 'timeout',
    what: 'no connection came about in time',
    remedy: 'Check the network, VPN and firewall; --connect-timeout SECONDS allows more time.',
  },
  'answer-timeout': {
    cause: 'timeout',
    what: 'it is connected, but no answer came in time',
    remedy: 'Try again; --timeout SECONDS allows more time (0: no limit).',
  },
  'certificate-expired': {
    cause: 'tls',
    what: 'its certificate is not valid now',
    remedy:
      "Check this machine's clock; if that is right, the gateway's operator must renew the certificate.",
  },
  'certificate-self-signed': {
    cause: 'tls',
    what: 'its certificate is self-signed',
    remedy: CERTIFICATE_AUTHORITY,
  },
  'certificate-wrong-host': {
    cause: 'tls',
    what: 'its certificate is for another host',
    remedy: 'Check the host in the URL: it must be one that the certificate names.',
  },
  'certificate-unknown-issuer': {
    cause: 'tls',
    what: 'its certificate comes from an issuer that this machine does not trust',
    remedy: CERTIFICATE_AUTHORITY,
  },
  'not-tls': {
    cause: 'tls',
    what: 'it does not speak TLS on this port',
    remedy: 'Check the port in the URL, and whether it should begin with http:// there.',
  },
  'tls-failed': {
    cause: 'tls',
    what: 'the TLS handshake failed',
    remedy:
      'Something on the way may be interfering with TLS, or the gateway wants a client certificate (--cert, --key-pem).',
  },
  'http2-only': {
    cause: 'tls',
    what: 'it accepts HTTP/2 only',
    remedy: "mcp-latchkey uses HTTP/1.1. Ask the gateway's operator to accept that too.",
  },
  'certificate-file': {
    cause: 'tls',
    what: 'a certificate file cannot be used',
    remedy:
      'Check the files that --ca, --cert and --key-pem name: they must be readable PEM files.',
  },
  'private-key-encrypted': {
    cause: 'tls',
    what: 'the private key of --key-pem is encrypted',
    remedy:
      'Set its passphrase in an environment variable, and pass the name of that with --key-pem-passphrase-env NAME.',
  },
  'proxy-unreachable': {
    cause: 'proxy',
    what: 'the HTTP proxy of this machine does not answer',
    remedy:
      'Check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY, or name the gateway in NO_PROXY to go without.',
  },
  'proxy-untrusted': {
    cause: 'proxy',
    what: 'the certificate of the HTTP proxy of this machine cannot be trusted',
    remedy:
      "Get the proxy's CA certificate as a PEM file from your network's admin and name it with --ca FILE (or in NODE_EXTRA_CA_CERTS), and check the proxy's host in HTTPS_PROXY.",
  },
  'proxy-failed': {
    cause: 'proxy',
    what: 'the HTTP proxy of this machine could not reach it',
    remedy:
      "Check the host and port in the URL, and that the gateway is running; if it stays, ask your network's admin, or name the gateway in NO_PROXY to go without.",
  },
  'proxy-refused': {
    cause: 'proxy',
    what: 'the HTTP proxy of this machine does not let it through',
    remedy: "Ask your network's admin to allow the gateway, or name it in NO_PROXY to go without.",
  },
  'proxy-wants-credentials': {
    cause: 'proxy',
    what: 'the HTTP proxy of this machine wants a user name and password',
    remedy:
      'Put them into the proxy URL in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or correct them there: http://user:password@proxy:port.',
  },
  'proxy-invalid': {
    cause: 'proxy',
    what: 'the address of the HTTP proxy is no URL that starts with http:// or https://',
    remedy: 'Correct HTTPS_PROXY, HTTP_PROXY or ALL_PROXY: http://proxy:port.',
  },
} satisfies Record<string, Words>;

export type NetworkCause = keyof typeof NETWORK_CAUSES;
