/** JSON-RPC 2.0 §5.1. */
export const PARSE_ERROR = -32700;
export const INVALID_REQUEST = -32600;
export const METHOD_NOT_FOUND = -32601;
export const INVALID_PARAMS = -32602;

/** MCP 2025-11-25, Elicitation §URL Elicitation Required Error. */
export const URL_ELICITATION_REQUIRED = -32042;

/** MCP 2026-07-28, Overview §Error Codes. */
export const HEADER_MISMATCH = -32020;
const MISSING_CLIENT_CAPABILITY = -32021;
export const UNSUPPORTED_VERSION = -32022;

/** The errors that only a gateway of revision 2026-07-28 or later gives. */
export const MODERN_ERRORS: ReadonlySet<unknown> = new Set([
  HEADER_MISMATCH,
  MISSING_CLIENT_CAPABILITY,
  UNSUPPORTED_VERSION,
]);
