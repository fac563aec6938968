import { describe, expect, it } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import { verdictOn } from '../../src/doctor/report.ts';

const problem = (sentence: string) => ({ problem: { sentence, remedy: `Fix: ${sentence}` } });
const ok: Finding = { check: 'authorization', name: 'authorization', status: 'ok', line: 'opens' };
const note: Finding = { check: 'route', name: 'tls', status: 'warn', line: '3 days left' };
const slow: Finding = { ...note, check: 'speed', name: 'speed', ...problem('It is slow.') };
const clock: Finding = { ...note, check: 'machine', name: 'clock', ...problem('It is late.') };
const shut: Finding = { ...ok, status: 'fail', ...problem('It is shut.') };
const empty: Finding = { ...shut, check: 'protocol', name: 'tools', ...problem('None.') };

describe('verdictOn', () => {
  it('is the first failure, whatever else works badly', () => {
    expect(verdictOn('h', [clock, note, shut, empty, slow])).toEqual({
      healthy: false,
      sentence: 'It is shut.',
      remedy: 'Fix: It is shut.',
      finding: 'authorization',
      check: 'authorization',
    });
  });

  it('is the first thing to fix where all works', () => {
    expect(verdictOn('h', [clock, note, ok, slow])).toMatchObject({
      healthy: false,
      sentence: 'It works, with one problem. It is late.',
      finding: 'clock',
    });
  });

  it('is good where there are only notes', () => {
    const tools: Finding = { ...ok, name: 'tools', line: '3 tools: linear 3' };
    const speed: Finding = { ...ok, name: 'speed', line: 'median ping 1 ms (10 pings)' };
    expect(verdictOn('h', [note, ok, tools, speed])).toEqual({
      healthy: true,
      sentence: 'Everything works. h offers 3 tools, median ping 1 ms.',
    });
  });

  it('says so where the key is not known here', () => {
    const { healthy, sentence } = verdictOn('h', [{ ...ok, status: 'skipped' }]);
    expect({ healthy, sentence }).toMatchObject({
      healthy: true,
      sentence: expect.stringContaining('The other checks need the key'),
    });
  });
});
