// Waiting for conditions with deadlines. Tests wait for what they want to see, never for time to pass.

/** Pause between two looks at a condition, milliseconds. */
const LOOK_EVERY_MS = 50;

/** Factor on all deadlines, for machines that do other work as well (CALLKIT_E2E_PATIENCE=3). */
export const PATIENCE = Number(process.env.CALLKIT_E2E_PATIENCE ?? 1);

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Calls `look` until it gives something truthy and returns that. An error thrown by `look` counts as "not yet"
 * (a page that reloads cannot be asked) and is quoted if the deadline passes.
 * @template T
 * @param {string} what for the failure message
 * @param {() => Promise<T> | T} look
 * @param {{ timeout?: number, describe?: () => Promise<unknown> | unknown }} [options] timeout in milliseconds
 * @returns {Promise<T>}
 */
export async function until(what, look, { timeout = 15_000, describe } = {}) {
  const deadline = performance.now() + timeout * PATIENCE;
  let trouble;
  for (;;) {
    try {
      const seen = await look();
      if (seen) return seen;
      trouble = undefined;
    } catch (error) {
      trouble = error;
    }
    if (performance.now() > deadline) break;
    await pause(LOOK_EVERY_MS);
  }
  const notes = [`${what}: not within ${timeout * PATIENCE} ms`];
  if (trouble) notes.push(`last error: ${trouble.message ?? trouble}`);
  if (describe) {
    const seen = await Promise.resolve().then(describe).catch((error) => `(cannot be asked: ${error.message})`);
    notes.push(`last seen: ${typeof seen === 'string' ? seen : JSON.stringify(seen)}`);
  }
  throw new Error(notes.join('; '));
}

/**
 * Checks that something stays true for a while, by looking at it all the time.
 * @param {string} what
 * @param {number} ms
 * @param {() => Promise<boolean> | boolean} look
 */
export async function holds(what, ms, look) {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (!(await look())) throw new Error(`${what}: did not hold for ${ms} ms`);
    await pause(LOOK_EVERY_MS);
  }
}
