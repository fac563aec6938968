import stripAnsi from 'strip-ansi';

/** How much of a text is looked at, in multiples of what may be shown. */
const LOOK_AHEAD = 16;

const CONTROLS = /[\p{Cc}\ufff9-\ufffb]/gu;
const JOINER = '\u200c\u200d';
// Every character that Unicode calls invisible by default: zero-width spaces, bidirectional marks
// and overrides, tags, fillers, variation selectors. Those that shape emoji and joined scripts are
// looked at next.
const INVISIBLE = new RegExp(`(?![${JOINER}\ufe0e\ufe0f])\\p{Default_Ignorable_Code_Point}`, 'gu');
// Many selectors in a row can carry a hidden text, one behind an emoji cannot.
const STRAY_EMOJI_SELECTOR = /(?<!\p{Emoji})[\ufe0e\ufe0f]/gu;
// Joiners mean something between two emoji and in these scripts (Unicode Standard §23.2); removing
// them there would misspell Persian and break 👩‍💻 in two.
const JOINING_SCRIPTS = [
  ...['Arabic', 'Syriac', 'Devanagari', 'Bengali', 'Gurmukhi', 'Gujarati', 'Oriya', 'Tamil'],
  ...['Telugu', 'Kannada', 'Malayalam', 'Sinhala', 'Khmer', 'Myanmar'],
].map((script) => `\\p{Script=${script}}`);
const JOINED = `\\p{Extended_Pictographic}${JOINING_SCRIPTS.join('')}`;
const STRAY_JOINER = new RegExp(
  `(?<![${JOINED}\\p{Emoji_Modifier}\ufe0f])[${JOINER}]|[${JOINER}](?![${JOINED}])`,
  'gu',
);

// Nearly every text is like this: visible ASCII characters, with one space between words.
const PLAIN = /^[!-~]+(?: [!-~]+)*$/;
const LOOSE_END = new RegExp(`[ ${JOINER}]+$`);

/**
 * Makes a text that came from the network fit to show in one line of a terminal, a log or an error
 * message: removes control characters, whole ANSI escape sequences, bidirectional marks and
 * invisible characters, replaces lone surrogates by U+FFFD, and turns each run of white space into
 * one space.
 *
 * The result has at most `maxCharacters` UTF-16 code units (at least 1) and ends in "…" when
 * something was cut off; it is empty when nothing can be seen. Cleaning it again changes nothing.
 * Looks at no more than the first 16 × `maxCharacters` code units. Never throws.
 */
export function cleanNetworkText(text: string, maxCharacters = 500): string {
  if (text.length <= maxCharacters && PLAIN.test(text)) return text;
  const start = cut(text, LOOK_AHEAD * maxCharacters);
  const clean = stripAnsi(start)
    .replace(/[\t-\r\x85\p{Separator}]+/gu, ' ')
    .replace(CONTROLS, '')
    .replace(/\p{Surrogate}/gu, '\ufffd')
    .replace(INVISIBLE, '')
    .replace(STRAY_EMOJI_SELECTOR, '')
    .replace(STRAY_JOINER, '')
    .replace(/ +/g, ' ')
    .trim();
  if (clean === '') return '';
  if (clean.length <= maxCharacters && start.length === text.length) return clean;
  return `${cut(clean, maxCharacters - 1).replace(LOOSE_END, '')}…`;
}

/** The first `length` code units, or one less where that would split a surrogate pair. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}
