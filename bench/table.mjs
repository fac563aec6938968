/** From samples to what is printed: medians, ratios, and whether each target is met. */

const us = 'mcp-latchkey';
const compared = /** @type {const} */ ({ remote: 'mcp-remote', floor: 'floor' });

/**
 * @typedef {{samples: number[], failure?: string, notAvailable?: string}} Cell one program's samples
 * @typedef {Record<string, Record<string, Cell>>} Results by row, then by program
 * @typedef {{value: number, target?: number, met?: boolean}} Judged
 *
 * @typedef {object} Line one row of the table
 * @property {string} key
 * @property {string} label
 * @property {string} measurement
 * @property {number} digits
 * @property {boolean} more whether more is better
 * @property {Record<string, number>} medians by program; none where it has no figure
 * @property {Judged} [own] this program's own figure
 * @property {Partial<Record<keyof typeof compared, Judged>>} ratios
 * @property {Record<string, Cell>} cells
 */

/** @param {number[]} samples not empty @returns {number} */
function median(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (/** @type {number} */ index) => /** @type {number} */ (sorted[Math.floor(index)]);
  return (at((sorted.length - 1) / 2) + at(sorted.length / 2)) / 2;
}

/**
 * @param {number} value @param {number | undefined} target @param {boolean} more
 * @returns {Judged}
 */
function judge(value, target, more) {
  if (target === undefined) return { value };
  return { value, target, met: more ? value >= target : value <= target };
}

/**
 * @param {import('./rows.mjs').Measurement[]} measurements @param {Results} results
 * @returns {Line[]}
 */
export function summarize(measurements, results) {
  return measurements.flatMap(({ name, rows }) =>
    rows.map(({ key, label, digits = 0, more = false, target = {} }) => {
      const cells = results[key] ?? {};
      /** @type {Record<string, number>} */
      const medians = {};
      for (const [program, { samples, failure }] of Object.entries(cells)) {
        if (samples.length > 0 && !failure) medians[program] = median(samples);
      }
      const own = medians[us];
      /** @type {Line} */
      const line = { key, label, measurement: name, digits, more, medians, ratios: {}, cells };
      if (own === undefined) return line;
      line.own = judge(own, target.own, more);
      for (const to of /** @type {(keyof typeof compared)[]} */ (Object.keys(compared))) {
        const other = medians[compared[to]];
        // What rounds to nothing is no measure for anything.
        if (other !== undefined && other >= 0.1) {
          line.ratios[to] = judge(own / other, target[to], more);
        }
      }
      return line;
    }),
  );
}

/** @param {number} figure @param {number} digits */
const format = (figure, digits) =>
  figure.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** @param {Judged | undefined} judged @param {number} digits @param {boolean} more */
function withTarget(judged, digits, more) {
  if (judged === undefined) return '';
  const figure = format(judged.value, digits);
  if (judged.target === undefined) return figure;
  return `${figure} (${more ? '≥' : '≤'} ${judged.target} ${judged.met ? '✓' : '✗'})`;
}

/**
 * The table as Markdown, and below it why a figure is missing.
 * @param {Line[]} lines @param {string[]} programs the columns
 * @returns {string}
 */
export function markdown(lines, programs) {
  const ratios = /** @type {(keyof typeof compared)[]} */ (Object.keys(compared)).filter(
    (to) => programs.includes(us) && programs.includes(compared[to]),
  );
  /** @type {Set<string>} */
  const notes = new Set();
  const table = [['', ...programs, ...ratios.map((to) => `÷ ${compared[to]}`)]];
  for (const line of lines) {
    const figures = programs.map((program) => {
      const { failure, notAvailable } = line.cells[program] ?? {};
      if (failure !== undefined) notes.add(`${line.measurement}, ${program}: ${failure}`);
      if (failure !== undefined) return 'failed';
      if (notAvailable !== undefined && program === us) {
        notes.add(`${line.measurement}: ${notAvailable}`);
      }
      const figure = line.medians[program];
      if (figure === undefined) return '–';
      return program === us
        ? withTarget(line.own, line.digits, line.more)
        : format(figure, line.digits);
    });
    table.push([
      line.label,
      ...figures,
      ...ratios.map((to) => withTarget(line.ratios[to], 2, line.more)),
    ]);
  }
  const widths = /** @type {string[]} */ (table[0]).map((_, column) =>
    Math.max(...table.map((cells) => cells[column]?.length ?? 0)),
  );
  /** @param {string} cell @param {number} column */
  const pad = (cell, column) =>
    column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0);
  const [head = '', ...body] = table.map((cells) => `| ${cells.map(pad).join(' | ')} |`);
  const rule = `|${widths.map((width, column) => '-'.repeat(width + 1) + (column === 0 ? '-' : ':')).join('|')}|`;
  return [
    ...[head, rule, ...body],
    ...(notes.size > 0 ? ['', ...[...notes].map((note) => `- ${note}`)] : []),
  ].join('\n');
}
