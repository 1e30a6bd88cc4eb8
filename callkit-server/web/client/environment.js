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
 * Why something is to be looked after at once: the network came back, it is another one, the page became visible, or
 * the computer slept.
 *
 * @typedef {'online' | 'network' | 'visible' | 'slept'} Wake
 *
 * @typedef {object} Environment
 * @property {() => number} now monotonic milliseconds
 * @property {() => number} wallNow time of day, milliseconds: it goes on while the computer sleeps
 * @property {() => number} random 0 <= x < 1
 * @property {() => string} uniqueId
 * @property {(callback: () => void, ms: number) => unknown} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {(url: string, protocol: string) => SocketLike} createSocket
 * @property {(callback: () => void) => () => void} startTicker calls about once per second, also in a hidden page;
 *   returns what stops it
 * @property {(callback: (why: Wake) => void) => () => void} onWake
 */

/** @returns {Environment} */
export function browserEnvironment() {
  return {
    now: () => performance.now(),
    wallNow: () => Date.now(),
    random: () => Math.random(),
    uniqueId,
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (id) => clearTimeout(id),
    createSocket: (url, protocol) => /** @type {SocketLike} */ (/** @type {unknown} */ (new WebSocket(url, protocol))),
    startTicker,
    onWake(callback) {
      const abort = new AbortController();
      const { signal } = abort;
      addEventListener('online', () => callback('online'), { signal });
      addEventListener('pageshow', () => callback('visible'), { signal });
      document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && callback('visible'), { signal });
      // Chromium fires `change` for each new estimate of speed; only another kind of network is another network.
      const network = /** @type {any} */ (navigator).connection;
      let kind = network?.type;
      network?.addEventListener?.('change', () => {
        if (network.type === kind) return;
        kind = network.type;
        if (kind !== 'none') callback('network');
      }, { signal });
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
