/** Whether the peer does not keep to HTTP, or has headers without end. */
export function isBadHttp(error: Error): boolean {
  const { code = '' } = error as NodeJS.ErrnoException;
  // A chunked body that breaks off is cut short, not badly made.
  if (code === 'HPE_INVALID_EOF_STATE') return false;
  return code.startsWith('HPE_');
}

/** Whether what could not be read as HTTP/1.1 is a frame of HTTP/2 (RFC 9113 §4.1, §3.4, §6.8). */
export function isHttp2Frame(error: Error): boolean {
  const { rawPacket } = error as { rawPacket?: unknown };
  if (!Buffer.isBuffer(rawPacket) || rawPacket.length < 9) return false;
  const [isSettings, isGoAway] = [rawPacket[3] === 4, rawPacket[3] === 7];
  return (isSettings || isGoAway) && rawPacket[0] === 0 && rawPacket.readUInt32BE(5) === 0;
}
