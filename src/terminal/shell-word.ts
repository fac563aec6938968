/** What POSIX shells leave as it is. zsh replaces a word that begins with `=`. */
const POSIX_PLAIN = /^(?!=)[\w@%+=:,./-]+$/;

/** What both cmd and PowerShell leave as it is: PowerShell splits an option that has a dot. */
const WINDOWS_PLAIN = /^(?:--?[\w-]+|[\w+:./\\][\w+=:./\\-]*)$/;

/**
 * What either of them acts on inside double quotes: `$`, a backtick and typographic quotes in
 * PowerShell (about_Quoting_Rules), `%NAME%` in cmd, a quote or a last backslash in both. cmd leaves
 * percent escapes as they are while no variable is called `C3` or the like.
 */
const isUnquotable = (word: string) => /["$`\u201c-\u201e]|%(?![\da-f]{2})|\\$|\p{Cc}/iu.test(word);

/**
 * A word of a command that is printed to be copied, as it must be typed: into a POSIX shell, or on
 * Windows into cmd or PowerShell. A word that the two would read differently is `"…"` there, for
 * the user to fill in.
 */
export function shellWord(word: string, platform = process.platform): string {
  if (platform === 'win32') {
    if (WINDOWS_PLAIN.test(word)) return word;
    return isUnquotable(word) ? '"…"' : `"${word}"`;
  }
  return POSIX_PLAIN.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The words that give an option its value, which may begin with a hyphen. */
export function optionWords(name: string, value: string): string[] {
  return value.startsWith('-') ? [`--${name}=${value}`] : [`--${name}`, value];
}
