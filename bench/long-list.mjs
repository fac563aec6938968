/** How many tools the long list has, and how many of them a filter leaves. */
export const listedTools = 5000;
export const keptTools = 10;

/**
 * The result of tools/list: 5 MB, with as much text and schema a tool as gateways send. `delete_*` are
 * those that a filter removes.
 * @returns {string} JSON
 */
export function longList() {
  const properties = Object.fromEntries(
    ['key', 'title', 'state', 'labels'].map((name) => [
      name,
      { type: 'string', description: `The ${name} of the "issue", as the tracker shows it` },
    ]),
  );
  const tools = Array.from({ length: listedTools }, (_, index) => ({
    name: `${index % (listedTools / keptTools) === 0 ? 'get' : 'delete'}_issue_${index}`,
    description:
      'Does something with an issue of the tracker, and returns what is left of it. '.repeat(6),
    inputSchema: { type: 'object', properties, required: ['key'] },
    annotations: { readOnlyHint: false, destructiveHint: true },
  }));
  return JSON.stringify({ tools });
}
