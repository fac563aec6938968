import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { checkText, conclusionText, findingText } from '../../src/doctor/text.ts';

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

describe('checkText', () => {
  const found = (name: string, status: Finding['status'], ms?: number): Finding => ({
    ...{ check: 'route', name, status, line: `about ${name}` },
    ...(ms === undefined ? {} : { ms }),
  });
  const text = (findings: readonly Finding[], isVerbose = false) =>
    checkText(findings, isVerbose, plain(60)).replaceAll(/ {2,}/g, '  ');

  it('folds what is fine into one line, with the time of all', () => {
    const findings = [found('dns', 'ok', 5), found('tcp', 'ok', 7), found('tls', 'skipped')];
    expect(text(findings)).toBe('✓ route  dns, tcp  12 ms\n');
  });

  it('leaves open what is not fine', () => {
    const findings = [found('dns', 'ok'), found('tcp', 'fail'), found('tls', 'warn')];
    expect(text(findings)).toBe('✓ dns  about dns\n✗ tcp  about tcp\n! tls  about tls\n');
  });

  it('says once why all of it was skipped', () => {
    const findings = [found('dns', 'skipped'), found('tcp', 'skipped')];
    expect(text(findings)).toBe('– route  skipped: about dns\n');
  });

  it('shows all of it when asked to', () => {
    const findings = [found('dns', 'ok'), found('tcp', 'ok'), found('tls', 'skipped')];
    expect(text(findings, true)).toBe(
      '✓ dns  about dns\n✓ tcp  about tcp\n– tls  skipped: about tls\n',
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
    const lines = conclusionText(report(details), true, plain(70)).split('\n');
    const bars = lines.map((line) => [...line].filter((own) => own === '█').length);
    expect(bars.slice(1, 5)).toEqual([10, 20, 20, 40]);
    expect(lines[4]).toMatch(/^ {2}slowest of 10 .* 40 ms$/);
  });

  it('has no chart unless everything is to be shown', () => {
    const details = { firstByteMs: 20, totalMs: 20, slowestMs: 40, pings: 10 };
    expect(conclusionText(report(details), false, plain(70))).toMatch(/^\n✗ It is slow\.\n/);
  });

  it('has reason and code of the error', () => {
    const verdict = { healthy: false, sentence: 'No.', reason: 'unauthorized', code: -32001 };
    const own = { ...report(undefined), verdict };
    expect(conclusionText(own, false, plain(80))).toContain(
      '  Reason: unauthorized, -32001. For more, run:\n',
    );
  });

  it('has no chart where nothing was measured', () => {
    expect(conclusionText(report(undefined), true, plain(80))).toBe(
      '\n✗ It is slow.\n\n  What to do\n  Wait.\n',
    );
  });
});
