// Whether packets still arrive. Browsers take five seconds and more to call a connection lost; a steady stream that
// stops is noticed here within a moment. Pure: it is given the counts and the time.

/** A steady stream of packets that stops for this long is a loss, milliseconds. */
const QUIET_MS = 1800;
/** Looks with new packets in a row before silence means anything: without media only checks every few seconds come. */
const STEADY_AFTER = 4;

/**
 * @typedef {object} Beat
 * @property {boolean} arriving
 * @property {number | null} quietSince since when nothing comes, if it is a loss
 * @property {number} quietMs how long a steady stream has stopped already, milliseconds
 */

export class Pulse {
  #bytes = 0;
  #grewAt;
  #steady = 0;
  #everyMs;

  /** @param {{ now: number, everyMs: number }} options `everyMs`: how often {@link feel} is called */
  constructor({ now, everyMs }) {
    this.#grewAt = now;
    this.#everyMs = everyMs;
  }

  /**
   * @param {number} bytes that came so far, over all paths
   * @param {number} now
   * @returns {Beat}
   */
  feel(bytes, now) {
    const before = this.#bytes;
    this.#bytes = bytes;
    // Paths that are given up take their counts along: less than before says nothing.
    if (bytes > before) {
      this.#steady = now - this.#grewAt < 2 * this.#everyMs ? this.#steady + 1 : 0;
      this.#grewAt = now;
      return { arriving: true, quietSince: null, quietMs: 0 };
    }
    const quietMs = now - this.#grewAt;
    const wasSteady = this.#steady >= STEADY_AFTER;
    return { arriving: false, quietSince: wasSteady && quietMs >= QUIET_MS ? this.#grewAt : null, quietMs: wasSteady ? quietMs : 0 };
  }
}

/** What came in over all candidate pairs. @param {Iterable<any>} entries values of an RTCStatsReport */
export function bytesIn(entries) {
  let bytes = 0;
  for (const entry of entries) if (entry.type === 'candidate-pair') bytes += entry.bytesReceived ?? 0;
  return bytes;
}
