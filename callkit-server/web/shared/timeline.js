// What a loss looks like over time: nothing, a pill, dimmed pictures, a banner with the time that is left, "you are back".
// Pure but for one memory: that something was shown, so that its end is shown too.

import { t } from '../i18n/index.js';

/** A loss shorter than this is nobody's business, milliseconds. */
const PILL_MS = 2000;
/** From here on a picture that stands still must not be taken for a person who is silent, milliseconds. */
const DIM_MS = 3000;
/** From here on it is explained, and one can do something about it, milliseconds. */
const BANNER_MS = 5000;
/** How long "you are back" stays, milliseconds. */
const BACK_MS = 3000;
/** How long the place is kept if the server has not told, milliseconds. */
const KEPT_MS = 45_000;

/**
 * @typedef {import('../client/call-store.js').State} State
 * @typedef {import('../client/call-store.js').Participant} Participant
 *
 * @typedef {object} LinkView
 * @property {'none' | 'pill' | 'banner' | 'back'} own one's own connection
 * @property {string} ownText
 * @property {number | null} ownSeconds how long the place is still kept; only with a banner
 * @property {string} peerText what is known of somebody else's loss; empty: nothing, or one's own is lost
 * @property {number | null} peerSeconds how long their place is still kept
 * @property {Readonly<Record<string, string>>} dimmed whose pictures are dimmed, and what stands over them
 */

/** Follows the losses of one call. */
export class Timeline {
  /** Whether a loss was shown. */
  #shown = false;
  #backUntil = 0;

  /**
   * @param {State} state
   * @param {{ now: number, online: boolean }} at `online`: what the browser thinks of the network
   * @returns {LinkView}
   */
  view(state, { now, online }) {
    const { call, media, you } = state;
    // Nobody waits for one who only listens.
    const others = call?.participants.filter((participant) => !participant.you && participant.supervising !== 'listen') ?? [];
    const own = this.#own(state, now, online);
    const lostMs = media.lostSince === null ? 0 : now - media.lostSince;
    /** @type {Record<string, string>} */
    const dimmed = {};
    for (const other of others) {
      if (lostMs >= DIM_MS) dimmed[other.id] = t('status-reconnecting');
      else if (isDim(other, now)) dimmed[other.id] = tileText(other);
    }
    // Whoever is cut off knows nothing of the others.
    const lost = own.own === 'banner' || own.own === 'pill' ? undefined : others.find((other) => isTold(other, now));
    return {
      ...own, dimmed,
      peerText: lost ? peerText(lost, you?.role ?? 'customer') : '',
      peerSeconds: lost ? secondsLeft(lost.keptUntil, now) : null,
    };
  }

  /**
   * @param {State} state
   * @param {number} now
   * @param {boolean} online
   * @returns {Pick<LinkView, 'own' | 'ownText' | 'ownSeconds'>}
   */
  #own({ call, media }, now, online) {
    const text = online ? 'status-reconnecting' : 'status-offline';
    if (media.phase === 'failed') {
      this.#shown = true;
      return { own: 'banner', ownText: t('link-failed'), ownSeconds: null };
    }
    if (media.lostSince !== null) {
      const lostMs = now - media.lostSince;
      if (lostMs < PILL_MS) return NOTHING;
      this.#shown = true;
      if (lostMs < BANNER_MS) return { own: 'pill', ownText: t(text), ownSeconds: null };
      const me = call?.participants.find((participant) => participant.you);
      const until = me?.keptUntil ?? media.lostSince + KEPT_MS;
      return { own: 'banner', ownText: t(online ? 'link-own' : 'link-own-offline'), ownSeconds: secondsLeft(until, now) };
    }
    if (this.#shown && media.phase === 'connected') {
      this.#shown = false;
      this.#backUntil = now + BACK_MS;
    }
    return now < this.#backUntil ? { own: 'back', ownText: t('link-back'), ownSeconds: null } : NOTHING;
  }
}

/** @type {Pick<LinkView, 'own' | 'ownText' | 'ownSeconds'>} */
const NOTHING = Object.freeze({ own: 'none', ownText: '', ownSeconds: null });

/** @param {Participant} other @param {number} now */
function isDim(other, now) {
  if (other.lostSince === null) return false;
  // A page that is gone is gone: there is nothing to wait for before saying so.
  return other.cause === 'left_page' || now - other.lostSince >= DIM_MS;
}

/** @param {Participant} other @param {number} now */
function isTold(other, now) {
  return other.lostSince !== null && (other.cause === 'left_page' || now - other.lostSince >= BANNER_MS);
}

/** @param {Participant} other */
function tileText(other) {
  return other.cause ? t(`tile-${other.cause}`) : t('status-reconnecting');
}

/** @param {Participant} other @param {import('../client/protocol.js').Role} reader */
function peerText(other, reader) {
  if (reader === 'customer') return t('link-peer-for-customer');
  const name = other.name ?? t(other.role);
  return t(other.cause ? `link-peer-${other.cause}` : 'link-peer', { name });
}

/** @param {number | null} until @param {number} now */
function secondsLeft(until, now) {
  return until === null ? null : Math.max(0, Math.ceil((until - now) / 1000));
}
