// What the client needs from its surroundings: time, randomness, sockets. Tests bring their own.

/**
 * The part of WebSocket that the connection uses.
 *
 * @typedef {{
 *   send(data: string): void, close(code?: number): void,
 *   onopen: (() => void) | null, onmessage: ((event: { data: unknown }) => void) | null,
 *   onclose: ((event: { code: number }) => void) | null,
 * }} SocketLike
 *
 * @typedef {object} Environment
 * @property {() => number} now monotonic milliseconds
 * @property {() => number} random 0 <= x < 1
 * @property {() => string} uniqueId
 * @property {(callback: () => void, ms: number) => unknown} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {(url: string, protocol: string) => SocketLike} createSocket
 * @property {(callback: () => void) => () => void} startTicker calls about once per second, also in a hidden page;
 *   returns what stops it
 * @property {(callback: () => void) => () => void} onWake the network came back or the page became visible
 */

/** @returns {Environment} */
export function browserEnvironment() {
  return {
    now: () => performance.now(),
    random: () => Math.random(),
    uniqueId,
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (id) => clearTimeout(id),
    createSocket: (url, protocol) => /** @type {SocketLike} */ (/** @type {unknown} */ (new WebSocket(url, protocol))),
    startTicker,
    onWake(callback) {
      const abort = new AbortController();
      const { signal } = abort;
      addEventListener('online', callback, { signal });
      addEventListener('pageshow', callback, { signal });
      document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && callback(), { signal });
      return () => abort.abort();
    },
  };
}

/** 128 random bits in hexadecimal; `crypto.randomUUID` is missing on insecure origins. */
function uniqueId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Browsers slow the timers of a hidden page down to one per minute, and a server that hears nothing for 15 s takes
 * the page for dead. Timers of a worker keep their pace.
 *
 * @param {() => void} callback
 */
function startTicker(callback) {
  try {
    const worker = new Worker(new URL('./ticker-worker.js', import.meta.url), { type: 'module' });
    worker.onmessage = callback;
    return () => worker.terminate();
  } catch {
    const id = setInterval(callback, 1000);
    return () => clearInterval(id);
  }
}
