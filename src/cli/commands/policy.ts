import { readFileSync } from 'node:fs';
import { findNodeAtLocation, type ParseError, parseTree } from 'jsonc-parser';
import type { CommandModule } from 'yargs';
import { type PolicyProblem, parsePolicy } from '../../settings/policy/parse-policy.ts';
import { Policy } from '../../settings/policy/policy.ts';
import { Printer } from '../../terminal/printer.ts';

interface Arguments {
  file: string;
  json: boolean;
}

/** As `--json` prints it. */
interface CheckedPolicy {
  readonly file: string;
  readonly valid: boolean;
  /** What is wrong; `line` counts from 1. */
  readonly problems: readonly { readonly line: number; readonly problem: string }[];
  /** What it sets, a sentence each. */
  readonly sets: readonly string[];
}

/** `mcp-latchkey policy check FILE`: whether a policy can be used. Exit 1: it cannot. */
export const policyCommand: CommandModule<object, Arguments> = {
  command: 'policy <action> <file>',
  describe: "Check the file of an organization's policy",
  builder: (yargs) =>
    yargs
      .usage(
        '$0 policy check <file> [options]\n\nChecks what a policy says, before you put it in its place. Exits with 1 if it cannot be used.',
      )
      .positional('action', {
        choices: ['check'] as const,
        demandOption: true,
        describe: 'What to do',
      })
      .positional('file', { type: 'string', demandOption: true, describe: 'File of the policy' })
      .options({
        json: { type: 'boolean', default: false, describe: 'Print the findings as JSON' },
      }),
  handler({ file, json }) {
    const checked = check(file);
    process.exitCode = checked.valid ? 0 : 1;
    const out = new Printer(process.stdout);
    if (json) return out.json(checked);
    for (const { line, problem } of checked.problems) {
      out.marked('fail', line === 0 ? `${problem}.` : `Line ${line}: ${problem}.`);
    }
    if (!checked.valid) return;
    out.marked('ok', `${file} can be used.`);
    for (const set of checked.sets) out.text(set, 2);
  },
};

function check(file: string): CheckedPolicy {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const problem = `${file} cannot be read (${(error as NodeJS.ErrnoException).code})`;
    return { file, valid: false, problems: [{ line: 0, problem }], sets: [] };
  }
  const parsed = parsePolicy(text);
  if ('content' in parsed) {
    return { file, valid: true, problems: [], sets: new Policy(file, parsed.content).summary() };
  }
  const problems = parsed.problems.map((problem) => ({
    line: problem.line ?? lineOf(text, problem),
    problem: problem.words,
  }));
  return { file, valid: false, problems, sets: [] };
}

/** The line in which a problem is, from 1: of the first member on its path that is there. */
function lineOf(text: string, { path }: PolicyProblem): number {
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { disallowComments: true });
  let offset = errors[0]?.offset ?? tree?.offset ?? 0;
  for (let length = path.length; tree !== undefined && length > 0; length--) {
    const node = findNodeAtLocation(tree, path.slice(0, length));
    if (node === undefined) continue;
    offset = node.parent?.type === 'property' ? node.parent.offset : node.offset;
    break;
  }
  return text.slice(0, offset).split(/\r\n|\r|\n/).length;
}
