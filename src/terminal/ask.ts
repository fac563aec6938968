import { once } from 'node:events';
import { createInterface } from 'node:readline/promises';

/** Whether someone can be asked: both ends are a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

/** A line that is typed on the terminal; undefined after Ctrl-C or Ctrl-D. */
export async function ask(
  question: string,
  output: NodeJS.WritableStream = process.stdout,
): Promise<string | undefined> {
  const prompt = createInterface({ input: process.stdin, output });
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
  return isYes(await ask(`${question} [Y/n] `), true);
}

/** Whether the answer to `question`, which is shown on stderr, is yes; Enter alone means no. */
export async function insists(question: string): Promise<boolean> {
  return isYes(await ask(`${question} [y/N] `, process.stderr), false);
}

function isYes(answer: string | undefined, byDefault: boolean): boolean {
  if (answer === undefined) return false;
  return answer.trim() === '' ? byDefault : /^\s*y(?:es)?\s*$/i.test(answer);
}
