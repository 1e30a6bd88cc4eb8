// Own measurements: what getStats says, as the few figures that people and the quality level need. Pure.

/**
 * @typedef {object} Sample
 * @property {number | null} rttMs
 * @property {number | null} lossUpPercent
 * @property {number | null} lossDownPercent
 * @property {number | null} jitterMs
 * @property {number} bitrateUp bits per second
 * @property {number} bitrateDown bits per second
 * @property {VideoFigures | null} sending
 * @property {VideoFigures | null} receiving
 * @property {string | null} audioCodec
 * @property {string | null} path how packets travel: `udp`, `tcp`, `relay`
 * @property {'good' | 'fair' | 'poor'} level
 *
 * @typedef {{ width: number, height: number, fps: number, codec: string | null }} VideoFigures
 *
 * @typedef {object} Totals
 * @property {number} atMs
 * @property {number} bytesUp
 * @property {number} bytesDown
 * @property {number} packetsDown
 * @property {number} lostDown
 */

/**
 * @param {Iterable<any>} report the values of an RTCStatsReport
 * @param {Totals | null} before totals of the previous reading
 * @returns {{ sample: Sample, totals: Totals }}
 */
export function summarise(report, before) {
  const entries = [...report];
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  /** @type {Totals} */
  const totals = { atMs: 0, bytesUp: 0, bytesDown: 0, packetsDown: 0, lostDown: 0 };
  let jitter = 0;
  let rtt = /** @type {number | null} */ (null);
  let lossUp = /** @type {number | null} */ (null);
  let audioCodec = /** @type {string | null} */ (null);
  let path = /** @type {string | null} */ (null);
  let sending = /** @type {VideoFigures | null} */ (null);
  let receiving = /** @type {VideoFigures | null} */ (null);
  const codec = (/** @type {any} */ entry) => byId.get(entry.codecId)?.mimeType?.split('/')[1] ?? null;

  for (const entry of entries) {
    totals.atMs = Math.max(totals.atMs, entry.timestamp ?? 0);
    if (entry.type === 'outbound-rtp') {
      totals.bytesUp += entry.bytesSent ?? 0;
      if (entry.kind === 'audio' && entry.bytesSent) audioCodec ??= codec(entry);
      if (entry.kind === 'video' && entry.framesPerSecond) sending = larger(sending, figures(entry, codec(entry)));
    } else if (entry.type === 'inbound-rtp') {
      totals.bytesDown += entry.bytesReceived ?? 0;
      totals.packetsDown += entry.packetsReceived ?? 0;
      totals.lostDown += entry.packetsLost ?? 0;
      if (entry.kind === 'audio' && entry.packetsReceived) jitter = Math.max(jitter, (entry.jitter ?? 0) * 1000);
      if (entry.kind === 'video' && entry.framesPerSecond) receiving = larger(receiving, figures(entry, codec(entry)));
    } else if (entry.type === 'remote-inbound-rtp') {
      if (typeof entry.fractionLost === 'number') lossUp = Math.max(lossUp ?? 0, entry.fractionLost * 100);
    } else if (entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded') {
      if (typeof entry.currentRoundTripTime === 'number') rtt = entry.currentRoundTripTime * 1000;
      const local = byId.get(entry.localCandidateId);
      path = local?.candidateType === 'relay' ? 'relay' : local?.protocol ?? null;
    }
  }

  const seconds = before && totals.atMs > before.atMs ? (totals.atMs - before.atMs) / 1000 : 0;
  const rate = (/** @type {number} */ now, /** @type {number} */ then) =>
    (seconds > 0 ? Math.max(0, Math.round(((now - then) * 8) / seconds)) : 0);
  let lossDown = null;
  if (before) {
    const lost = Math.max(0, totals.lostDown - before.lostDown);
    const got = Math.max(0, totals.packetsDown - before.packetsDown);
    if (lost + got > 0) lossDown = (100 * lost) / (lost + got);
  }
  const figuresOf = {
    rttMs: rtt, lossUpPercent: lossUp, lossDownPercent: lossDown, jitterMs: totals.packetsDown > 0 ? jitter : null,
  };
  return {
    totals,
    sample: {
      ...figuresOf,
      bitrateUp: before ? rate(totals.bytesUp, before.bytesUp) : 0,
      bitrateDown: before ? rate(totals.bytesDown, before.bytesDown) : 0,
      sending, receiving, audioCodec, path,
      level: levelOf(figuresOf),
    },
  };
}

/**
 * The worst figure decides; what is not known does not count.
 *
 * @param {{ rttMs: number | null, lossUpPercent: number | null, lossDownPercent: number | null,
 *   jitterMs: number | null }} figures
 * @returns {'good' | 'fair' | 'poor'}
 */
export function levelOf({ rttMs, lossUpPercent, lossDownPercent, jitterMs }) {
  const loss = Math.max(lossUpPercent ?? 0, lossDownPercent ?? 0);
  const rtt = rttMs ?? 0;
  if (loss > 8 || rtt > 600) return 'poor';
  if (loss >= 3 || rtt >= 300 || (jitterMs ?? 0) >= 30) return 'fair';
  return 'good';
}

/** Samples in a row before a level is shown: quick to warn, slow to praise, so that the sign does not flicker. */
const WORSE_AFTER = 2;
const BETTER_AFTER = 5;
const ORDER = { good: 0, fair: 1, poor: 2 };

/** Steadies the level over samples taken every 2 s. */
export class LevelFilter {
  /** @type {'good' | 'fair' | 'poor'} */
  #level = 'good';
  #worse = 0;
  #better = 0;

  /** @param {'good' | 'fair' | 'poor'} level @returns {'good' | 'fair' | 'poor'} */
  next(level) {
    this.#worse = ORDER[level] > ORDER[this.#level] ? this.#worse + 1 : 0;
    this.#better = ORDER[level] < ORDER[this.#level] ? this.#better + 1 : 0;
    if (this.#worse >= WORSE_AFTER || this.#better >= BETTER_AFTER) {
      this.#level = level;
      this.#worse = this.#better = 0;
    }
    return this.#level;
  }
}

/** @param {any} entry @param {string | null} codec @returns {VideoFigures} */
function figures(entry, codec) {
  return {
    width: entry.frameWidth ?? 0, height: entry.frameHeight ?? 0, fps: Math.round(entry.framesPerSecond ?? 0), codec,
  };
}

/** @param {VideoFigures | null} one @param {VideoFigures} other */
function larger(one, other) {
  return one && one.width * one.height >= other.width * other.height ? one : other;
}
