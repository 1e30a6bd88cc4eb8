// Shortcuts by the place of the key.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { actionOf } from '../console/shortcuts.js';

const press = (overrides) => ({
  ctrlKey: true, shiftKey: true, altKey: false, metaKey: false, repeat: false, isComposing: false, code: 'KeyM',
  getModifierState: () => false, ...overrides,
});

test('shortcuts_go_by_place_not_by_letter', () => {
  assert.equal(actionOf(press({ key: 'ь' })), 'microphone');
  assert.equal(actionOf(press({ code: 'KeyA' })), 'accept');
});

test('typing_never_presses_anything', () => {
  assert.equal(actionOf(press({ ctrlKey: false })), null);
  assert.equal(actionOf(press({ repeat: true })), null);
  assert.equal(actionOf(press({ isComposing: true })), null);
  assert.equal(actionOf(press({ getModifierState: (key) => key === 'AltGraph' })), null);
});
