const REPEATABLE = new Set([
  'initialize',
  'ping',
  'tools/list',
  'prompts/list',
  'prompts/get',
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'completion/complete',
  'server/discover',
]);

/** Whether asking twice does no more than asking once, by the definition of the method. */
export function mayRepeatMethod(method: string): boolean {
  return REPEATABLE.has(method);
}
