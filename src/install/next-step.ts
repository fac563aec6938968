import type { Client } from './clients.ts';

/**
 * What the user does in the client so that it loads the changed entry, in sentences. docs/clients has
 * the same.
 */
export function nextStep(
  { id, displayName }: Pick<Client, 'id' | 'displayName'>,
  name: string,
  platform: NodeJS.Platform,
): string {
  switch (id) {
    case 'claude-desktop':
      return `${quitClaude(platform)}, then open it again. Closing the window is not enough. Settings > Developer shows ${name}.`;
    case 'claude-code':
      return `Start a new session of Claude Code. In it, /mcp shows ${name}.`;
    case 'codex':
      return `Start Codex again. In it, /mcp shows ${name}.`;
    case 'cursor':
      return `Quit Cursor and open it again. Its settings for MCP show ${name}.`;
    case 'vscode':
      return `In VS Code, run "MCP: List Servers" from the Command Palette, choose ${name}, and start it. VS Code asks once whether you trust it.`;
    case 'windsurf':
      return `In Windsurf, open the Cascade settings and press the refresh button in the list of MCP servers.`;
    case 'zed':
      return `Quit Zed and open it again. A green dot next to ${name} in the settings of the agent panel shows that it runs.`;
    default:
      return `Quit ${displayName} and open it again.`;
  }
}

function quitClaude(platform: NodeJS.Platform): string {
  if (platform === 'darwin') return 'Quit Claude with Cmd+Q';
  if (platform !== 'win32') return 'Quit Claude';
  return 'Right-click the Claude icon in the notification area and choose Quit';
}
