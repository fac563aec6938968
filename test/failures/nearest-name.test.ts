import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nearestNames } from '../../src/failures/nearest-name.ts';
import { rounds } from '../property-rounds.ts';

const TOOLS = [
  'github_create_issue',
  'github_get_issue',
  'github_list_pull_requests',
  'linear_create_issue',
  'linear_get_issue',
  'linear_list_issues',
  'platform_search',
  'sap-s4hana-rfc_invoke_bapi',
  'slack_post_message',
];

describe('nearestNames', () => {
  it.each([
    ['linear:get_issue', 'linear_get_issue'],
    ['linear/get_issue', 'linear_get_issue'],
    ['linear.get_issue', 'linear_get_issue'],
    ['linear__get_issue', 'linear_get_issue'],
    ['linear-get-issue', 'linear_get_issue'],
    ['Linear_Get_Issue', 'linear_get_issue'],
    ['linearGetIssue', 'linear_get_issue'],
    ['linear_get_isue', 'linear_get_issue'],
    ['linaer_get_issue', 'linear_get_issue'],
    ['linear_get_issues', 'linear_get_issue'],
    ['mcp__kindo__linear_get_issue', 'linear_get_issue'],
    ['sap_s4hana_rfc_invoke_bapi', 'sap-s4hana-rfc_invoke_bapi'],
    ['sap-s4hana-rfc:invoke_bapi', 'sap-s4hana-rfc_invoke_bapi'],
    ['invoke_bapi', 'sap-s4hana-rfc_invoke_bapi'],
    ['postMessage', 'slack_post_message'],
    ['post_mesage', 'slack_post_message'],
    ['search', 'platform_search'],
    ['plattform_serch', 'platform_search'],
  ])('for %s names %s first', (wanted, nearest) => {
    expect(nearestNames(wanted, TOOLS)[0]).toBe(nearest);
  });

  it('names every integration that has the tool, in the order given', () => {
    expect(nearestNames('get_issue', TOOLS)).toEqual(['github_get_issue', 'linear_get_issue']);
    expect(nearestNames('create-issue', TOOLS)).toEqual([
      'github_create_issue',
      'linear_create_issue',
    ]);
  });

  it('names an exact match before a typo', () => {
    expect(nearestNames('a:tool_one', ['a_tool_ones', 'a_tool_one', 'b_tool_one'])).toEqual([
      'a_tool_one',
      'a_tool_ones',
      'b_tool_one',
    ]);
  });

  it.each([
    'jira_delete_everything',
    'linear_',
    'linear',
    'issue',
    'x',
    '',
    '___',
    ':',
    '密钥',
    '\u202e',
  ])('names nothing for %j', (wanted) => {
    expect(nearestNames(wanted, TOOLS)).toEqual([]);
  });

  it('names nothing for a name without letters or of more than 200 characters', () => {
    expect(nearestNames(':', ['_', '.'])).toEqual([]);
    expect(nearestNames(`${'x'.repeat(183)}_linear_get_issue`, TOOLS)).toEqual([
      'linear_get_issue',
    ]);
    expect(nearestNames(`${'x'.repeat(184)}_linear_get_issue`, TOOLS)).toEqual([]);
  });

  it('does not take another integration for a typo', () => {
    expect(nearestNames('jira_get_issue', TOOLS)).toEqual([]);
    expect(nearestNames('cat', ['car', 'cut', 'bat'])).toEqual([]);
  });

  it('never names what was asked for, and nothing twice', () => {
    expect(nearestNames('a_tool', ['a_tool', 'a.tool', 'a.tool'])).toEqual(['a.tool']);
  });

  it('names three unless told otherwise', () => {
    const many = Array.from({ length: 9 }, (_, i) => `server${i}_do_it`);
    expect(nearestNames('do_it', many)).toEqual(many.slice(0, 3));
    expect(nearestNames('do_it', many, 5)).toHaveLength(5);
    expect(nearestNames('do_it', many, 0)).toEqual([]);
  });

  it('names nothing when no tool is known', () => {
    expect(nearestNames('linear_get_issue', [])).toEqual([]);
  });

  it('finds a name again under any separators and case', () => {
    const separator = fc.constantFrom('_', ':', '/', '.', '-', '__', ' ', '::');
    const mangled = fc.constantFrom(...TOOLS).chain((name) =>
      fc.array(fc.tuple(separator, fc.boolean()), { minLength: 8, maxLength: 8 }).map((choices) => {
        const parts = name
          .split(/[_-]/)
          .map((word, i) => (choices[i]?.[1] ? word.toUpperCase() : word));
        return { name, wanted: parts.reduce((text, word, i) => text + choices[i]?.[0] + word) };
      }),
    );
    fc.assert(
      fc.property(mangled, ({ name, wanted }) => {
        if (wanted !== name) expect(nearestNames(wanted, TOOLS)[0]).toBe(name);
      }),
    );
  });

  it('finds a name again after any one typo', () => {
    const letter = fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0');
    const edit = fc.record({
      at: fc.nat(),
      letter,
      kind: fc.constantFrom('insert', 'delete', 'replace', 'swap'),
    });
    fc.assert(
      fc.property(fc.constantFrom(...TOOLS), edit, (name, { at, letter, kind }) => {
        const i = at % (name.length - 1);
        const [before, here, next, after] = [
          name.slice(0, i),
          name[i],
          name[i + 1],
          name.slice(i + 2),
        ];
        const edited = {
          insert: letter + here + next,
          delete: next,
          replace: letter + next,
          swap: `${next}${here}`,
        }[kind];
        const wanted = before + edited + after;
        if (wanted !== name) expect(nearestNames(wanted, TOOLS)).toContain(name);
      }),
      { numRuns: rounds(1000) },
    );
  });

  it('counts typos as the plain definition does', () => {
    const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 4, maxLength: 14 });
    fc.assert(
      fc.property(word, word, (wanted, known) => {
        const allowed = Math.min(3, Math.floor(wanted.length / 4));
        const near = wanted !== known && distance(wanted, known) <= allowed;
        expect(nearestNames(wanted, [known])).toEqual(near ? [known] : []);
      }),
      { numRuns: rounds(2000) },
    );
  });

  it('never throws, and names only what is known', () => {
    const name = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.constantFrom(...TOOLS, '_', 'constructor'),
    );
    fc.assert(
      fc.property(name, fc.array(name), (wanted, known) => {
        const nearest = nearestNames(wanted, known);
        expect(nearest.length).toBeLessThanOrEqual(3);
        for (const one of nearest) expect(known).toContain(one);
      }),
      { numRuns: rounds(1000) },
    );
  });

  it('is quick with 2,000 tools, also when all names are long and nearly the same', () => {
    const long = Array.from({ length: 2000 }, (_, i) => `${'a'.repeat(120)}${i}`);
    const huge = Array.from({ length: 2000 }, () => 'a_'.repeat(1_000_000));
    const started = performance.now();
    nearestNames('a'.repeat(122), long);
    nearestNames(`${'ab'.repeat(90)}`, long);
    expect(nearestNames('a_'.repeat(5_000_000), long)).toEqual([]);
    expect(nearestNames('aaaa', huge)).toEqual([]);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

/** Optimal string alignment by its recursive definition. */
function distance(a: string, b: string): number {
  const known = new Map<string, number>();
  const from = (i: number, j: number): number => {
    if (i === 0 || j === 0) return i + j;
    const key = `${i} ${j}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const costs = [
      from(i - 1, j) + 1,
      from(i, j - 1) + 1,
      from(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
    ];
    if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
      costs.push(from(i - 2, j - 2) + 1);
    known.set(key, Math.min(...costs));
    return Math.min(...costs);
  };
  return from(a.length, b.length);
}
