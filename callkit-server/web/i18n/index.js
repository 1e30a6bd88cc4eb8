// Texts in the person's language: t('key', {..}). One language per page, chosen once.

import en from './en.js';
import ru from './ru.js';

/**
 * A text with {placeholders}, or its plural forms chosen by `n`.
 *
 * @typedef {string | { one?: string, few?: string, many?: string, other: string }} Text
 * @typedef {Record<string, Text>} Dictionary
 */

/** @type {Record<string, Dictionary>} */
export const DICTIONARIES = { en, ru };

// Known from the start, because elements that are in the page already take their texts while modules load.
let language = typeof document === 'undefined' ? 'en' : known(preferredLanguage());

/** @param {string} chosen a language tag; what is not known becomes English */
export function setLanguage(chosen) {
  language = known(chosen);
}

/** @param {string} tag */
function known(tag) {
  const base = tag.toLowerCase().split('-')[0] ?? 'en';
  return Object.hasOwn(DICTIONARIES, base) ? base : 'en';
}

export function currentLanguage() {
  return language;
}

/** `?lang=` of the page, else the browser's. */
export function preferredLanguage() {
  return new URLSearchParams(location.search).get('lang') ?? navigator.language ?? 'en';
}

/**
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 * @returns {string}
 */
export function t(key, values = {}) {
  const text = DICTIONARIES[language]?.[key] ?? en[key];
  if (text === undefined) return key;
  const form = typeof text === 'string' ? text : plural(text, Number(values.n ?? 0));
  return form.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''));
}

/** @param {string} key */
export function hasText(key) {
  return key in en;
}

/** @param {Exclude<Text, string>} forms @param {number} n */
function plural(forms, n) {
  const rule = /** @type {'one' | 'few' | 'many' | 'other'} */ (new Intl.PluralRules(language).select(n));
  return forms[rule] ?? forms.other;
}

const ENGLISH_ORDINALS = { one: 'st', two: 'nd', few: 'rd', other: 'th', zero: 'th', many: 'th' };

/** A place in a row: "2nd", «2-е». @param {number} n */
export function ordinal(n) {
  if (language === 'ru') return `${n}-е`;
  return `${n}${ENGLISH_ORDINALS[new Intl.PluralRules('en', { type: 'ordinal' }).select(n)]}`;
}

/** "04:05", "1:04:05". @param {number} ms */
export function clock(ms) {
  const total = Math.max(0, Math.floor(ms / 1000));
  const two = (/** @type {number} */ value) => String(value).padStart(2, '0');
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor((total % 3600) / 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${two(total % 60)}` : `${two(minutes)}:${two(total % 60)}`;
}

/** Time of day, with the date if it was not today. @param {number} unixMs */
export function timeOfDay(unixMs) {
  const date = new Date(unixMs);
  const today = date.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(language, {
    hour: '2-digit', minute: '2-digit', ...(today ? {} : { day: '2-digit', month: 'short' }),
  }).format(date);
}

/** Fills every element below `root` that names its text with `data-t` (and `data-t-placeholder`, `data-t-label`). @param {ParentNode} root */
export function translate(root) {
  for (const element of root.querySelectorAll('[data-t]')) {
    element.textContent = t(element.getAttribute('data-t') ?? '');
  }
  for (const element of root.querySelectorAll('[data-t-placeholder]')) {
    element.setAttribute('placeholder', t(element.getAttribute('data-t-placeholder') ?? ''));
  }
  for (const element of root.querySelectorAll('[data-t-label]')) {
    element.setAttribute('aria-label', t(element.getAttribute('data-t-label') ?? ''));
  }
}
