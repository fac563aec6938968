import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type {
  KeychainAnswered,
  KeychainQuestion,
  KeychainReply,
  KeychainRequest,
} from './keychain-access.ts';

/** What came of a request; `ended`: the process, without a reply. */
export type Reply = KeychainReply | { readonly kind: 'ended'; readonly how: string };

/** A request that was made. */
export interface Asked {
  /** Never rejects. */
  readonly reply: Promise<Reply>;
  readonly stop: () => void;
}

/** No child outlives its last reply, `stop`, or this process. */
export function ask(request: KeychainRequest): Asked {
  // Electron's program is an application, which may start as such instead of as Node.js.
  return process.versions.electron === undefined
    ? new KeychainChild().ask(request)
    : askHere(request);
}

/** The child of the newest read. */
let reader: KeychainChild | undefined;

/** As `ask`, in the child of a read that is under way: to start another would take as long as the first. */
export function askReader(request: KeychainRequest): Asked {
  if (process.versions.electron !== undefined) return askHere(request);
  if (reader?.isAsked !== true) {
    reader = new KeychainChild();
    return reader.ask(request);
  }
  let asked = reader.ask(request);
  const reply = asked.reply.then((own) => {
    if (own.kind !== 'ended') return own;
    // What made the child crash may have been the other read.
    asked = ask(request);
    return asked.reply;
  });
  return { reply, stop: () => asked.stop() };
}

/** Without a child: until there is a reply, this process ends only when it is killed. */
function askHere(request: KeychainRequest): Asked {
  const kill = () => process.kill(process.pid, 'SIGKILL');
  // The thread of a sign-in must not end the whole process with it.
  const { isMainThread } = process.getBuiltinModule('node:worker_threads');
  if (isMainThread) process.once('exit', kill);
  const { XDG_RUNTIME_DIR } = childEnvironment();
  if (XDG_RUNTIME_DIR !== undefined) process.env.XDG_RUNTIME_DIR = XDG_RUNTIME_DIR;
  const reply = import('./keychain-access.ts')
    .then(({ answer }) => answer(request))
    .catch(({ message }: Error): Reply => ({ kind: 'failed', message }));
  void reply.then(() => process.off('exit', kill));
  return { reply, stop: () => {} };
}

/** A process that asks the keychain, for several requests at once. */
class KeychainChild {
  readonly #waiting = new Map<number, (reply: Reply) => void>();
  readonly #child: ChildProcess | undefined;
  #asked = 0;

  constructor() {
    process.once('exit', this.#stop);
    try {
      const program = fileURLToPath(new URL('./keychain-child.js', import.meta.url));
      const source = globalThis.mcpLatchkeyLateFiles?.source('./keychain-child.js');
      // Under `-e`, the file that a program is in has to be given.
      const kept = source && ['-e', `__filename = ${JSON.stringify(program)};\n${source}`];
      this.#child = spawn(process.execPath, kept || [program], {
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        env: childEnvironment(),
        windowsHide: true,
      });
      this.#child.on('message', (message) => {
        const { id, reply } = message as KeychainAnswered;
        this.#answer(id, reply);
      });
      this.#child.on('error', ({ message }) => this.#end({ kind: 'failed', message }));
      this.#child.once('close', (code, signal) =>
        this.#end({ kind: 'ended', how: signal ?? String(code) }),
      );
    } catch (error) {
      const { message } = error as Error;
      queueMicrotask(() => this.#end({ kind: 'failed', message }));
    }
  }

  /** Whether a reply is still to come, so that the child takes more requests. */
  get isAsked(): boolean {
    return this.#waiting.size > 0;
  }

  ask(request: KeychainRequest): Asked {
    const id = this.#asked++;
    const reply = new Promise<Reply>((resolve) => {
      this.#waiting.set(id, resolve);
    });
    // There is no channel when this process has no file descriptor left to make one with.
    this.#child?.send?.({ id, request } satisfies KeychainQuestion, () => {});
    return { reply, stop: this.#stop };
  }

  #answer(id: number, reply: Reply): void {
    this.#waiting.get(id)?.(reply);
    this.#waiting.delete(id);
    if (!this.isAsked) this.#stop();
  }

  #end(reply: Reply): void {
    for (const id of this.#waiting.keys()) this.#answer(id, reply);
    this.#stop();
  }

  readonly #stop = (): void => {
    process.off('exit', this.#stop);
    // What could not be started has no pid, and a signal to none goes to this process's own group.
    if (this.#child?.pid !== undefined) this.#child.kill('SIGKILL');
  };
}

/**
 * What the system's keychain and its prompt are found by. Any other variable may contain a key, a
 * client's secret or a passphrase, since options name variables for these.
 */
const SYSTEM_VARIABLES = new RegExp(
  `^(?:${[
    'HOME|USER|LOGNAME|PATH|LANG(?:UAGE)?|LC_\\w+|TMPDIR|TMP|TEMP|NODE_OPTIONS',
    'DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DESKTOP_SESSION|(?:DBUS|XDG|GNOME|KDE|GIO|LD|NIX|DYLD)_\\w+',
    'USERPROFILE|USERNAME|USERDOMAIN|APPDATA|LOCALAPPDATA|PROGRAMDATA|SYSTEMROOT|SYSTEMDRIVE|WINDIR',
    '__CF_USER_TEXT_ENCODING',
  ].join('|')})$`,
  'i',
);

function childEnvironment(): NodeJS.ProcessEnv {
  const isSystems = ([name]: [string, unknown]) => SYSTEM_VARIABLES.test(name);
  return {
    // The MCP SDK hands HOME, PATH and little else on to a server, so that D-Bus would not be found
    // in the place where systemd has it.
    ...(process.platform === 'linux' && { XDG_RUNTIME_DIR: `/run/user/${process.getuid?.()}` }),
    ...Object.fromEntries(Object.entries(process.env).filter(isSystems)),
    // It gains nothing from one, and is given every key: it must not run what a shared one contains.
    NODE_DISABLE_COMPILE_CACHE: '1',
    // What the system says is told apart by its words.
    LC_ALL: 'C',
  };
}

/**
 * False where libsecret could not but fail (GLib 2.84, `g_dbus_address_get_for_bus_sync`): to find
 * that out in a child would take 80 ms of each start without a key.
 */
export function mayHaveSessionBus(): boolean {
  const env = childEnvironment();
  if (process.platform !== 'linux') return true;
  if (env.DBUS_SESSION_BUS_ADDRESS || existsSync(`${env.XDG_RUNTIME_DIR}/bus`)) return true;
  // Then GLib starts a bus, when there is a display to tell others of it.
  return Boolean(env.DISPLAY);
}
