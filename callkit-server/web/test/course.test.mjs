import assert from 'node:assert/strict';
import { test } from 'node:test';

import { byPerson, troubles } from '../shared/course.js';

const BEGAN = 1_700_000_000_000;
const poor = {
  participant: 'part_1', role: 'customer', from_ms: BEGAN + 40_000, to_ms: BEGAN + 80_000, level: 'poor', cause: 'network',
  score: 12, loss_up_percent: 12, loss_down_percent: 0,
};
const texts = (...periods) => troubles(periods, BEGAN).map((trouble) => trouble.text);

test('a_bad_time_is_told_with_its_level_when_it_was_and_whose_fault', () => {
  assert.deepEqual(texts(poor), ['Poor 00:40 – 01:20, own network']);
  assert.deepEqual(texts({ ...poor, level: 'no_sound', cause: undefined }), ['No sound 00:40 – 01:20']);
});

test('what_was_good_or_short_is_not_worth_a_line', () => {
  assert.deepEqual(texts({ ...poor, level: 'good' }, { ...poor, to_ms: poor.from_ms + 3999 }), []);
});

test('what_was_measured_before_the_talk_began_does_not_count_backwards', () => {
  assert.deepEqual(texts({ ...poor, from_ms: BEGAN - 5000 }), ['Poor 00:00 – 01:20, own network']);
});

test('periods_are_put_together_by_person', () => {
  const other = { ...poor, participant: 'part_2' };
  assert.deepEqual(byPerson([poor, poor, other]), [[poor, poor], [other]]);
});
