import { closeSync, openSync } from 'node:fs';
import { withProxyVariables } from '../../http/environment-proxy.ts';
import { readPrivate, UnusableFile } from '../../private-path.ts';
import type { Filter } from '../filters.ts';
import { type OptionName, PROXY_OPTIONS } from '../options.ts';
import { originMatches } from './origin-pattern.ts';
import { type PolicyFile, type PolicyProblem, parsePolicy } from './parse-policy.ts';

/** No policy is larger. */
const MOST_BYTES = 1024 * 1024;

/** The organization's policy for this computer, as the administrator has written it. */
export class Policy {
  readonly file: string;
  readonly #content: PolicyFile;

  constructor(file: string, content: PolicyFile) {
    this.file = file;
    this.#content = content;
  }

  /** Whom to ask about it. */
  get contact(): string | undefined {
    return this.#content.contact;
  }

  /** Whether a call that cannot be logged must not be sent. */
  get isAuditRequired(): boolean {
    return this.#content.isAuditRequired;
  }

  /** What every user may see and use at most. */
  get filter(): Filter | undefined {
    return this.#content.filter;
  }

  /**
   * The values of an option: the user's own, unless the policy sets others. `why`: the policy does not
   * allow it.
   */
  valuesOf(option: OptionName, own: readonly string[]): readonly string[] | { why: string } {
    // A switch that is off is not used. Of other options, `false` is a value as any other.
    const isSwitch = PROXY_OPTIONS[option].type === 'boolean';
    const isUsed = own.some((value) => !isSwitch || value !== 'false');
    if (isUsed && this.#content.forbidden.has(option)) return this.#refusal(`--${option}`);
    const set = this.#content.required.get(option);
    if (set === undefined)
      return own.length > 0 ? own : (this.#content.defaults.get(option) ?? own);
    const isOther = own.length > 0 && own.join('\n') !== set.join('\n');
    return isOther ? { why: this.#why(`--${option} is set by`) } : set;
  }

  /** Why the policy does not allow this environment, or to send to this URL; undefined if it does. */
  refusalOf(
    url: URL,
    headers: ReadonlyMap<string, string>,
    keyEnv: string,
    env: NodeJS.ProcessEnv,
  ): string | undefined {
    const { gateways, forbidden } = this.#content;
    if (gateways !== undefined) {
      if (!gateways.some((pattern) => originMatches(pattern, url))) {
        return this.#refusal(url.origin).why;
      }
      // Behind one address, it may lead to another gateway.
      if (headers.has('host')) return this.#refusal('the header host').why;
    }
    const variables = Object.entries(env).filter(
      ([, value]) => value !== undefined && value !== '',
    );
    const names = new Map(variables.map(([name]) => [name.toUpperCase(), name]));
    const found = [...forbidden].find((name) => names.has(name));
    const variable = found ?? (forbidden.has('key-env') && env[keyEnv] ? keyEnv : undefined);
    if (variable === undefined) return undefined;
    return this.#refusal(`the environment variable ${variable}`).why;
  }

  /** The environment, with the HTTP proxy that the policy sets. */
  environment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
    const { httpProxy } = this.#content;
    if (httpProxy === undefined) return env;
    const { url, except = '' } = httpProxy;
    return withProxyVariables(env, { https_proxy: url, http_proxy: url, no_proxy: except });
  }

  /** What it sets, in a sentence each, without values that may be long or private. */
  summary(): string[] {
    const { contact, gateways, forbidden, required, defaults, httpProxy, filter, version } =
      this.#content;
    const options = (names: Iterable<string>) =>
      [...names].map((name) => (/^[A-Z]/.test(name) ? name : `--${name}`)).join(', ');
    const lines: readonly (readonly [string, string | undefined])[] = [
      ['Allowed gateways', gateways?.join(', ')],
      ['Not allowed', options(forbidden)],
      ['Set for everyone', options(required.keys())],
      ['Defaults', options(defaults.keys())],
      ['HTTP proxy', httpProxy?.url],
      ['Filters', filter && filterWords(filter)],
      ['Minimum version', version],
      ['Contact', contact],
    ];
    return lines.flatMap(([what, value]) => (value ? [`${what}: ${value}`] : []));
  }

  #refusal(what: string): { why: string } {
    return { why: this.#why(`${what} is not allowed by`) };
  }

  #why(what: string): string {
    const { contact } = this.#content;
    return `${what} your organization's policy${contact === undefined ? '' : `. Ask ${contact}`}`;
  }
}

function filterWords({ allow, deny, readOnly, noDestructive }: Filter): string {
  const patterns = [...allow, ...deny].map(({ option, kind, glob }) =>
    option.endsWith('-tool') ? `${option} ${glob}` : `${option} ${kind}:${glob}`,
  );
  const switches = [readOnly && '--read-only', noDestructive && '--no-destructive'];
  return [...patterns, ...switches.filter((words) => words !== false)].join(', ');
}

/**
 * Reads the policy from a file that only an administrator can change. `why`: it cannot be used, in
 * words that fit before a full stop.
 */
export function loadPolicy(file: string): { policy: Policy } | { why: string } {
  const broken = (why: string) => ({
    why: `the policy of your organization cannot be used: ${why}. Tell your administrator`,
  });
  try {
    const bytes = readPrivate(file, 'managed', () => {}, MOST_BYTES);
    if (process.platform === 'win32' && isWritable(file)) {
      return broken(`you can write to ${file}`);
    }
    const parsed = parsePolicy(bytes.toString('utf8'));
    if ('problems' in parsed) {
      const { words, line } = parsed.problems[0] as PolicyProblem;
      return broken(`${file}${line === undefined ? '' : `, line ${line}`}: ${words}`);
    }
    const { version, contact } = parsed.content;
    if (version !== undefined && isOlder(__VERSION__, version)) {
      const whom = contact === undefined ? '' : `. Ask ${contact}`;
      return {
        why: `mcp-latchkey ${__VERSION__} is older than ${version}, which your organization requires${whom}`,
      };
    }
    return { policy: new Policy(file, parsed.content) };
  } catch (error) {
    if (error instanceof UnusableFile) return broken(error.message);
    throw error;
  }
}

/** Node.js cannot read the access list of a file on Windows, but it can try. */
function isWritable(file: string): boolean {
  try {
    closeSync(openSync(file, 'r+'));
    return true;
  } catch {
    return false;
  }
}

function isOlder(own: string, wanted: string): boolean {
  const [a, b] = [own, wanted].map((text) => text.split(/[.-]/, 3).map(Number)) as [
    number[],
    number[],
  ];
  const index = [0, 1, 2].find((at) => a[at] !== b[at]);
  return index !== undefined && (a[index] as number) < (b[index] as number);
}
