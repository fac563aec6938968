import { expect, it } from 'vitest';
import { policyPaths } from '../../../src/settings/policy/policy-file.ts';

const C = 'C:\\ProgramData\\mcp-latchkey\\policy.json';
const D = 'D:\\ProgramData\\mcp-latchkey\\policy.json';

it.each<[NodeJS.Platform, NodeJS.ProcessEnv, string[]]>([
  ['linux', { ProgramData: '/x' }, ['/etc/mcp-latchkey/policy.json']],
  ['darwin', {}, ['/Library/Application Support/mcp-latchkey/policy.json']],
  ['win32', {}, [C]],
  ['win32', { ProgramData: 'C:\\ProgramData', SystemDrive: 'C:' }, [C]],
  ['win32', { ProgramData: 'D:\\ProgramData', SystemDrive: 'D:' }, [C, D]],
  ['win32', { ProgramData: '', SystemDrive: 'D:' }, [C, D]],
  ['win32', { ProgramData: 'D:\\ProgramData' }, [C, D]],
])('on %s with %j the policy may be in %j', (platform, env, paths) => {
  expect(policyPaths(platform, env)).toEqual(paths);
});
