import { expect, it } from 'vitest';
import { CATALOGUE } from '../../src/failures/catalogue.ts';
import { errorsPage, explainError } from '../../src/failures/errors-page.ts';
import { runToEnd } from '../e2e/running-proxy.ts';

// `npm run docs` writes it.
it('docs/errors.md says what the catalogue says', async () => {
  await expect(errorsPage()).toMatchFileSnapshot('../../docs/errors.md');
});

it('has a code of its own for each reason, in the range MCP leaves to implementations', () => {
  const codes = Object.values(CATALOGUE).map(({ code }) => code);
  expect(new Set(codes).size).toBe(codes.length);
  for (const code of codes) {
    expect(code).toBeLessThanOrEqual(-32000);
    expect(code).toBeGreaterThanOrEqual(-32019);
  }
});

it.each(Object.entries(CATALOGUE))(
  'explains %s by its name and by its code',
  (reason, { code }) => {
    const explanation = explainError(reason);
    expect(explanation).toContain(`### ${reason}`);
    expect(explainError(String(code))).toBe(explanation);
    expect(explainError(String(-code))).toBe(explanation);
  },
);

it('prints what `explain` is asked for, and exits 2 for what it does not know', async () => {
  const known = await runToEnd(['explain', '-32012']);
  expect(known).toMatchObject({ code: 0, stderr: '' });
  expect(known.stdout).toContain('unauthorized');
  expect(known.stdout.split('\n').every((line) => line.length <= 80)).toBe(true);
  const unknown = await runToEnd(['explain', 'nonsense']);
  expect(unknown).toMatchObject({ code: 2, stdout: '' });
  expect(unknown.stderr).toContain('unauthorized');
});
