import { UsageError } from './options.ts';

/** What a filter can be about. Tools and prompts go by their name, resources by their URI. */
const KINDS = ['tool', 'prompt', 'resource'] as const;
export type Kind = (typeof KINDS)[number];

/** A pattern for names: `*` is any run of characters, `?` is any one; all others are themselves. */
export interface Pattern {
  readonly kind: Kind;
  readonly glob: string;
  /** The option that it comes from, as it is written, without the pattern. */
  readonly option: string;
}

/** What the client gets to see and may use: what every filter lets through. */
export interface Filter {
  /** Where there is one of a kind, only what fits one of that kind passes. */
  readonly allow: readonly Pattern[];
  /** Nothing that fits one passes. */
  readonly deny: readonly Pattern[];
  /** Only tools whose annotations say `readOnlyHint: true` pass. */
  readonly readOnly: boolean;
  /** Only tools that are read-only or say `destructiveHint: false` pass. */
  readonly noDestructive: boolean;
  /** Whether the organization's policy has set it. */
  readonly isManaged: boolean;
}

/** The options of a filter, by name. */
export const FILTER_OPTIONS = [
  'allow-tool',
  'deny-tool',
  'allow',
  'deny',
  'read-only',
  'no-destructive',
] as const;
type FilterOption = (typeof FILTER_OPTIONS)[number];

/**
 * The filter of these options; undefined where they filter nothing. `all` gives an option's values,
 * `true` for a switch that is on. Throws UsageError.
 */
export function filterOf(
  all: (option: FilterOption) => readonly string[],
  isManaged: boolean,
): Filter | undefined {
  const patterns = (about: 'allow' | 'deny') => [
    ...all(`${about}-tool`).map((glob) => patternOf(`${about}-tool`, `tool:${glob}`)),
    ...all(about).map((words) => patternOf(about, words)),
  ];
  const isOn = (option: FilterOption) => all(option).at(-1) === 'true';
  const allow = patterns('allow');
  const deny = patterns('deny');
  const readOnly = isOn('read-only');
  const noDestructive = isOn('no-destructive');
  if (allow.length === 0 && deny.length === 0 && !readOnly && !noDestructive) return undefined;
  return { allow, deny, readOnly, noDestructive, isManaged };
}

function patternOf(option: FilterOption, words: string): Pattern {
  const kind = KINDS.find((known) => words.startsWith(`${known}:`));
  const glob = words.slice((kind?.length ?? 0) + 1);
  if (kind === undefined || glob === '' || glob.length > 1000) {
    const form = option.endsWith('-tool') ? 'a name or a pattern' : KIND_AND_GLOB;
    throw new UsageError(`--${option} needs ${form}`);
  }
  return { kind, glob, option: `--${option}` };
}

const KIND_AND_GLOB = "'tool:NAME', 'prompt:NAME' or 'resource:URI', with * for anything";
