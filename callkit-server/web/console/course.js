// How connections did in an ended call: a strip for each person, and in words what was not good.

import { h } from '../elements/base.js';
import { t } from '../i18n/index.js';
import { byPerson, troubles } from '../shared/course.js';

/** @typedef {import('../shared/api.js').QualityPeriod} QualityPeriod */

/**
 * @param {QualityPeriod[]} periods of everybody, by person and time
 * @param {number} began when the talk began, milliseconds since the Unix epoch
 * @returns {HTMLElement[]} nothing if nothing was measured
 */
export function course(periods, began) {
  const people = byPerson(periods);
  if (people.length === 0) return [];
  return [
    h('h3', {}, t('history-quality')),
    h('ul', { class: 'course', 'data-ck': 'history-quality' }, ...people.map((own) => {
      const lines = troubles(own, began);
      return h('li', {},
        h('strong', {}, t(own[0]?.role ?? 'customer')),
        strip(own),
        ...(lines.length === 0
          ? [h('p', { class: 'muted' }, t('history-quality-good'))]
          : lines.map(({ level, text }) => h('p', { 'data-level': level }, text))));
    })),
  ];
}

/** @param {QualityPeriod[]} own */
function strip(own) {
  // The words say the same: nothing for a screen reader.
  return h('div', { class: 'strip', 'aria-hidden': 'true' }, ...own.map((one) => {
    const part = h('span', { 'data-level': one.level });
    part.style.flexGrow = String(Math.max(1, one.to_ms - one.from_ms));
    return part;
  }));
}
