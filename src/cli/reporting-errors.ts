import { UsageError } from '../settings/options.ts';
import { Printer } from '../terminal/printer.ts';

/**
 * Runs a command of `install` and reports its errors: on stderr, or as JSON on stdout. Sets exit code
 * 2 for a wrong command line, 1 for what could not be done. Rejects with anything else: a bug.
 */
export async function reportingErrors(
  json: boolean | undefined,
  run: () => Promise<void>,
): Promise<void> {
  const { EntryError, InstallError } = await import('../install/install.ts');
  try {
    await run();
  } catch (error) {
    const isUsage = error instanceof UsageError || error instanceof EntryError;
    if (!isUsage && !(error instanceof InstallError)) throw error;
    if (json) new Printer(process.stdout).line(JSON.stringify({ error: error.message }));
    else new Printer(process.stderr).failure(error.message);
    process.exitCode = isUsage ? 2 : 1;
  }
}
