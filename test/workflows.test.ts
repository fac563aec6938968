import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const folder = join(import.meta.dirname, '../.github/workflows');
const read = (file: string) => readFileSync(join(folder, file), 'utf8');

interface Job {
  readonly uses?: string;
  readonly needs?: string;
  readonly environment?: string;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly steps?: readonly {
    readonly run?: string;
    readonly uses?: string;
    readonly with?: Readonly<Record<string, unknown>>;
  }[];
}

describe.each(readdirSync(folder))('%s', (file) => {
  const workflow = parse(read(file)) as {
    permissions: object;
    jobs: Readonly<Record<string, Job>>;
  };

  it('runs actions by their full hash only, with the version beside it', () => {
    const actions = read(file).match(/\buses: .*/g) ?? [];
    expect(actions.length).toBeGreaterThan(0);
    for (const action of actions) {
      expect(action).toMatch(/^uses: (?:\.\/|[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$)/);
    }
  });

  it('may only read, but for single jobs', () => {
    expect(workflow.permissions).toEqual({ contents: 'read' });
  });

  it('leaves no token in what it has checked out', () => {
    const steps = Object.values(workflow.jobs).flatMap(({ steps = [] }) => steps);
    for (const step of steps.filter(({ uses }) => uses?.startsWith('actions/checkout@'))) {
      expect(step.with).toMatchObject({ 'persist-credentials': false });
    }
  });

  it('runs no script of a package where it may publish or write', () => {
    for (const { permissions = {}, steps = [] } of Object.values(workflow.jobs)) {
      if (!Object.values(permissions).includes('write')) continue;
      const installs = steps.flatMap(({ run = '' }) => run.match(/npm (?:ci|install)\b.*/g) ?? []);
      for (const install of installs) expect(install).toContain('--ignore-scripts');
    }
  });
});

it('publishes from a tag, after all tests, with provenance and without a token', () => {
  const text = read('release.yml');
  const { on, jobs } = parse(text) as { on: object; jobs: Readonly<Record<string, Job>> };
  expect(on).toEqual({ push: { tags: ['v*'] } });
  expect(jobs.test?.uses).toBe('./.github/workflows/ci.yml');
  expect(jobs.publish).toMatchObject({
    needs: 'test',
    environment: 'release',
    permissions: { contents: 'read', 'id-token': 'write' },
  });
  expect(text).not.toMatch(/secrets\.|NODE_AUTH_TOKEN/);
  const manifest = readFileSync(join(import.meta.dirname, '../package.json'), 'utf8');
  expect(JSON.parse(manifest).publishConfig).toEqual({ access: 'public', provenance: true });
  // What the release page has is what was published, not another one that was packed there.
  expect(jobs.attach?.needs).toBe('publish');
  const packs = jobs.attach?.steps?.flatMap(({ run = '' }) => run.match(/^npm pack.*/) ?? []);
  expect(packs).toEqual(['npm pack "mcp-latchkey@${GITHUB_REF_NAME#v}"']);
  expect(parse(read('ci.yml')).on).toHaveProperty('workflow_call');
});
