import { closeSync, readSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { cleanNetworkText } from '../failures/network-text.ts';
import { looksLikeToken, MASK } from '../failures/url-secrets.ts';
import { openPrivate, UnusableFile } from '../private-path.ts';
import type { ConfiguredIn } from './report.ts';

/** How much of the log's end is looked at. */
const MOST_BYTES = 64 * 1024;
const MOST_LINES = 40;
const MOST_CHARACTERS = 500;

interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly home: string;
}

/**
 * Where a client keeps its log of one server; undefined where no documentation says so. Claude
 * Desktop: modelcontextprotocol.io/docs/tools/debugging, and on Windows and Linux beside its config.
 */
export function clientLogFile(
  { client, entry, file }: ConfiguredIn,
  { platform, home }: Surroundings,
): string | undefined {
  // The name must not lead out of the folder.
  if (client !== 'Claude Desktop' || /[\\/]/.test(entry)) return undefined;
  const folder =
    platform === 'darwin' ? join(home, 'Library', 'Logs', 'Claude') : join(dirname(file), 'logs');
  return join(folder, `mcp-server-${entry}.log`);
}

/**
 * The last lines of a client's own log for an entry, 40 at most from its last 64 KiB, each of them one
 * clean line. Of the messages in it only the method, the id and the error are left, and no word that
 * looks like a token. One line with the reason where it cannot be read; none where there is no log.
 */
export function clientLogLines(
  configuredIn: ConfiguredIn,
  surroundings: Surroundings = { platform: process.platform, home: homedir() },
): string[] {
  const file = clientLogFile(configuredIn, surroundings);
  if (file === undefined) return [];
  try {
    return endOf(file)
      .split('\n')
      .filter((line) => line.trim() !== '')
      .slice(-MOST_LINES)
      .map((line) => cleanNetworkText(withoutTokens(withoutContent(line)), MOST_CHARACTERS));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    return [error instanceof UnusableFile ? message : `${file} cannot be read (${code})`];
  }
}

/** Without the line that its beginning cuts in two. Throws as `openPrivate` does. */
function endOf(file: string): string {
  const { fd, stats } = openPrivate(file, 'trusted');
  try {
    if (!stats.isFile()) throw new UnusableFile(`${file} is not a file`);
    const start = Math.max(0, stats.size - MOST_BYTES);
    const bytes = Buffer.alloc(Math.min(stats.size, MOST_BYTES));
    const text = bytes.toString('utf8', 0, readSync(fd, bytes, 0, bytes.length, start));
    return start === 0 ? text : text.slice(text.indexOf('\n') + 1);
  } finally {
    closeSync(fd);
  }
}

/** What the client and the server said to each other is theirs: what is left says what went wrong. */
function withoutContent(line: string): string {
  const at = line.indexOf('{');
  if (at < 0) return line;
  const before = line.slice(0, at);
  try {
    const { method, id, error } = JSON.parse(line.slice(at).replace(/}[^}]*$/, '}'));
    const words = [
      ...(typeof method === 'string' ? [method] : []),
      ...(id === undefined ? [] : [`id ${JSON.stringify(id)}`]),
      ...(error === undefined ? [] : [`error ${error?.code}: ${error?.message}`]),
    ];
    return `${before}${words.join(', ') || '{…}'}`;
  } catch {
    return `${before}{…}`;
  }
}

function withoutTokens(line: string): string {
  return line.replace(/[^\s,;:="'`?&/\\()[\]{}<>]+/g, (word) =>
    looksLikeToken(word) && !isTime(word) ? MASK : word,
  );
}

/** `2026-01-31T13`, as the beginning of a time is split off. */
const isTime = (word: string) => /^[\d.TZ-]{1,24}$/.test(word);
