import { userInfo } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { foldCase } from '../../jsonrpc/json-members.ts';
import { FILTER_OPTIONS, type Filter, filterOf } from '../filters.ts';
import { type Option, type OptionName, PROXY_OPTIONS, UsageError } from '../options.ts';
import { isOriginPattern } from './origin-pattern.ts';

/** What a policy says. docs/policy.schema.json describes the file. */
export interface PolicyFile {
  readonly contact?: string;
  /** The lowest version that may run. */
  readonly version?: string;
  /** Patterns for origins; undefined for any. */
  readonly gateways?: readonly string[];
  /** Options, and environment variables in upper case. */
  readonly forbidden: ReadonlySet<string>;
  readonly required: ReadonlyMap<OptionName, readonly string[]>;
  readonly defaults: ReadonlyMap<OptionName, readonly string[]>;
  readonly httpProxy?: { readonly url: string; readonly except?: string };
  readonly filter?: Filter;
  /** Whether a call that cannot be logged must not be sent. */
  readonly isAuditRequired: boolean;
}

/** Something wrong with a policy. */
export interface PolicyProblem {
  /** In words that fit before a full stop. */
  readonly words: string;
  /** Where it is: the names of the members and the indexes that lead there; empty for the whole. */
  readonly path: readonly (string | number)[];
  /** Its line, from 1, where the path does not tell it. */
  readonly line?: number;
}

type Json = Readonly<Record<string, unknown>>;

const isText = (value: unknown): value is string =>
  typeof value === 'string' && value.trim() !== '' && value.length <= 1000;
const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => isText(item));
const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const MEMBERS = [
  '$schema',
  'contact',
  'minimumVersion',
  'gateways',
  'forbidden',
  'required',
  'defaults',
  'httpProxy',
  'filters',
  'audit',
];

/** Collects what is wrong with a policy while it is read. */
class PolicyReader {
  readonly problems: PolicyProblem[] = [];

  /** Notes a problem at this place unless `holds`. Returns whether it holds. */
  expect(holds: boolean, where: string, problem: string, below?: string | number): boolean {
    if (holds) return true;
    const path = where === '' ? [] : where.split('.');
    const words = `${where === '' ? 'the policy' : where} ${problem}`;
    this.problems.push({ words, path: below === undefined ? path : [...path, below] });
    return false;
  }

  /** The members of an object, of which no others may be there. */
  object(value: unknown, where: string, names: readonly string[]): Json {
    if (value === undefined) return {};
    if (!this.expect(isObject(value), where, 'must be an object')) return {};
    for (const name of Object.keys(value as Json)) {
      const problem = `has an unknown member, ${quoted(name)}`;
      this.expect(names.includes(name), where, problem, name);
    }
    return value as Json;
  }

  text(value: unknown, where: string): string | undefined {
    if (value === undefined) return undefined;
    return this.expect(isText(value), where, 'must be a text') ? (value as string) : undefined;
  }

  texts(value: unknown, where: string): readonly string[] | undefined {
    if (value === undefined) return undefined;
    return this.expect(isTexts(value), where, 'must be a list of texts')
      ? (value as string[])
      : undefined;
  }

  flag(value: unknown, where: string): boolean {
    this.expect(value === undefined || typeof value === 'boolean', where, 'must be true or false');
    return value === true;
  }

  /** Values of the proxy's options, by name. */
  options(value: unknown, where: string): Map<OptionName, readonly string[]> {
    const given = this.object(value, where, Object.keys(PROXY_OPTIONS));
    const values = new Map<OptionName, readonly string[]>();
    for (const [name, own] of Object.entries(given)) {
      if (!Object.hasOwn(PROXY_OPTIONS, name)) continue;
      const option: Option = PROXY_OPTIONS[name as OptionName];
      const place = `${where}.${name}`;
      if (option.type === 'boolean') {
        if (this.expect(own === true, place, 'must be true'))
          values.set(name as OptionName, ['true']);
        continue;
      }
      const list = option.array === true && Array.isArray(own) ? own : [own];
      const texts = list.map((item) => (typeof item === 'number' ? String(item) : item));
      const form = option.array === true ? 'a text or a list of texts' : 'a text or a number';
      if (!this.expect(isTexts(texts) && texts.length > 0, place, `must be ${form}`)) continue;
      if (option.path) {
        this.expect(isAbsolute(texts[0] as string), place, 'must be an absolute path');
      }
      values.set(name as OptionName, texts as string[]);
    }
    return values;
  }
}

const quoted = (name: string) => JSON.stringify(name.slice(0, 50));

/**
 * Reads the text of a policy. `problems`: all that is wrong with it, in words that fit before a full
 * stop; then nothing of it counts.
 */
export function parsePolicy(
  text: string,
): { readonly content: PolicyFile } | { readonly problems: readonly PolicyProblem[] } {
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\ufeff/, ''));
  } catch (error) {
    const words = `it is not JSON (${(error as Error).message.slice(0, 100)})`;
    return { problems: [{ words, path: [] }] };
  }
  if (!isObject(json)) return { problems: [{ words: 'it must be a JSON object', path: [] }] };
  const reader = new PolicyReader();
  reader.problems.push(...repeatedMembers(text));
  const content = contentOf(reader, reader.object(json, '', MEMBERS));
  return reader.problems.length > 0 ? { problems: reader.problems } : { content };
}

/**
 * The members that an object of this JSON has twice, in any case: JSON.parse keeps the last one only,
 * so that one rule would silently replace the other (RFC 8259 §4).
 */
function repeatedMembers(json: string): PolicyProblem[] {
  const problems: PolicyProblem[] = [];
  const open: Map<string, number>[] = [];
  let line = 1;
  let countedTo = 0;
  for (const { 0: token, 1: name, 2: colon, index } of json.matchAll(TOKENS)) {
    if (token === '{') open.push(new Map());
    else if (token === '}') open.pop();
    if (name === undefined || colon === undefined) continue;
    line += json.slice(countedTo, index).split(LINE_ENDS).length - 1;
    countedTo = index;
    const text: string = JSON.parse(name);
    const folded = foldCase(text);
    const firstLine = open.at(-1)?.get(folded);
    if (firstLine === undefined) open.at(-1)?.set(folded, line);
    else {
      const words = `${quoted(text)} repeats a member of line ${firstLine}`;
      problems.push({ words, path: [], line });
    }
  }
  return problems;
}

/**
 * In valid JSON: where objects begin and end, and strings, with a colon after the name of a member.
 * No part of a string can match in two ways, so that the time is in proportion to its length.
 */
const TOKENS = /[{}]|("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?/g;
const LINE_ENDS = /\r\n|\r|\n/;

function contentOf(reader: PolicyReader, json: Json): PolicyFile {
  const contact = reader.text(json.contact, 'contact');
  reader.expect((contact?.length ?? 0) <= 100, 'contact', 'must have at most 100 characters');
  const version = reader.text(json.minimumVersion, 'minimumVersion');
  reader.expect(/^\d+\.\d+\.\d+$/.test(version ?? '0.0.0'), 'minimumVersion', 'must be like 1.2.3');
  const gateways = reader.texts(json.gateways, 'gateways');
  for (const [index, pattern] of (gateways ?? []).entries()) {
    const problem = `has ${quoted(pattern)}, which is not an origin such as https://gateway.example or https://*.example`;
    reader.expect(isOriginPattern(pattern), 'gateways', problem, index);
  }
  const forbiddenList = reader.texts(json.forbidden, 'forbidden') ?? [];
  for (const [index, name] of forbiddenList.entries()) {
    const isKnown = Object.hasOwn(PROXY_OPTIONS, name) || /^[A-Z][A-Z\d_]*$/.test(name);
    const problem = `has ${quoted(name)}, which is neither an option nor an environment variable in upper case`;
    reader.expect(isKnown, 'forbidden', problem, index);
  }
  const forbidden = new Set(forbiddenList);
  // What a header does, a file of headers does too.
  if (forbidden.has('header')) forbidden.add('header-file');
  const required = reader.options(json.required, 'required');
  const defaults = reader.options(json.defaults, 'defaults');
  const audit = auditOf(reader, json.audit);
  if (audit !== undefined) required.set('audit-log', [audit.file]);
  for (const name of [...required.keys(), ...defaults.keys()]) {
    const place = required.has(name) ? 'required' : 'defaults';
    reader.expect(!forbidden.has(name), place, `sets --${name}, which is forbidden`, name);
  }
  const httpProxy = httpProxyOf(reader, json.httpProxy);
  const filter = filtersOf(reader, json.filters);
  return {
    isAuditRequired: audit?.isRequired === true,
    forbidden,
    required,
    defaults,
    ...(contact === undefined ? {} : { contact }),
    ...(version === undefined ? {} : { version }),
    ...(gateways === undefined ? {} : { gateways }),
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(filter === undefined ? {} : { filter }),
  };
}

function httpProxyOf(reader: PolicyReader, value: unknown): PolicyFile['httpProxy'] {
  const json = reader.object(value, 'httpProxy', ['url', 'except']);
  const except = reader.text(json.except, 'httpProxy.except');
  const url = reader.text(json.url, 'httpProxy.url');
  if (value === undefined) return undefined;
  const isUrl = url !== undefined && /^https?:\/\/[^@]*$/i.test(url) && URL.canParse(url);
  const form = 'an http:// or https:// URL without a user name or password';
  if (!reader.expect(isUrl, 'httpProxy.url', `must be ${form}`)) return undefined;
  return { url: url as string, ...(except === undefined ? {} : { except }) };
}

function auditOf(
  reader: PolicyReader,
  value: unknown,
): { readonly file: string; readonly isRequired: boolean } | undefined {
  const json = reader.object(value, 'audit', ['file', 'required']);
  const file = reader.text(json.file, 'audit.file');
  const isRequired = reader.flag(json.required, 'audit.required');
  if (value === undefined) return undefined;
  // Of the user's account, whatever the environment says.
  const path = file?.startsWith('~/') ? join(userInfo().homedir, file.slice(2)) : file;
  const isPath = path !== undefined && isAbsolute(path);
  if (!reader.expect(isPath, 'audit.file', 'must be an absolute path, or start with ~/')) return;
  return { file: path as string, isRequired };
}

function filtersOf(reader: PolicyReader, value: unknown): Filter | undefined {
  const json = reader.object(value, 'filters', FILTER_OPTIONS);
  const values = new Map<string, readonly string[]>();
  for (const name of FILTER_OPTIONS) {
    const where = `filters.${name}`;
    if (PROXY_OPTIONS[name].type === 'boolean') {
      values.set(name, [String(reader.flag(json[name], where))]);
    } else values.set(name, reader.texts(json[name], where) ?? []);
  }
  try {
    return filterOf((name) => values.get(name) ?? [], true);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    reader.expect(false, 'filters', `is wrong: ${error.message}`);
    return undefined;
  }
}
