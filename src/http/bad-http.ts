/** Whether the peer does not keep to HTTP, or has headers without end. */
export function isBadHttp(error: Error): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  // A chunked body that breaks off is cut short, not badly made.
  if (code === 'HPE_INVALID_EOF_STATE') return false;
  return code.startsWith('HPE_');
}
