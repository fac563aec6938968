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
 * Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (the optimal
 * string alignment distance); `Infinity` when it is more than `allowed`. Looks only at the cells
 * that are `allowed` or fewer off the diagonal: no other can be part of so short a way.
 */
function typos(a: string, b: string, allowed: number): number {
  if (Math.abs(a.length - b.length) > allowed) return Number.POSITIVE_INFINITY;
  const outside = allowed + 1;
  const row = () => new Uint8Array(b.length + 1).fill(outside);
  let [beforePrevious, previous, current] = [row(), row(), row()];
  for (let j = 0; j <= Math.min(allowed, b.length); j += 1) previous[j] = j;
  for (let i = 1; i <= a.length; i += 1) {
    const first = Math.max(1, i - allowed);
    const last = Math.min(b.length, i + allowed);
    current[first - 1] = first === 1 ? Math.min(i, outside) : outside;
    let least = outside;
    for (let j = first; j <= last; j += 1) {
      const same = a[i - 1] === b[j - 1];
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const best = Math.min(
        outside,
        at(previous, j) + 1,
        at(current, j - 1) + 1,
        at(previous, j - 1) + (same ? 0 : 1),
        swapped ? at(beforePrevious, j - 2) + 1 : outside,
      );
      current[j] = best;
      least = Math.min(least, best);
    }
    if (least >= outside && first > 1) return Number.POSITIVE_INFINITY;
    [beforePrevious, previous, current] = [previous, current, beforePrevious];
  }
  const distance = at(previous, b.length);
  return distance <= allowed ? distance : Number.POSITIVE_INFINITY;
}

const at = (row: Uint8Array, index: number) => row[index] as number;
