export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

/** A line goes out when its level is at or above the log's. Text from the network must be cleaned before. */
export type Log = Record<LogLevel, (line: string) => void>;

/**
 * A log that gives each line, with time and level, to `write`; lines below `level` are dropped.
 * `onLine` gets every line as it is, whatever its level.
 */
export function createLog(
  level: LogLevel,
  write: (line: string) => void,
  onLine?: (own: LogLevel, line: string) => void,
): Log {
  const limit = LOG_LEVELS.indexOf(level);
  const at = (own: LogLevel) => {
    if (LOG_LEVELS.indexOf(own) > limit) return (line: string) => onLine?.(own, line);
    return (line: string) => {
      onLine?.(own, line);
      write(`${new Date().toISOString()} mcp-latchkey ${own}: ${line}\n`);
    };
  };
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') };
}
