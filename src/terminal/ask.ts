import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';

/** Whether someone can be asked: both ends are a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/** A line that is typed on the terminal; undefined after Ctrl-C or Ctrl-D. */
export async function ask(question: string): Promise<string | undefined> {
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await Promise.race([
    // Ctrl-C rejects, Ctrl-D closes.
    prompt.question(question).catch(() => undefined),
    once(prompt, 'close').then(() => undefined),
  ]);
  prompt.close();
  return answer;
}

/** Whether the answer to `question` is yes, or Enter alone. */
export async function confirms(question: string): Promise<boolean> {
  const answer = await ask(`${question} [Y/n] `);
  return answer !== undefined && /^\s*(?:y(?:es)?)?\s*$/i.test(answer);
}
