import stripAnsi from 'strip-ansi';

/** How much of a text is looked at, in multiples of what may be shown. */
const LOOK_AHEAD = 16;

const JOINER = '\u200c\u200d';

/**
 * What is removed, in this order. Made when it is first used: to look up the classes of Unicode takes
 * a start 2 ms.
 */
const makeUnseen = () => {
  // Joiners mean something between two emoji and in these scripts (Unicode Standard §23.2); removing
  // them there would misspell Persian and break 👩‍💻 in two.
  const joiningScripts = [
    ...['Arabic', 'Syriac', 'Devanagari', 'Bengali', 'Gurmukhi', 'Gujarati', 'Oriya', 'Tamil'],
    ...['Telugu', 'Kannada', 'Malayalam', 'Sinhala', 'Khmer', 'Myanmar'],
  ].map((script) => `\\p{Script=${script}}`);
  const joined = `\\p{Extended_Pictographic}${joiningScripts.join('')}`;
  return [
    // Every character that Unicode calls invisible by default: zero-width spaces, bidirectional marks
    // and overrides, tags, fillers, variation selectors. Those that shape emoji and joined scripts are
    // looked at next.
    new RegExp(`(?![${JOINER}\ufe0e\ufe0f])\\p{Default_Ignorable_Code_Point}`, 'gu'),
    // Many selectors in a row can carry a hidden text, one behind an emoji cannot.
    /(?<!\p{Emoji})[\ufe0e\ufe0f]/gu,
    new RegExp(
      `(?<![${joined}\\p{Emoji_Modifier}\ufe0f])[${JOINER}]|[${JOINER}](?![${joined}])`,
      'gu',
    ),
  ];
};
let unseen: RegExp[] | undefined;

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
  unseen ??= makeUnseen();
  const shown = stripAnsi(start)
    .replace(/[\t-\r\x85\p{Separator}]+/gu, ' ')
    .replace(/[\p{Cc}\ufff9-\ufffb]/gu, '')
    .replace(/\p{Surrogate}/gu, '\ufffd');
  const clean = unseen
    .reduce((text, pattern) => text.replace(pattern, ''), shown)
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
