/**
 * Words and turns that a person must not be shown, with what to write in their place. For
 * everything that is read: documents, help texts, messages, output of commands.
 */
const PATTERNS: readonly (readonly [pattern: RegExp, write: string])[] = [
  [/\bmend(?:s|ed|ing)?\b/, 'fix'],
  [/\bwants\b/, 'requires, needs'],
  [/\b(?:stands?|stood|standing) (?:in|there|for|between|beside|on)\b/, 'is in, appears in, means'],
  [/(?<!\b[Tt]here\s+)\b(?:is|are|was|were) (?:no|none)\b(?! longer)/, 'is not a, is invalid'],
  [/\bholds?\b/, 'contains, stores'],
  [/\b(?:takes?|took|taken) (?:(?:it|them) )?(?:up|out)\b(?! to)/, 'uses, removes'],
  [/\btakes (?:no|a key|the key)\b/, 'accepts'],
  [/\bon (?:the|its) way\b|\bthe whole way\b|\bin between\b/, 'in transit; the connection'],
  [/\bthe door\b/, 'access, sign-in'],
  [/\bnames? it\b/, 'pass it with'],
  [/\bbehind (?:it|the (?:client|command|name|URL|colon))\b/, 'after'],
  [/\banew\b/, 'again; reconnect'],
  [/\b(?:this|your|the same|one|own) machine\b/, 'this computer; host'],
  [/\bnothing that\b|\b[Nn]obody\b|\bno more\b(?! than)/, 'not, no one, no longer'],
  [/\b[Aa]ll is well\b/, 'everything works'],
  [/\b(?:\w+isation|colour\w*|behaviour|favour\w*|licence)\b/, 'American spelling'],
  [/[‘’“”]/, 'straight quotes'],
  [/\S \.(?:\s|$)/m, 'no space before a full stop; nothing directly after a URL'],
];

/** The same for comments and names of tests, where some of these words have a technical sense. */
const PATTERNS_IN_CODE: typeof PATTERNS = [
  [/\bmend(?:s|ed|ing)?\b/, 'fix'],
  [/\bwants\b/, 'requires, needs'],
  [/\banew\b/, 'again'],
  [/\b(?:[Nn]obody|[Ss]omebody)\b/, 'no one, someone'],
  [/\bof old\b|\bby hand\b/, 'older; manually, preregistered'],
  [/\b(?:is|are) no (?:reason|fault|harm)\b/, 'does not'],
  [/\b[Aa]ll is well\b/, 'everything works'],
  [/\bthis machine\b/, 'this computer'],
  [/\bcolour\w*\b(?!\.ts)/, 'American spelling'],
];

/** What of `text` is on the list, each with what to write instead; empty for plain English. */
export function notPlainEnglish(text: string): string[] {
  return foundIn(text, PATTERNS);
}

/** As `notPlainEnglish`, for a comment or the name of a test. */
export function notPlainInCode(text: string): string[] {
  return foundIn(text, PATTERNS_IN_CODE);
}

function foundIn(text: string, patterns: typeof PATTERNS): string[] {
  return patterns.flatMap(([pattern, write]) =>
    [...text.matchAll(new RegExp(pattern.source, `${pattern.flags}g`))].map(
      ({ 0: found, index }) =>
        `"${found}" in "${text.slice(Math.max(0, index - 40), index + 40).replaceAll('\n', ' ')}": ${write}`,
    ),
  );
}
