import { execFile, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter } from 'node:path';

/** What opens a browser here, or why none is opened, in words that follow a colon. */
export type Browser =
  | { readonly commands: readonly Command[]; readonly env: Environment }
  | { readonly words: string };

type Environment = Readonly<Record<string, string | undefined>>;

/** A program and its arguments. */
interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** Its exit code says nothing: `explorer.exe` always has 1. */
  readonly isMute?: true;
}

/** How long a command may take to fail. Many go on for as long as the browser is open. */
const FAILURE_LIMIT_MS = 3_000;
const SESSION_LIMIT_MS = 2_000;

/** What a program needs to find the user's desktop, where a client has not handed it on. */
const SESSION_VARIABLES = new Set([
  ...['DISPLAY', 'WAYLAND_DISPLAY', 'XAUTHORITY', 'DBUS_SESSION_BUS_ADDRESS', 'XDG_RUNTIME_DIR'],
  ...['XDG_CURRENT_DESKTOP', 'XDG_SESSION_TYPE', 'XDG_DATA_DIRS', 'DESKTOP_SESSION', 'BROWSER'],
]);

/**
 * What would open a browser for this user: `$BROWSER`, or else the system's own way where there is a
 * desktop session. `session` asks the system for the session's variables on Linux, since the MCP SDK
 * hands few to a server. Never rejects.
 */
export async function findBrowser(
  platform: NodeJS.Platform,
  env: Environment,
  session: () => Promise<Environment> = sessionEnvironment,
): Promise<Browser> {
  const isWsl = platform === 'linux' && /microsoft/i.test(release());
  const { BROWSER = '' } = env;
  if (BROWSER.trim() !== '') return { commands: browserCommands(BROWSER), env };
  if (env.SSH_CONNECTION || env.SSH_CLIENT || env.SSH_TTY) {
    return { words: 'this is an SSH session' };
  }
  if (env.CI && !/^(?:false|0)$/i.test(env.CI)) return { words: 'this is a CI run' };
  if (platform === 'darwin') return { commands: [{ file: '/usr/bin/open', args: [] }], env };
  if (platform === 'win32') {
    const file = `${env.SystemRoot ?? 'C:\\Windows'}\\System32\\rundll32.exe`;
    return { commands: [{ file, args: ['url.dll,FileProtocolHandler'] }], env };
  }
  if (isWsl) {
    const explorer = { file: '/mnt/c/Windows/explorer.exe', args: [], isMute: true } as const;
    return { commands: [{ file: 'wslview', args: [] }, explorer], env };
  }
  const hasDisplay = (own: Environment) => Boolean(own.DISPLAY || own.WAYLAND_DISPLAY);
  const full = hasDisplay(env) ? env : { ...env, ...(await session()) };
  if (!hasDisplay(full)) return { words: 'there is no desktop session' };
  if (full.BROWSER) return { commands: browserCommands(full.BROWSER), env: full };
  return { commands: [{ file: 'xdg-open', args: [] }], env: full };
}

/**
 * Opens an http or https URL in the first of the commands that does not fail within 3 s. Undefined
 * when one was started, else why none was, in words that follow a colon. No shell gets to see the
 * URL, and the program gets none of the variables `secretVariables`, nor one of this program's own.
 * Never rejects.
 */
export async function openBrowser(
  url: string,
  { commands, env }: Extract<Browser, { commands: unknown }>,
  secretVariables: readonly string[],
): Promise<string | undefined> {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return 'the URL is not a web address';
  const { href } = new URL(url);
  const childEnv = withoutSecrets(env, secretVariables);
  let words = 'BROWSER is empty';
  for (const command of commands) {
    const failure = await run(command, href, childEnv);
    if (failure === undefined) return undefined;
    words = `${command.file} ${failure}`;
  }
  return words;
}

/** The environment less the variables that are named, and those of this program. */
export function withoutSecrets(env: Environment, names: readonly string[]): Environment {
  const isSecret = (name: string) =>
    names.includes(name) || name.toUpperCase().startsWith('MCP_LATCHKEY_');
  return Object.fromEntries(Object.entries(env).filter(([name]) => !isSecret(name)));
}

/**
 * The commands of `$BROWSER`, in the order to try them: separated by colons (on Windows by
 * semicolons), each with `%s` where the URL goes, `%%` for a percent sign and `%c` for a colon.
 */
function browserCommands(variable: string): Command[] {
  return variable.split(delimiter).flatMap((text) => {
    const [file, ...args] = words(text);
    return file === undefined ? [] : [{ file, args }];
  });
}

/** As a shell would part them at white space, with quotes but nothing else that is special there. */
function words(text: string): string[] {
  const found = text.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  return found.map((word) => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}

function withUrl(args: readonly string[], url: string): string[] {
  let hasUrl = false;
  const filled = args.map((arg) =>
    arg.replace(/%[sc%]/g, (code) => {
      if (code === '%%') return '%';
      if (code === '%c') return ':';
      hasUrl = true;
      return url;
    }),
  );
  return hasUrl ? filled : [...filled, url];
}

/** Undefined when it was started and did not fail, else how it failed. */
function run(
  { file, args, isMute }: Command,
  url: string,
  env: Environment,
): Promise<string | undefined> {
  return new Promise((resolve) => {
    try {
      const child = spawn(file, withUrl(args, url), {
        // The browser outlives this process, and gets no signal that is meant for it.
        detached: true,
        stdio: 'ignore',
        env: { ...env },
        windowsHide: true,
      });
      const timer = setTimeout(resolve, FAILURE_LIMIT_MS, undefined);
      const settle = (how: string | undefined) => {
        clearTimeout(timer);
        resolve(how);
      };
      child.once('error', ({ code }: NodeJS.ErrnoException) =>
        settle(code === 'ENOENT' ? 'was not found' : `could not be started (${code})`),
      );
      child.once('exit', (code, signal) => {
        if (code === 0 || isMute) settle(undefined);
        else settle(`failed (${signal ?? `exit code ${code}`})`);
      });
      child.unref();
    } catch (error) {
      resolve(`could not be started (${(error as NodeJS.ErrnoException).code})`);
    }
  });
}

/**
 * The variables of the user's desktop session that systemd knows, for what this process was not
 * handed; none where there is no systemd. Takes at most 2 s. Never rejects.
 */
function sessionEnvironment(): Promise<Environment> {
  const folder = process.env.XDG_RUNTIME_DIR ?? `/run/user/${process.getuid?.()}`;
  if (!existsSync(`${folder}/systemd/private`)) return Promise.resolve({});
  const env = { ...process.env, XDG_RUNTIME_DIR: folder };
  const options = { env, timeout: SESSION_LIMIT_MS, killSignal: 'SIGKILL' } as const;
  return new Promise((resolve) => {
    execFile('systemctl', ['--user', 'show-environment'], options, (error, stdout) => {
      const pairs = stdout.split('\n').map((line) => /^(\w+)=(?!\$')(.*)$/.exec(line) ?? []);
      const wanted = pairs.filter(([, name = '']) => SESSION_VARIABLES.has(name));
      resolve(error ? {} : Object.fromEntries(wanted.map(([, name, value]) => [name, value])));
    });
  });
}
