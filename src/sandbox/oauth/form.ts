/** The parameters of a request, each at most once. */
export type Form = ReadonlyMap<string, string>;

/**
 * Reads `application/x-www-form-urlencoded` or a query. A parameter without a value counts as left
 * out (RFC 6749 §3.1). Undefined when one comes twice; the second `resource` is dropped instead,
 * which may come more than once (RFC 8707 §2), but has one meaning here.
 */
export function readForm(text: string): Form | undefined {
  const form = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(text)) {
    if (value === '') continue;
    if (!form.has(name)) form.set(name, value);
    else if (name !== 'resource') return undefined;
  }
  return form;
}
