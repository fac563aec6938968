import { SecretMatcher } from '../failures/secret-matcher.ts';
import { isSecretValue, looksLikeToken, secretsInUrl } from '../failures/url-secrets.ts';
import { type KeySources, keyHeaderNames } from './key.ts';

/** Headers that say nothing secret. */
const PUBLIC_HEADER =
  /^(?:accept.*|cache-control|content-.*|date|from|origin|pragma|prefer|referer|user-agent|via)$/;

const ANY_SCHEME = /^([\w-]+) +(.+)$/;
const KNOWN_SCHEME = /^(basic|bearer|token) +(.+)$/i;

type Sources = Pick<KeySources, 'url' | 'headers' | 'keyHeader' | 'passphraseEnv'>;

/**
 * Finds `keys`, and the secrets in the environment and the command line: in the URLs of HTTP proxies,
 * in the gateway's URL, and in the headers.
 */
export function matcherFor(
  keys: Iterable<string>,
  env: NodeJS.ProcessEnv = {},
  sources?: Sources,
): SecretMatcher {
  const given = sources === undefined ? [] : configuredSecrets(sources);
  const passphrase = env[sources?.passphraseEnv ?? ''] ?? '';
  return new SecretMatcher([...keys, ...proxySecrets(env), passphrase, ...given]);
}

function configuredSecrets({ url, headers, keyHeader }: Sources): string[] {
  const carriers = keyHeaderNames(keyHeader);
  const inHeaders = [...headers].flatMap(([name, value]) =>
    carriers.includes(name) || !PUBLIC_HEADER.test(name) ? secretsInHeader(name, value) : [],
  );
  return [...secretsInUrl(url), ...inHeaders];
}

/** The passwords in the URLs of HTTP proxies, as they are written and as they are sent. */
function proxySecrets(env: NodeJS.ProcessEnv): string[] {
  return Object.entries(env).flatMap(([name, value = '']) => {
    if (!/^(?!no_).*_proxy$/i.test(name)) return [];
    // Not as a URL: one with a mistake in it has its password all the same.
    const [, user = '', password = ''] = /^(?:\w+:\/\/)?([^:@/]*)(?::(.*))?@/.exec(value) ?? [];
    const { unescape: decoded } = process.getBuiltinModule('node:querystring');
    return [password, decoded(password), ...(looksLikeToken(user) ? [user] : [])];
  });
}

function secretsInHeader(name: string, value: string): string[] {
  if (/^https?:\/\//i.test(value) && URL.canParse(value)) return secretsInUrl(new URL(value));
  // `Bearer TOKEN`, `Basic BASE64`, and in Authorization any other scheme (RFC 9110 §11.4).
  const [, scheme = '', credentials = value] =
    (name.endsWith('authorization') ? ANY_SCHEME : KNOWN_SCHEME).exec(value) ?? [];
  const isBasic = scheme.toLowerCase() === 'basic';
  const pair = isBasic ? Buffer.from(credentials, 'base64').toString() : '';
  return [
    ...(isSecretValue(name, credentials) ? [credentials] : []),
    pair,
    pair.slice(pair.indexOf(':') + 1),
    // A cookie or a signature among the parameters may be quoted alone.
    ...value.split(/[\s,;="]+/).filter(looksLikeToken),
  ];
}
