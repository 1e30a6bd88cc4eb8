// Keyboard shortcuts of the console: Ctrl+Shift+letter, by the place of the key, so that they work in any layout.

/** Ending a call by keyboard needs a second press within this time, milliseconds. */
const SECOND_PRESS_MS = 3000;

/** @typedef {'accept' | 'decline' | 'microphone' | 'camera' | 'chat' | 'presence' | 'end'} Action */

/** @type {Record<string, Action>} */
const KEYS = {
  KeyA: 'accept', KeyD: 'decline', KeyM: 'microphone', KeyO: 'camera', KeyY: 'chat', KeyU: 'presence', KeyE: 'end',
};

/**
 * @param {(action: Action) => boolean} run does it; false if there is nothing to do
 * @param {() => void} hintEnd the first press of "end"
 */
export function installShortcuts(run, hintEnd) {
  let endPressedAt = -Infinity;
  addEventListener('keydown', (event) => {
    const action = actionOf(event);
    if (!action) return;
    if (action === 'end' && event.timeStamp - endPressedAt > SECOND_PRESS_MS) {
      endPressedAt = event.timeStamp;
      hintEnd();
      event.preventDefault();
      return;
    }
    endPressedAt = -Infinity;
    if (run(action)) event.preventDefault();
  });
}

/**
 * AltGraph types characters on many layouts, a held key repeats, an input method owns its keys.
 *
 * @param {Pick<KeyboardEvent, 'ctrlKey' | 'shiftKey' | 'altKey' | 'metaKey' | 'repeat' | 'isComposing' | 'code' | 'getModifierState'>} event
 * @returns {Action | null}
 */
export function actionOf(event) {
  if (!event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) return null;
  if (event.repeat || event.isComposing || event.getModifierState('AltGraph')) return null;
  return KEYS[event.code] ?? null;
}
