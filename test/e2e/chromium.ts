import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { onTestFinished } from 'vitest';

/** Debian's name and others'. Undefined where there is none. */
export const chromium = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).status === 0,
);

/** What a page did when it was opened. */
export interface OpenedPage {
  /** Errors and messages on its console. */
  readonly console: readonly string[];
  /** URLs that it asked for, itself included. */
  readonly requests: readonly string[];
  /** The value of an expression there, of a promise once it has resolved. */
  evaluate(expression: string): Promise<unknown>;
  /** Milliseconds for which the page has kept a core busy, whatever else the machine was doing. */
  busyMs(): Promise<number>;
  /** Presses a key there, by its name as `KeyboardEvent.key`, or types a text. */
  press(key: string): Promise<void>;
  /** Pictures it, whole, into a PNG file. */
  screenshot(file: string): Promise<void>;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, never>;
  readonly result?: Record<string, never>;
  readonly error?: { readonly message: string };
}

type OnEvent = (method: string, params: Record<string, never>) => void;

/** Chromium's DevTools protocol over pipes: JSON messages with a zero byte behind each. */
class DevTools {
  readonly #child: ChildProcess;
  readonly #replies = new Map<number, (message: Message) => void>();
  readonly #onEvent: OnEvent;
  #lastId = 0;
  #session: string | undefined;

  constructor(child: ChildProcess, onEvent: OnEvent) {
    this.#child = child;
    this.#onEvent = onEvent;
    let text = '';
    (child.stdio[4] as NodeJS.ReadableStream).setEncoding('utf8').on('data', (more: string) => {
      const parts = (text + more).split('\0');
      text = parts.pop() as string;
      for (const part of parts) this.#read(JSON.parse(part));
    });
  }

  async call(method: string, params: object = {}): Promise<Record<string, never>> {
    const id = ++this.#lastId;
    const message = { id, method, params, ...(this.#session && { sessionId: this.#session }) };
    const reply = new Promise<Message>((resolve) => this.#replies.set(id, resolve));
    (this.#child.stdio[3] as NodeJS.WritableStream).write(`${JSON.stringify(message)}\0`);
    const { result, error } = await reply;
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result ?? {};
  }

  /** Everything from now on is for a new tab. */
  async openTab(): Promise<void> {
    const { targetId } = await this.call('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.call('Target.attachToTarget', { targetId, flatten: true });
    this.#session = sessionId;
  }

  /** Ends the browser. */
  async quit(): Promise<void> {
    this.#session = undefined;
    await this.call('Browser.close');
    await once(this.#child, 'close');
  }

  #read(message: Message): void {
    if (message.id !== undefined) this.#replies.get(message.id)?.(message);
    else if (message.method !== undefined) this.#onEvent(message.method, message.params ?? {});
  }
}

/**
 * Opens a file or an http URL in headless Chromium and waits until it is there. Its scripts run with
 * `scripts` only. `width`: of the window, in CSS pixels.
 */
export async function openInChromium(
  page: string,
  scheme: 'light' | 'dark' = 'light',
  { scripts = false, width = 900 } = {},
): Promise<OpenedPage> {
  const profile = mkdtempSync(join(tmpdir(), 'latchkey-chromium-'));
  const child = spawn(
    chromium as string,
    [
      ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
      ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
      ...['--remote-debugging-pipe', `--user-data-dir=${profile}`],
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  );
  const ended = new Promise((resolve) => child.once('close', resolve));
  const console: string[] = [];
  const requests: string[] = [];
  let onLoad = () => {};
  const loaded = new Promise<void>((resolve) => {
    onLoad = resolve;
  });
  const tools = new DevTools(child, (method, params) => {
    if (method === 'Network.requestWillBeSent')
      requests.push((params as { request?: { url: string } }).request?.url ?? '');
    else if (method === 'Page.loadEventFired') onLoad();
    else if (/^(?:Log\.entryAdded|Runtime\.(?:consoleAPICalled|exceptionThrown))$/.test(method)) {
      console.push(JSON.stringify(params));
    }
  });
  onTestFinished(async () => {
    // Killed, it would leave processes behind that still write to the folder.
    await Promise.race([tools.quit(), setTimeout(5_000)]);
    child.kill('SIGKILL');
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  });
  await tools.openTab();
  for (const domain of ['Page', 'Network', 'Log', 'Runtime']) await tools.call(`${domain}.enable`);
  await tools.call('Performance.enable', { timeDomain: 'threadTicks' });
  await tools.call('Emulation.setScriptExecutionDisabled', { value: !scripts });
  await tools.call('Emulation.setEmulatedMedia', {
    features: [{ name: 'prefers-color-scheme', value: scheme }],
  });
  await tools.call('Emulation.setDeviceMetricsOverride', {
    ...{ width, height: 1200, deviceScaleFactor: 1, mobile: false },
  });
  const url = page.startsWith('http:') ? page : pathToFileURL(page).href;
  await tools.call('Page.navigate', { url });
  await loaded;
  return {
    console,
    requests,
    evaluate: async (expression) => {
      const parameters = { expression, returnByValue: true, awaitPromise: true };
      const { result } = await tools.call('Runtime.evaluate', parameters);
      return (result as { value?: unknown } | undefined)?.value;
    },
    busyMs: async () => {
      const { metrics } = await tools.call('Performance.getMetrics');
      const all = metrics as unknown as { name: string; value: number }[];
      return 1_000 * (all.find(({ name }) => name === 'TaskDuration') as { value: number }).value;
    },
    press: async (key) => {
      const event = { key, code: key, ...(key.length === 1 && { text: key }) };
      for (const type of ['keyDown', 'keyUp']) {
        await tools.call('Input.dispatchKeyEvent', { type, ...event });
      }
    },
    screenshot: async (target) => {
      const { data } = await tools.call('Page.captureScreenshot', { captureBeyondViewport: true });
      writeFileSync(target, Buffer.from(String(data), 'base64'));
    },
  };
}
