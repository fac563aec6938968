import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ownPlace, vsCodeVariants } from '../../src/install/places.ts';

function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-places-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

describe('the config of', () => {
  it('Claude Code is in CLAUDE_CONFIG_DIR', () => {
    const place = (env: NodeJS.ProcessEnv) =>
      ownPlace('claude-code', { platform: 'linux', env, home: '/h' });
    expect(place({ CLAUDE_CONFIG_DIR: '/c' })).toBe(join('/c', '.claude.json'));
    expect(place({ CLAUDE_CONFIG_DIR: '' })).toBeUndefined();
  });

  it('Claude Desktop from the Microsoft Store is in the folder that Windows gives it', () => {
    const LOCALAPPDATA = makeFolder();
    const here = { platform: 'win32', env: { LOCALAPPDATA }, home: '/h' } as const;
    expect(ownPlace('claude-desktop', here)).toBeUndefined();
    const folder = join(LOCALAPPDATA, 'Packages/Claude_pzs8sxrjxfjjc/LocalCache/Roaming/Claude');
    mkdirSync(folder, { recursive: true });
    mkdirSync(join(LOCALAPPDATA, 'Packages/Claude_left.over'));
    expect(ownPlace('claude-desktop', here)).toBe(join(folder, 'claude_desktop_config.json'));
    expect(ownPlace('claude-desktop', { ...here, platform: 'linux' })).toBeUndefined();
  });

  it('Claude Desktop for Windows is the one that was written last, of both kinds of build', () => {
    const home = makeFolder();
    const here = { platform: 'win32', env: {}, home } as const;
    const config = (...folder: string[]) => {
      const path = join(home, 'AppData', ...folder, 'Claude', 'claude_desktop_config.json');
      mkdirSync(dirname(path), { recursive: true });
      return path;
    };
    const write = (path: string, seconds: number) => {
      writeFileSync(path, '{}');
      utimesSync(path, seconds, seconds);
    };
    const classic = config('Roaming');
    write(classic, 2_000);
    expect(ownPlace('claude-desktop', here)).toBe(classic);
    const packaged = config('Local', 'Packages', 'Claude_pzs8sxrjxfjjc', 'LocalCache', 'Roaming');
    const older = config('Local', 'Packages', 'Claude_nest', 'LocalCache', 'Roaming');
    expect(ownPlace('claude-desktop', here)).toBe(classic);
    write(older, 1_000);
    write(packaged, 3_000);
    expect(ownPlace('claude-desktop', here)).toBe(packaged);
    write(classic, 4_000);
    expect(ownPlace('claude-desktop', here)).toBe(classic);
  });

  it('each edition of VS Code is in its own folder, and so is that of a profile', () => {
    const folder = makeFolder();
    const user = join(folder, 'Code - Insiders/User');
    for (const location of ['-1a2b', '77aa', 'shared', 'forgotten']) {
      mkdirSync(join(user, 'profiles', location), { recursive: true });
    }
    mkdirSync(join(user, 'globalStorage'));
    const userDataProfiles = [
      { location: '-1a2b', name: 'My Work' },
      { location: '77aa', name: '仕事' },
      { location: 'shared', name: 'Shared', useDefaultFlags: { mcp: true } },
      { location: 'gone', name: 'Gone' },
      { location: { path: '/elsewhere' }, name: 'Elsewhere' },
    ];
    writeFileSync(join(user, 'globalStorage/storage.json'), JSON.stringify({ userDataProfiles }));
    expect(vsCodeVariants(join(folder, 'Code/User/mcp.json'))).toEqual([
      {
        id: 'vscode-insiders',
        displayName: 'VS Code Insiders',
        configPath: join(user, 'mcp.json'),
      },
      {
        id: 'vscode-insiders-profile-my-work',
        displayName: 'VS Code Insiders (My Work)',
        configPath: join(user, 'profiles/-1a2b/mcp.json'),
      },
      {
        id: 'vscode-insiders-profile-77aa',
        displayName: 'VS Code Insiders (仕事)',
        configPath: join(user, 'profiles/77aa/mcp.json'),
      },
      {
        id: 'vscodium',
        displayName: 'VSCodium',
        configPath: join(folder, 'VSCodium/User/mcp.json'),
      },
    ]);
  });

  it('profiles that VS Code has noted in another way are left out', () => {
    const folder = makeFolder();
    mkdirSync(join(folder, 'Code/User/profiles/a'), { recursive: true });
    mkdirSync(join(folder, 'Code/User/globalStorage'));
    for (const text of ['{', '{}', '{"userDataProfiles":[null]}']) {
      writeFileSync(join(folder, 'Code/User/globalStorage/storage.json'), text);
      expect(vsCodeVariants(join(folder, 'Code/User/mcp.json'))).toHaveLength(2);
    }
  });
});
