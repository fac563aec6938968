import type { ReadStream, WriteStream } from 'node:tty';

/** Characters that a secret may have; what is typed beyond is dropped. */
const MAX_CHARACTERS = 64 * 1024;

/**
 * Shows `question` on the terminal and reads one line from it, of which it shows only how many
 * characters there are: that a paste has arrived. Backspace, Ctrl-U and a pasted line end work; arrow
 * keys and the like are ignored. Undefined after Ctrl-C, or Ctrl-D on an empty line, and when
 * `signal` aborts. The terminal is as it was once this resolves.
 */
export async function promptHidden(
  question: string,
  { input, output, signal }: { input: ReadStream; output: WriteStream; signal?: AbortSignal },
): Promise<string | undefined> {
  const wasRaw = input.isRaw;
  // Before the question: what a user types as soon as it shows must not show.
  input.setRawMode(true);
  output.write(question);
  input.setEncoding('utf8').resume();
  const line = new HiddenLine();
  let sign = '';
  try {
    return await new Promise<string | undefined>((resolve) => {
      input.on('data', (keys: string) => {
        line.type(keys);
        const before = sign.length;
        const { length } = line.text;
        sign = length === 0 ? '' : `${length} ${length === 1 ? 'character' : 'characters'}`;
        const rest = Math.max(0, before - sign.length);
        output.write('\b'.repeat(before) + sign + ' '.repeat(rest) + '\b'.repeat(rest));
        if (line.end !== undefined) resolve(line.end === 'entered' ? line.text : undefined);
      });
      for (const event of ['end', 'close', 'error']) input.once(event, () => resolve(undefined));
      signal?.addEventListener('abort', () => resolve(undefined), { once: true });
      if (signal?.aborted) resolve(undefined);
    });
  } finally {
    input.removeAllListeners('data');
    input.setRawMode(wasRaw);
    input.pause();
    output.write('\n');
  }
}

// CSI and SS3 sequences (ECMA-48 §5.4), bracketed paste among them, and Alt with a key.
const ESCAPE_SEQUENCE = /\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^[O])/g;

class HiddenLine {
  text = '';
  end: 'entered' | 'cancelled' | undefined;

  type(keys: string): void {
    const plain = keys.replace(ESCAPE_SEQUENCE, '');
    // What is pasted may begin with the end of the line before.
    for (const key of this.text === '' ? plain.replace(/^[\r\n]+(?=[^\r\n])/, '') : plain) {
      this.#press(key);
      if (this.end !== undefined) return;
    }
  }

  #press(key: string): void {
    switch (key) {
      case '\r':
      case '\n':
        this.end = 'entered';
        return;
      case '\x03':
        this.end = 'cancelled';
        return;
      case '\x04':
        if (this.text === '') this.end = 'cancelled';
        return;
      case '\x15':
        this.text = '';
        return;
      case '\b':
      case '\x7f':
        this.text = [...this.text].slice(0, -1).join('');
        return;
      default:
        if (key >= ' ' && this.text.length < MAX_CHARACTERS) this.text += key;
    }
  }
}
