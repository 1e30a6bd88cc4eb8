import assert from 'node:assert/strict';
import { test } from 'node:test';

import { words } from '../console/course.js';

const BEGAN = 1_700_000_000_000;
const poor = {
  participant: 'part_1', role: 'customer', from_ms: BEGAN + 40_000, to_ms: BEGAN + 80_000, level: 'poor', cause: 'network',
  score: 12, loss_up_percent: 12, loss_down_percent: 0,
};

test('a bad time is told with its level, when it was and whose fault', () => {
  assert.equal(words(poor, BEGAN), 'Poor 0:40 – 1:20, own network');
  assert.equal(words({ ...poor, level: 'no_sound', cause: undefined }, BEGAN), 'No sound 0:40 – 1:20');
});

test('what was measured before the talk began does not count backwards', () => {
  assert.equal(words({ ...poor, from_ms: BEGAN - 5000 }, BEGAN), 'Poor 0:00 – 1:20, own network');
});
