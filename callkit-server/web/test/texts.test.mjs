// Texts: both languages complete, placeholders equal, plurals right.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { test } from 'node:test';
import { DICTIONARIES, clock, ordinal, setLanguage, t } from '../i18n/index.js';

const WEB = new URL('../', import.meta.url);
const END_REASONS = ['customer', 'agent', 'abandoned', 'customer_lost', 'agent_lost', 'both_lost', 'queue_timeout', 'queue_full', 'media_failed', 'system', 'unknown'];
const forms = (text) => (typeof text === 'string' ? [text] : Object.values(text));
const placeholders = (text) => [...new Set(forms(text).flatMap((form) => form.match(/\{\w+\}/g) ?? []))].sort();

test('both_languages_have_the_same_keys_and_placeholders', () => {
  const { en, ru } = DICTIONARIES;
  assert.deepEqual(Object.keys(ru).sort(), Object.keys(en).sort());
  for (const key of Object.keys(en)) assert.deepEqual(placeholders(ru[key]), placeholders(en[key]), key);
});

test('russian_plurals_have_all_forms', () => {
  for (const [key, text] of Object.entries(DICTIONARIES.ru)) {
    if (typeof text !== 'string') assert.deepEqual(Object.keys(text).sort(), ['few', 'many', 'one', 'other'], key);
  }
  setLanguage('ru-RU');
  assert.deepEqual([1, 2, 5, 21].map((n) => t('offer-seconds', { n })), [
    'Осталась 1 секунда', 'Осталось 2 секунды', 'Осталось 5 секунд', 'Осталась 21 секунда',
  ]);
});

test('russian_texts_do_not_guess_a_gender', () => {
  for (const [key, text] of Object.entries(DICTIONARIES.ru)) {
    for (const form of forms(text)) assert.doesNotMatch(form, /\{name\} \p{L}+(л|ла|лся|лась)(?!\p{L})/u, key);
  }
});

test('every_end_reason_is_told_to_both_sides', () => {
  for (const side of ['customer', 'operator']) {
    for (const reason of END_REASONS) assert.ok(DICTIONARIES.en[`reason-${side}-${reason}`], `${side} ${reason}`);
  }
});

test('places_and_times_read_well', () => {
  setLanguage('en');
  assert.deepEqual([1, 2, 3, 4, 11, 12, 21, 102].map(ordinal), ['1st', '2nd', '3rd', '4th', '11th', '12th', '21st', '102nd']);
  assert.deepEqual([0, 61_000, 3_725_000, -5].map(clock), ['00:00', '01:01', '1:02:05', '00:00']);
  setLanguage('ru');
  assert.equal(t('queue-position', { ordinal: ordinal(2) }), 'Вы в очереди: 2-е место');
});

test('every_key_that_is_used_exists', () => {
  const files = (folder) => readdirSync(new URL(folder, WEB)).map((name) => `${folder}${name}`)
    .flatMap((path) => (statSync(new URL(path, WEB)).isDirectory() ? files(`${path}/`) : [path]));
  for (const path of ['call/', 'console/', 'elements/', 'shared/'].flatMap(files)) {
    const source = readFileSync(new URL(path, WEB), 'utf8');
    const used = [...source.matchAll(/\bt\('([a-z_-]+)'[,)]/g), ...source.matchAll(/data-t(?:-\w+)?="([a-z-]+)"/g)];
    for (const [, key] of used) assert.ok(key in DICTIONARIES.en, `${path} uses ${key}`);
  }
});
