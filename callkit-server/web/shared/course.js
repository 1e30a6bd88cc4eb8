// How connections did in an ended call, in words. Without DOM.

import { clock, t } from '../i18n/index.js';

/** @typedef {import('./api.js').QualityPeriod} QualityPeriod */

/** Shorter ones are not worth a line, milliseconds: what nobody noticed is only in the strip. */
const WORTH_A_LINE_MS = 4000;

/**
 * The periods of each person, in order.
 *
 * @param {QualityPeriod[]} periods of everybody, by person and time
 */
export function byPerson(periods) {
  /** @type {Map<string, QualityPeriod[]>} */
  const people = new Map();
  for (const period of periods) {
    const own = people.get(period.participant);
    if (own) own.push(period);
    else people.set(period.participant, [period]);
  }
  return [...people.values()];
}

/**
 * What was not good.
 *
 * @param {QualityPeriod[]} own of one person
 * @param {number} began when the talk began, milliseconds since the Unix epoch
 */
export function troubles(own, began) {
  return own
    .filter((one) => one.level !== 'good' && one.to_ms - one.from_ms >= WORTH_A_LINE_MS)
    .map((one) => {
      const span = t('history-left', {
        from: clock(Math.max(0, one.from_ms - began)), to: clock(Math.max(0, one.to_ms - began)),
      });
      const told = `${t(`quality-${one.level}`)} ${span}`;
      return { level: one.level, text: one.cause ? `${told}, ${t(`history-cause-${one.cause}`)}` : told };
    });
}
