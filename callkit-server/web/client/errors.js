// The one error type of the client: a stable code, whether trying again may help, and the cause.

/**
 * Codes made in the browser. The codes of the server's answers are listed in docs/protocol.md and pass through
 * unchanged.
 *
 * @typedef {'permission_denied' | 'permission_dismissed' | 'permission_system' | 'not_found' | 'in_use' | 'policy_blocked'
 *   | 'gesture_required' | 'capture_failed' | 'connection_lost' | 'timeout' | 'closed' | 'too_many_requests' | 'malformed' | 'unauthenticated'
 *   | 'unavailable' | 'replaced' | 'media_failed'} ClientErrorCode
 */

/** What went wrong, for programs (`code`) and for people (`messageKey` in the dictionaries). */
export class CallkitError extends Error {
  /**
   * @param {string} code stable, snake_case
   * @param {{ message?: string, retryable?: boolean, cause?: unknown, device?: 'microphone' | 'camera' | 'screen' | null }} [options]
   */
  constructor(code, options = {}) {
    super(options.message ?? code, { cause: options.cause });
    this.name = 'CallkitError';
    /** @readonly */
    this.code = code;
    /** Whether the same action may succeed later. @readonly */
    this.retryable = options.retryable ?? false;
    /** Key of the sentence for people. @readonly */
    this.messageKey = `error-${code.replaceAll('_', '-')}`;
    /** Which device it is about, if it is about one. @readonly */
    this.device = options.device ?? null;
  }

  /**
   * Any thrown value as a CallkitError.
   *
   * @param {unknown} error
   * @param {string} [code] code for a value that is not one of ours
   */
  static from(error, code = 'unavailable') {
    if (error instanceof CallkitError) return error;
    return new CallkitError(code, { cause: error, retryable: true, message: String(error) });
  }
}
