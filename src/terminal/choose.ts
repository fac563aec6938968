import checkbox from '@inquirer/checkbox';

/**
 * Lets the user choose one or more, with arrow keys and space or with numbers; `checked` are chosen at
 * first. Undefined after Ctrl-C. Needs a terminal.
 */
export async function chooseSeveral<Value>(
  message: string,
  choices: readonly { name: string; value: Value; checked: boolean }[],
): Promise<Value[] | undefined> {
  try {
    return await checkbox({ message, choices, required: true, loop: false });
  } catch (error) {
    if ((error as Error).name === 'ExitPromptError') return undefined;
    throw error;
  }
}
