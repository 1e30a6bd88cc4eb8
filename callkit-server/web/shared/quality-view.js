// What people are shown of the quality: a level with its cause, figures for staff, advice at most once a minute, and a
// report as text. Pure.

import { t } from '../i18n/index.js';

/** The same advice is given at most this often, milliseconds. */
const ADVICE_EVERY_MS = 60_000;
/** How long advice stays, milliseconds. */
const ADVICE_FOR_MS = 10_000;
/** Levels that are the person's own affair, found here faster than anywhere else. */
const OWN_AFFAIRS = new Set(['no_sound', 'local_cpu']);
const LEVELS = new Set(['good', 'fair', 'poor', 'video_paused', 'local_cpu', 'no_sound']);

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../client/protocol.js').QualityLevel} QualityLevel
 * @typedef {import('../client/protocol.js').QualityView} QualityView
 * @typedef {import('../elements/quality.js').QualityDetails} QualityDetails
 * @typedef {import('../elements/link.js').Advice} Advice
 */

/** Own level and cause: what the server says, which knows both ends; before it does, what was measured here. @param {State} state */
export function ownQuality({ call, quality, sample, connection }) {
  const me = call?.participants.find((participant) => participant.you);
  const told = me && connection.state === 'connected' ? quality[me.id] : undefined;
  const measured = sample?.level ?? 'good';
  if (OWN_AFFAIRS.has(measured)) return { level: measured, cause: /** @type {const} */ ('this_computer') };
  if (!told) return { level: measured, cause: null };
  return { level: known(told.level), cause: told.cause ?? null };
}

/** @param {State} state @param {(participant: import('../client/protocol.js').ParticipantView) => string} nameOf @returns {QualityDetails} */
export function qualityDetails(state, nameOf) {
  const own = ownQuality(state);
  const isStaff = state.you !== null && state.you.role !== 'customer';
  const others = isStaff ? otherViews(state) : [];
  return {
    level: own.level,
    cause: own.cause && own.level !== 'good' ? t(`cause-${own.cause}`) : '',
    others: others.filter(({ view }) => known(view.level) !== 'good')
      .map(({ participant, view }) => ({ name: nameOf(participant), level: known(view.level) })),
    sections: isStaff ? sections(state, others, nameOf) : [],
  };
}

/** Everything that support needs to know, as text. @param {State} state @param {(participant: import('../client/protocol.js').ParticipantView) => string} nameOf @param {{ at: Date, agent: string, page: string }} around */
export function reportText(state, nameOf, { at, agent, page }) {
  const own = ownQuality(state);
  const lines = [
    `callkit ${page}`, `call ${state.call?.id ?? '–'}`, `time ${at.toISOString()}`, `browser ${agent}`,
    `level ${own.level}${own.cause ? ` (${own.cause})` : ''}`, `media ${state.media.phase}`, `signaling ${state.connection.state}`,
    `microphone ${state.media.microphoneState}`, `camera ${state.media.cameraState}`,
  ];
  const others = state.you?.role === 'customer' ? [] : otherViews(state);
  for (const { title, rows } of sections(state, others, nameOf)) {
    lines.push('', title, ...rows.map(([name, value]) => `  ${name}: ${value}`));
  }
  return lines.join('\n');
}

/** @param {State} state */
function otherViews({ call, quality }) {
  return (call?.participants ?? []).filter((participant) => !participant.you)
    .flatMap((participant) => {
      const view = quality[participant.id];
      return view ? [{ participant, view }] : [];
    });
}

/** A level of a newer server reads like the middle one. @param {string} level @returns {QualityLevel} */
function known(level) {
  return LEVELS.has(level) ? /** @type {QualityLevel} */ (level) : 'fair';
}

const percent = (/** @type {number | null | undefined} */ value) =>
  (value === null || value === undefined ? '–' : t('unit-percent', { value: value.toFixed(1) }));
const ms = (/** @type {number | null | undefined} */ value) =>
  (value === null || value === undefined ? '–' : t('unit-ms', { value: Math.round(value) }));
const kbps = (/** @type {number | null | undefined} */ value) =>
  (value === null || value === undefined ? '–' : t('unit-kbps', { value: Math.round(value / 1000) }));
const path = (/** @type {string | null | undefined} */ value) => (value ? t(`path-${value}`) : '–');

/** @param {{ width?: number | null, height?: number | null, fps?: number | null, codec?: string | null } | null | undefined} figures */
function video(figures) {
  if (!figures?.width || !figures.height) return '–';
  return `${figures.width}×${figures.height} · ${figures.fps ?? '–'} fps · ${figures.codec ?? '–'}`;
}

/**
 * @param {State} state
 * @param {readonly { participant: import('../client/protocol.js').ParticipantView, view: QualityView }[]} others
 * @param {(participant: import('../client/protocol.js').ParticipantView) => string} nameOf
 * @returns {{ title: string, rows: (readonly [string, string])[] }[]}
 */
function sections({ sample, media }, others, nameOf) {
  return [{
    title: t('quality-own'),
    rows: [
      [t('quality-loss-up'), percent(sample?.lossUpPercent)],
      [t('quality-loss-down'), percent(sample?.lossDownPercent)],
      [t('quality-rtt'), ms(sample?.rttMs)],
      [t('quality-jitter'), ms(sample?.jitterMs)],
      [t('quality-concealed'), percent(sample?.concealedPercent)],
      [t('quality-bitrate-up'), kbps(sample?.bitrateUp)],
      [t('quality-bitrate-down'), kbps(sample?.bitrateDown)],
      [t('quality-video-up'), video(sample?.sending)],
      [t('quality-video-down'), video(sample?.receiving)],
      [t('quality-audio'), sample?.audioCodec ?? '–'],
      [t('quality-path'), path(sample?.path)],
      [t('quality-microphone'), media.devices.microphone || '–'],
      [t('quality-camera'), media.devices.camera || '–'],
    ],
  }, ...others.map(({ participant, view }) => ({ title: nameOf(participant), rows: otherRows(view) }))];
}

/** @param {QualityView} view @returns {(readonly [string, string])[]} */
function otherRows(view) {
  const level = known(view.level);
  const camera = (/** @type {'up' | 'down'} */ direction) =>
    view.tracks?.find((track) => track.direction === direction && track.source === 'camera');
  const word = t(`quality-${level}`);
  const paused = view.tracks?.some((track) => track.paused) === true;
  return [
    [t('quality'), view.cause && level !== 'good' ? `${word} · ${t(`cause-${view.cause}`)}` : word],
    [t('quality-loss-up'), percent(view.loss_up_percent)],
    [t('quality-loss-down'), percent(view.loss_down_percent)],
    [t('quality-rtt'), ms(view.rtt_ms)],
    [t('quality-jitter'), ms(view.jitter_ms)],
    [t('quality-bitrate-up'), kbps(view.bitrate_up)],
    [t('quality-bitrate-down'), kbps(view.bitrate_down)],
    [t('quality-video-up'), video(camera('up'))],
    [t('quality-video-down'), paused ? t('quality-video_paused') : video(camera('down'))],
    [t('quality-path'), path(view.path)],
  ];
}

/** Gives advice when a level lasts, and then leaves people alone with it for a minute. */
export class Advisor {
  /** When each advice was given last, by kind. @type {Map<string, number>} */
  #given = new Map();
  /** @type {{ kind: string, advice: Advice, until: number } | null} */
  #present = null;

  /**
   * @param {State} state
   * @param {(participant: import('../client/protocol.js').ParticipantView) => string} nameOf
   * @param {number} now
   * @returns {Advice | null}
   */
  next(state, nameOf, now) {
    const wanted = this.#wanted(state, nameOf);
    if (this.#present && (now >= this.#present.until || !wanted.some(({ kind }) => kind === this.#present?.kind))) this.#present = null;
    if (!this.#present) {
      const due = wanted.find(({ kind }) => now - (this.#given.get(kind) ?? Number.NEGATIVE_INFINITY) >= ADVICE_EVERY_MS);
      if (due) {
        this.#given.set(due.kind, now);
        this.#present = { ...due, until: now + ADVICE_FOR_MS };
      }
    }
    return this.#present?.advice ?? null;
  }

  /** @param {State} state @param {(participant: import('../client/protocol.js').ParticipantView) => string} nameOf @returns {{ kind: string, advice: Advice }[]} */
  #wanted(state, nameOf) {
    const { level, cause } = ownQuality(state);
    /** @type {{ kind: string, advice: Advice }[]} */
    const wanted = [];
    if (level === 'no_sound') wanted.push({ kind: level, advice: { text: t('advice-no_sound'), action: 'devices' } });
    else if (level === 'poor' && (cause === null || cause === 'your_network')) {
      wanted.push({ kind: level, advice: { text: t('advice-poor'), action: state.media.camera ? 'audio-only' : null } });
    } else if (level === 'poor' && cause === 'this_computer') {
      wanted.push({ kind: 'local_cpu', advice: { text: t('advice-local_cpu'), action: state.media.camera ? 'audio-only' : null } });
    } else if (level === 'video_paused' || level === 'local_cpu') {
      wanted.push({ kind: level, advice: { text: t(`advice-${level}`), action: null } });
    }
    if (state.you?.role === 'customer') return wanted;
    for (const { participant, view } of otherViews(state)) {
      const key = { poor: 'advice-peer-poor', no_sound: 'advice-peer-no_sound' }[/** @type {string} */ (known(view.level))];
      if (key) wanted.push({ kind: `${participant.id} ${view.level}`, advice: { text: t(key, { name: nameOf(participant) }), action: null } });
    }
    return wanted;
  }
}
