const CHECK_MS = 2_000;

/**
 * Calls `onChange` each time this computer has got or lost an address, as when it joins a network or
 * a VPN. Returns what ends the watch. Node.js has no event for that, so it looks every 2 s.
 */
export function watchForNetworkChange(onChange: () => void): () => void {
  let before = addresses();
  const timer = setInterval(() => {
    const now = addresses();
    if (now !== before) onChange();
    before = now;
  }, CHECK_MS).unref();
  return () => clearInterval(timer);
}

function addresses(): string {
  try {
    const interfaces = process.getBuiltinModule('node:os').networkInterfaces();
    const all = Object.values(interfaces).flatMap((own = []) => own);
    return all
      .map(({ address }) => address)
      .sort()
      .join();
  } catch {
    // A system may forbid to ask (libuv, uv_interface_addresses).
    return '';
  }
}
