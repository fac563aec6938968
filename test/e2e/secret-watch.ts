import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import type { AuthorizationServer } from '../../src/sandbox/oauth/authorization-server.ts';
import { runToEnd, startProxy } from './running-proxy.ts';

/** How often the processes are looked at. A process that lives shorter may go unseen. */
const TICK_MS = 10;
/** Shorter ones are found by chance. */
const SHORTEST_SECRET = 8;
/** Parameters of requests to an authorization server that must stay secret. */
const SECRET_PARAMETERS = [
  'access_token',
  'assertion',
  'client_assertion',
  'client_secret',
  'code',
  'code_verifier',
  'device_code',
  'refresh_token',
  'state',
  'subject_token',
  'token',
];

/**
 * Watches a sign-in from outside: every file below a folder, and the arguments and environment of
 * every process that the program starts, detached ones too. When the test is over, no secret may be
 * in any of it, nor in what the program wrote.
 */
export interface SecretWatch {
  /** Empty at first; the program's home, and its place for temporary files. */
  readonly folder: string;
  /** What the program needs in its environment to keep to the folder. */
  readonly env: Record<string, string>;
  /** Marks texts as secret. */
  add(...secrets: readonly (string | null | undefined)[]): void;
  /** Marks as secret what a sandbox's server gives out, and what it is sent, now and later. */
  follow(server: AuthorizationServer): void;
  /** `wrote`: something that the program has written and others can read. */
  wrote(text: string): void;
  /** Runs the program to its end in the folder, as `runToEnd` does. */
  run(
    args: readonly string[],
    input?: string,
    env?: Record<string, string>,
  ): ReturnType<typeof runToEnd>;
  /** Starts the proxy in the folder, as `startProxy` does, without a key. */
  proxy(url: string, args?: string[], env?: Record<string, string>): ReturnType<typeof startProxy>;
}

export function watchSecrets(): SecretWatch {
  const watch = startWatch();
  // Registered first, so that it runs last, when every program has ended.
  onTestFinished(async () => {
    expect(await watch.end()).toEqual([]);
  });
  return watch;
}

/** A watch that says what it has found, without the secrets, once it is ended. */
export function startWatch(): SecretWatch & { end(): Promise<string[]> } {
  const folder = mkdtempSync(join(tmpdir(), 'latchkey-oauth-'));
  mkdirSync(join(folder, 'tmp'));
  const storeKey = randomBytes(32).toString('base64');
  const secrets = new Set<string>([storeKey]);
  const servers: AuthorizationServer[] = [];
  const outputs: (() => string)[] = [];
  const processes = new ProcessWatch(folder);

  const watch = {
    folder,
    env: {
      HOME: folder,
      USERPROFILE: folder,
      XDG_RUNTIME_DIR: join(folder, 'tmp'),
      TMPDIR: join(folder, 'tmp'),
      TEMP: join(folder, 'tmp'),
      XDG_DATA_HOME: join(folder, 'data'),
      LOCALAPPDATA: join(folder, 'data'),
      DBUS_SESSION_BUS_ADDRESS: 'unix:path=/nonexistent/bus',
      MCP_LATCHKEY_API_KEY: '',
      // As in a container, so that no test depends on the keychain of the machine.
      MCP_LATCHKEY_STORE_KEY: storeKey,
    },
    add: (...more: readonly (string | null | undefined)[]) => {
      for (const secret of more) if (secret) secrets.add(secret);
    },
    follow: (server: AuthorizationServer) => void servers.push(server),
    wrote: (text: string) => void outputs.push(() => text),
    async run(args: readonly string[], input?: string, env?: Record<string, string>) {
      const ended = await runToEnd(args, input, { ...watch.env, ...env });
      watch.wrote(ended.stdout);
      watch.wrote(ended.stderr);
      return ended;
    },
    proxy(url: string, args: string[] = [], env: Record<string, string> = {}) {
      const proxy = startProxy(url, { args, env: { ...watch.env, ...env } });
      outputs.push(() => proxy.stderr + JSON.stringify(proxy.messages));
      return proxy;
    },
    async end() {
      await processes.stop();
      for (const server of servers) watch.add(...server.secrets, ...secretsSentTo(server));
      try {
        return leaksOf(secrets, [
          ...outputs.map((output) => ({ where: 'output', content: Buffer.from(output()) })),
          ...filesBelow(folder),
          ...processes.found(),
        ]);
      } finally {
        // A helper process of a sign-in may still write there.
        rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
      }
    },
  };
  return watch;
}

/** Something that others can read. */
interface Readable {
  where: string;
  content: Buffer;
}

/** The place of each secret that is in what others can read, and how it begins. */
function leaksOf(secrets: Iterable<string>, readables: readonly Readable[]): string[] {
  const leaks = new Set<string>();
  for (const secret of secrets) {
    if (secret.length < SHORTEST_SECRET) continue;
    const forms = formsOf(secret);
    for (const { where, content } of readables) {
      if (forms.some((form) => content.includes(form))) {
        leaks.add(`${where}: ${secret.slice(0, 16)}… (${secret.length} characters)`);
      }
    }
  }
  return [...leaks];
}

/** The ways in which a secret may be written. */
function formsOf(secret: string): string[] {
  // Base64 of something longer has it at one of three offsets; what lies at the edges differs.
  const encoded = ['', ' ', '  '].flatMap((before) => {
    const text = Buffer.from(before + secret).toString('base64');
    const inner = text.slice(before === '' ? 0 : 4, -4);
    return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')];
  });
  const forms = [secret, encodeURIComponent(secret), Buffer.from(secret).toString('hex')];
  return [...new Set([...forms, ...encoded])].filter((form) => form.length >= SHORTEST_SECRET);
}

/** What was in requests to the server that must stay between the two. */
function secretsSentTo({ requests }: AuthorizationServer): string[] {
  return requests.flatMap(({ url, text }) => {
    const [, query = ''] = url.split('?');
    return [query, text].flatMap((form) => {
      const parameters = new URLSearchParams(form);
      return SECRET_PARAMETERS.flatMap((name) => parameters.getAll(name));
    });
  });
}

function filesBelow(folder: string): Readable[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return { where: path.slice(folder.length), content: readFileSync(path) };
    });
}

/** Reads /proc; without one, as on macOS and Windows, it finds nothing. */
class ProcessWatch {
  readonly #marker: string;
  /** Those of the program, and how often the others were looked at. */
  readonly #ours = new Set<string>();
  readonly #looks = new Map<string, number>();
  readonly #seen = new Map<string, Readable>();
  readonly #ticking: Promise<void>;
  #isStopped = false;

  constructor(marker: string) {
    this.#marker = marker;
    this.#ticking = this.#tick();
  }

  /** Arguments and environments. */
  found(): Readable[] {
    return [...this.#seen.values()];
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#ticking;
  }

  async #tick(): Promise<void> {
    while (!this.#isStopped) {
      for (const id of processIds()) {
        // One that was just forked becomes another program soon, so it is looked at again.
        const looks = this.#looks.get(id) ?? 0;
        this.#looks.set(id, looks + 1);
        if (looks < 3 || this.#ours.has(id)) this.#look(id);
      }
      await sleep(TICK_MS);
    }
  }

  #look(id: string): void {
    try {
      // Before the environment: a fork that becomes another program between the two reads would be
      // found to have its parent's environment under its own arguments.
      const cmdline = readFileSync(`/proc/${id}/cmdline`);
      const environ = readFileSync(`/proc/${id}/environ`);
      // Behind the name, which is in parentheses and may have any character: the state, the parent.
      const stat = readFileSync(`/proc/${id}/stat`, 'latin1');
      const [, parent = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (!environ.includes(this.#marker) && !this.#ours.has(parent)) return;
      this.#ours.add(id);
      // One that is becoming another program has none.
      if (cmdline.length === 0) return;
      // A fork that has not become another program yet: it has all that its parent has.
      if (cmdline.equals(readFileSync(`/proc/${parent}/cmdline`))) return;
      const program = cmdline.toString('latin1').replaceAll('\0', ' ').slice(0, 60);
      this.#keep(`arguments of ${program}`, cmdline);
      // The environment of what the test itself has started is the test's.
      if (parent !== String(process.pid)) this.#keep(`environment of ${program}`, environ);
    } catch {
      // It has ended meanwhile.
    }
  }

  #keep(where: string, content: Buffer): void {
    this.#seen.set(`${where}\n${content.toString('latin1')}`, { where, content });
  }
}

function processIds(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}
