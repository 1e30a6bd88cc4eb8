// Virtual time for tests of the client: timers run when the test says so.

/** Lets everything that waits for a promise run. */
export async function settle() {
  for (let round = 0; round < 30; round++) await Promise.resolve();
}

export class FakeClock {
  #now = 0;
  #nextId = 1;
  /** @type {Map<number, { at: number, callback: () => void }>} */
  #timers = new Map();

  now = () => this.#now;

  /** @param {() => void} callback @param {number} ms */
  setTimeout = (callback, ms) => {
    const id = this.#nextId++;
    this.#timers.set(id, { at: this.#now + Math.max(0, ms), callback });
    return id;
  };

  /** @param {any} id */
  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  /** A ticker as {@link import('../environment.js').Environment} has it. @param {() => void} callback */
  startTicker = (callback) => {
    let stopped = false;
    const tick = () => {
      if (stopped) return;
      callback();
      this.setTimeout(tick, 1000);
    };
    this.setTimeout(tick, 1000);
    return () => {
      stopped = true;
    };
  };

  /** Time passes and nothing runs, as in a page that gets no processor: what was due is late. @param {number} ms */
  async hold(ms) {
    await settle();
    this.#now += ms;
  }

  /** Time passes; due timers run in order. @param {number} ms */
  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      let next = null;
      for (const [id, timer] of this.#timers) {
        if (timer.at <= end && (next === null || timer.at < next.timer.at)) next = { id, timer };
      }
      if (!next) break;
      this.#now = Math.max(this.#now, next.timer.at);
      this.#timers.delete(next.id);
      next.timer.callback();
    }
    this.#now = end;
    await settle();
  }
}
