import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { reportPage } from '../../src/doctor/page.ts';
import type { Report } from '../../src/doctor/report.ts';

/** A report with `words` wherever a word may come from elsewhere. */
function reportOf(words: string): Report {
  const finding: Finding = {
    check: 'tools' as Finding['check'],
    name: words,
    status: 'fail',
    line: words,
    ms: 3,
    details: { [words]: words, list: [words, words] },
  };
  return {
    version: 2,
    program: words,
    redacted: true,
    healthy: false,
    gateways: [
      {
        url: words,
        configuredIn: { client: words, entry: words, file: words },
        startedAt: '2026-01-01T00:00:00.000Z',
        ms: 12,
        verdict: { healthy: false, sentence: words, remedy: words },
        findings: [
          { ...finding, check: 'protocol' },
          { ...finding, check: 'url', status: 'skipped' },
        ],
        timeline: [{ label: words, startMs: 0, connectedMs: 1, firstByteMs: 2, endMs: 3 }],
        log: [words],
        clientLog: [words],
      },
    ],
    unread: [{ client: words, file: words, why: words }],
  };
}

const tags = (page: string) => page.match(/<[a-z!/][^>]*>/gi) ?? [];

describe('reportPage', () => {
  it('has the same tags whatever the words are', () => {
    const expected = tags(reportPage(reportOf('x')));
    const pieces = fc.constantFrom(
      '<',
      '>',
      '"',
      "'",
      '&',
      '<b>',
      '</style>',
      '<!--',
      ']]>',
      'a',
      ' ',
      '=',
    );
    fc.assert(
      fc.property(fc.array(pieces, { minLength: 1, maxLength: 12 }), (list) => {
        // A word that a line has already is not said again, so it is none that `<b>` stands for.
        const words = `x${list.join('')}`;
        expect(tags(reportPage(reportOf(words)))).toEqual(expected);
      }),
    );
  });

  it('loads nothing and allows nothing', () => {
    const page = reportPage(reportOf('x'));
    expect(page).toContain(
      `content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"`,
    );
    expect(page).not.toMatch(/<script|\bon\w+=|src=|url\(|@import|https?:/i);
  });

  it('draws a bar for each part of what took its time', () => {
    const page = reportPage(reportOf('x'));
    const [, waterfall = ''] = /<svg class="waterfall"[\s\S]*?>([\s\S]*?)<\/svg>/.exec(page) ?? [];
    expect([...waterfall.matchAll(/<rect class="(\w+)"/g)].map(([, kind]) => kind)).toEqual([
      'connect',
      'wait',
      'receive',
    ]);
  });
});
