import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { conclusionText, findingText } from '../../src/doctor/text.ts';

const plain = (columns: number) => ({ paint: (_: unknown, text: string) => text, columns });

const statuses = ['ok', 'warn', 'fail', 'skipped'] as const;

describe('findingText', () => {
  it('has mark, name, text and time on one line', () => {
    const finding: Finding = {
      check: 'authorization',
      name: 'authorization',
      status: 'ok',
      line: 'opens',
      ms: 12.3,
    };
    expect(findingText(finding, plain(60))).toBe(`✓ authorization  opens${' '.repeat(33)}12 ms\n`);
  });

  it('keeps to the width whatever there is to say', () => {
    const words = fc.array(fc.stringMatching(/^[a-z]{1,15}$/), { maxLength: 40 });
    const time = fc.option(fc.double({ min: 0, max: 60_000, noNaN: true }), { nil: undefined });
    const columns = fc.integer({ min: 50, max: 200 });
    fc.assert(
      fc.property(fc.constantFrom(...statuses), words, time, columns, (status, line, ms, width) => {
        const finding = { check: 'tools', name: 'initialize', status, line: line.join(' ') };
        const shown = findingText(
          { ...finding, ...(ms === undefined ? {} : { ms }) } as Finding,
          plain(width),
        );
        for (const own of shown.trimEnd().split('\n'))
          expect(own.length).toBeLessThanOrEqual(width);
        for (const word of line) expect(shown).toContain(word);
      }),
    );
  });
});

describe('conclusionText', () => {
  const report = (details: Finding['details']) => ({
    startedAt: '',
    ms: 0,
    verdict: { healthy: false, sentence: 'It is slow.', remedy: 'Wait.' },
    findings: [
      { check: 'speed', name: 'speed', status: 'ok', line: '', ...(details ? { details } : {}) },
    ] as Finding[],
    timeline: [],
    log: [],
  });

  it('draws each time as a bar, the longest over the whole width', () => {
    const details = { connectMs: 10, firstByteMs: 20, totalMs: 20, slowestMs: 40, pings: 10 };
    const lines = conclusionText(report(details), plain(70)).split('\n');
    const bars = lines.map((line) => [...line].filter((own) => own === '█').length);
    expect(bars.slice(1, 5)).toEqual([10, 20, 20, 40]);
    expect(lines[4]).toMatch(/^ {2}slowest of 10 .* 40 ms$/);
  });

  it('has no chart where nothing was measured', () => {
    expect(conclusionText(report(undefined), plain(80))).toBe(
      '\n✗ It is slow.\n\n  What to do\n  Wait.\n',
    );
  });
});
