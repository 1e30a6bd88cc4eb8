// Typed listeners with AbortSignal support; the base of everything in the client that tells something.

/**
 * @template {Record<string, any>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(detail: any) => void>>} */
  #listeners = new Map();

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {(detail: Events[Name]) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {() => void} removes the listener
   */
  on(name, listener, options = {}) {
    const off = () => void this.#listeners.get(name)?.delete(listener);
    if (options.signal?.aborted) return off;
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    options.signal?.addEventListener('abort', off, { once: true });
    return off;
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} name
   * @param {Events[Name]} detail
   */
  emit(name, detail) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) listener(detail);
  }
}
