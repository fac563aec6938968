/**
 * Whether a pattern fits the whole text: `*` is any run of characters, `?` is any one. Takes time in
 * proportion to the product of both lengths at most.
 */
export function matchesGlob(glob: string, text: string): boolean {
  let at = 0;
  let globAt = 0;
  let star = -1;
  let starAt = 0;
  while (at < text.length) {
    const wanted = glob[globAt];
    if (wanted === '*') {
      star = globAt++;
      starAt = at;
    } else if (wanted === '?' || wanted === text[at]) {
      at++;
      globAt++;
    } else if (star >= 0) {
      globAt = star + 1;
      at = ++starAt;
    } else return false;
  }
  while (glob[globAt] === '*') globAt++;
  return globAt === glob.length;
}
