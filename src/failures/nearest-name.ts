/** MCP asks for at most 128 characters in a tool's name (2025-11-25, Tools, Tool Names). */
const MAX_NAME_CHARACTERS = 200;
const MAX_TYPOS = 3;

/**
 * The known names that `wanted` was most likely meant to be, nearest first, at most `limit`.
 * Finds, in this order: the same name with other separators or another case (`linear:get_issue`),
 * one without its integration's prefix (`get_issue`) or with a client's prefix before it
 * (`mcp__kindo__linear_get_issue`), and up to three typos, one for every four characters.
 *
 * `[]` when nothing is similar or `wanted` is over 200 characters long. The names come as they are
 * in `known`: clean them before they are shown.
 */
export function nearestNames(wanted: string, known: readonly string[], limit = 3): string[] {
  if (wanted.length > MAX_NAME_CHARACTERS) return [];
  const wantedWords = words(wanted);
  const wantedLetters = letters(wantedWords);
  if (wantedLetters === '') return [];
  const allowed = Math.min(MAX_TYPOS, Math.floor(wantedLetters.length / 4));
  const found: { name: string; distance: number }[] = [];
  const candidates = known.filter((name) => name.length <= MAX_NAME_CHARACTERS && name !== wanted);
  for (const name of new Set(candidates)) {
    const knownWords = words(name);
    const bareWords = words(name.replace(/^[^_.:/]+[_.:/]+/, ''));
    const distance = wantedWords.endsWith(`_${knownWords}`)
      ? 0.5
      : Math.min(
          typos(wantedLetters, letters(knownWords), allowed),
          typos(wantedLetters, letters(bareWords), allowed) + 0.5,
        );
    if (distance < allowed + 1) found.push({ name, distance });
  }
  return found
    .sort((a, b) => a.distance - b.distance)
    .slice(0, limit)
    .map(({ name }) => name);
}

const words = (name: string) =>
  name
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, '_')
    .replace(/^_|_$/g, '');
const letters = (name: string) => name.replaceAll('_', '');

/**
 * Insertions, deletions, replacements and swaps of neighbors that turn one into the other (the
 * optimal string alignment distance); `Infinity` when more than `allowed`.
 */
function typos(wanted: string, known: string, allowed: number): number {
  if (Math.abs(wanted.length - known.length) > allowed) return Number.POSITIVE_INFINITY;
  // What both begin with costs nothing, and is most of a name with an integration's prefix.
  let same = 0;
  while (same < wanted.length && wanted[same] === known[same]) same += 1;
  const [a, b] = [wanted.slice(same), known.slice(same)];
  const row = () => Uint16Array.from({ length: b.length + 1 }, (_, j) => j);
  let [beforePrevious, previous, current] = [row(), row(), row()];
  for (let i = 1; i <= a.length; i += 1) {
    current[0] = i;
    let least = i;
    for (let j = 1; j <= b.length; j += 1) {
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      current[j] = Math.min(
        at(previous, j) + 1,
        at(current, j - 1) + 1,
        at(previous, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
        swapped ? at(beforePrevious, j - 2) + 1 : a.length + b.length,
      );
      least = Math.min(least, at(current, j));
    }
    if (least > allowed) return Number.POSITIVE_INFINITY;
    [beforePrevious, previous, current] = [previous, current, beforePrevious];
  }
  const distance = at(previous, b.length);
  return distance <= allowed ? distance : Number.POSITIVE_INFINITY;
}

const at = (row: Uint16Array, index: number) => row[index] as number;
