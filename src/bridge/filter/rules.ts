import { foldCase } from '../../jsonrpc/json-members.ts';
import type { Filter, Kind, Pattern } from '../../settings/filters.ts';
import { matchesGlob } from './glob.ts';

/** What a tool's annotations say (MCP 2025-11-25, ToolAnnotations), with their defaults. */
export interface ToolHints {
  readonly isReadOnly: boolean;
  /** False for a tool that is read-only. */
  readonly isDestructive: boolean;
}

/** The rule that blocks something. */
export interface Rule {
  /** As it is written: `--deny-tool delete_*`. */
  readonly words: string;
  /** Whether the organization's policy has set it. */
  readonly isManaged: boolean;
}

interface Check {
  readonly kind: Kind;
  readonly rule: Rule;
  /** Whether something of this name or URI is blocked. */
  blocks(name: string): boolean;
}

/** How many names are remembered with what was decided of them, and how long such a name may be. */
const MOST_KNOWN = 1_000;
const MOST_KNOWN_CHARACTERS = 256;

/** All filters together: what one of them blocks is blocked. */
export class Rules {
  readonly #filters: readonly Filter[];
  readonly #checks: readonly Check[];
  /** Whether a tool can only be judged by its annotations. */
  readonly needsHints: boolean;
  readonly #covered: ReadonlySet<Kind>;
  /** The rules that block a name, by kind and name; null where none does. */
  readonly #known: Record<Kind, Map<string, Rule | null>>;

  constructor(filters: readonly Filter[]) {
    this.#filters = filters;
    this.needsHints = filters.some(({ readOnly, noDestructive }) => readOnly || noDestructive);
    this.#checks = filters.flatMap((filter) => checksOf(filter));
    const kinds = this.#checks.map(({ kind }) => kind);
    this.#covered = new Set(this.needsHints ? [...kinds, 'tool'] : kinds);
    this.#known = { tool: new Map(), prompt: new Map(), resource: new Map() };
  }

  /** Whether anything of this kind may be blocked. */
  covers(kind: Kind): boolean {
    return this.#covered.has(kind);
  }

  /** The rule that blocks it by its name or URI; undefined where none does. */
  blockerOf(kind: Kind, name: string): Rule | undefined {
    return this.#checks.find((check) => check.kind === kind && check.blocks(name))?.rule;
  }

  /** As `blockerOf`, of what is used again and again. */
  knownBlockerOf(kind: Kind, name: string): Rule | undefined {
    const names = this.#known[kind];
    const known = names.get(name);
    if (known !== undefined) return known ?? undefined;
    const rule = this.blockerOf(kind, name);
    if (names.size === MOST_KNOWN) names.clear();
    if (name.length <= MOST_KNOWN_CHARACTERS) names.set(name, rule ?? null);
    return rule;
  }

  /** The rule that blocks a tool by its annotations; undefined where none does. */
  blockerByHints({ isReadOnly, isDestructive }: ToolHints): Rule | undefined {
    for (const { readOnly, noDestructive, isManaged } of this.#filters) {
      if (readOnly && !isReadOnly) return { words: '--read-only', isManaged };
      if (noDestructive && isDestructive) return { words: '--no-destructive', isManaged };
    }
    return undefined;
  }
}

function checksOf({ allow, deny, isManaged }: Filter): Check[] {
  const denials = deny.map((pattern): Check => {
    const { kind, option, glob } = pattern;
    const denies = denierOf(pattern);
    const shown = option.endsWith('-tool') ? glob : `${kind}:${glob}`;
    return { kind, rule: { words: `${option} ${shown}`, isManaged }, blocks: denies };
  });
  const kinds = [...new Set(allow.map(({ kind }) => kind))];
  const permissions = kinds.map((kind): Check => {
    const own = allow.filter((pattern) => pattern.kind === kind);
    const options = [...new Set(own.map(({ option }) => option))];
    const allows = own.map(allowerOf);
    return {
      kind,
      rule: { words: options.join(' and '), isManaged },
      blocks: (name) => !allows.some((isAllowed) => isAllowed(name)),
    };
  });
  return [...denials, ...permissions];
}

/** Generously: a gateway may find a name in spite of its case, its width, or characters that are not shown. */
function denierOf({ kind, glob }: Pattern): (name: string) => boolean {
  const loose = loosely(glob);
  const isDenied = (name: string) => matchesGlob(glob, name) || matchesGlob(loose, loosely(name));
  if (kind !== 'resource') return isDenied;
  const plain = loosely(plainUri(glob) ?? glob);
  return (uri) => {
    const plainForm = plainUri(uri);
    if (plainForm === undefined || isDenied(uri)) return true;
    return isDenied(plainForm) || matchesGlob(plain, loosely(plainForm));
  };
}

function allowerOf({ kind, glob }: Pattern): (name: string) => boolean {
  if (kind !== 'resource') return (name) => matchesGlob(glob, name);
  const plain = plainUri(glob) ?? glob;
  return (uri) => {
    const plainForm = plainUri(uri);
    return plainForm !== undefined && matchesGlob(glob, uri) && matchesGlob(plain, plainForm);
  };
}

function loosely(text: string): string {
  // Nearly all names are of visible ASCII characters, which have no other form than their case.
  if (/^[!-~]*$/.test(text)) return text.toLowerCase();
  return foldCase(text.replace(INVISIBLE, '').normalize('NFKC')).trim();
}

/** Control characters, and those that are not shown, such as the soft hyphen. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/gu;

/** How often the escapes of a URI may be escaped. */
const MOST_ROUNDS = 5;

/**
 * The URI as a gateway may read it: without escapes, without `..` in its path (RFC 3986 §6.2.2), and
 * with one slash where a file system takes several for one. Undefined where it is escaped too often.
 */
function plainUri(uri: string): string | undefined {
  const decoded = withoutEscapes(uri)?.replaceAll('\\', '/');
  if (decoded === undefined) return undefined;
  const [start = ''] = /^[^/]*:\/\//.exec(decoded) ?? [];
  const single = start + decoded.slice(start.length).replace(/\/{2,}/g, '/');
  return URL.canParse(single) ? withoutEscapes(new URL(single).href) : single;
}

function withoutEscapes(uri: string): string | undefined {
  let text = uri;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const decoded = text.replace(/(?:%[\da-f]{2})+/gi, (escapes) =>
      Buffer.from(escapes.replaceAll('%', ''), 'hex').toString('utf8'),
    );
    if (decoded === text) return text;
    text = decoded;
  }
  return undefined;
}
