// STUN and TURN servers with credentials that expire: asked for ahead of time, used if they are there. A call never
// waits long for them and never fails for the lack of them.

/** After a failure the server is left alone for this long, milliseconds. */
const RETRY_AFTER_MS = 10_000;

/** @typedef {{ list: readonly RTCIceServer[], askedAt: number, lifeMs: number }} Known */

export class IceServers {
  #ask;
  #now;
  /** @type {Known | null} */
  #known = null;
  /** @type {Promise<boolean> | null} */
  #asking = null;
  #notBefore = 0;
  #round = 0;

  /**
   * @param {{ ask: () => Promise<import('./protocol.js').OkFrame>, now: () => number }} options
   */
  constructor({ ask, now }) {
    this.#ask = ask;
    this.#now = now;
  }

  /** What to build a connection with; empty if there is nothing that is valid. @returns {RTCIceServer[]} */
  get list() {
    const known = this.#known;
    return known && this.#now() - known.askedAt < known.lifeMs ? [...known.list] : [];
  }

  /** Whether they are younger than half their life. */
  get fresh() {
    const known = this.#known;
    return known !== null && this.#now() - known.askedAt < known.lifeMs / 2;
  }

  /** Asks unless what is known is fresh; true if the list is a new one. @returns {Promise<boolean>} */
  refresh() {
    if (this.#asking) return this.#asking;
    if (this.fresh || this.#now() < this.#notBefore) return Promise.resolve(false);
    const round = this.#round;
    const askedAt = this.#now();
    const asking = this.#ask().then(
      ({ ice_servers: list, expires_in_ms: lifeMs }) => {
        if (round !== this.#round) return false;
        const before = JSON.stringify(this.#known?.list ?? []);
        this.#known = { list: Object.freeze(list ?? []), askedAt, lifeMs: lifeMs ?? Number.POSITIVE_INFINITY };
        return JSON.stringify(this.#known.list) !== before;
      },
      () => {
        this.#notBefore = this.#now() + RETRY_AFTER_MS;
        return false;
      },
    ).finally(() => {
      if (this.#asking === asking) this.#asking = null;
    });
    this.#asking = asking;
    return asking;
  }

  /** Another server process, or another person: what is known is not for us. */
  forget() {
    this.#round++;
    this.#known = null;
    this.#asking = null;
    this.#notBefore = 0;
  }
}
