// Own measurements: what getStats says, as the figures that people, the quality level and the server need. Pure.

/** Weight of the past: figures are averaged over about this time, milliseconds. */
const AVERAGE_MS = 10_000;
/** A microphone whose level does not move for this long gives no sound, milliseconds. */
const NO_SOUND_MS = 10_000;
/** Above this a level that does not move is a tone, below it a device that gives nothing (0 to 1). */
const SILENT_LEVEL = 0.01;
/** Movements smaller than this are none. */
const LEVEL_STEP = 0.0005;
/** An encoder that lacks the processor for this long tells of a busy computer, milliseconds. */
const BUSY_MS = 20_000;
/** Tracks of one direction in a report (docs/protocol.md). */
const MAX_TRACKS = 8;
/** Longest span of a report, milliseconds. */
const MAX_SPAN_MS = 60_000;

/**
 * @typedef {import('./protocol.js').TrackSource} TrackSource
 * @typedef {import('./protocol.js').SentTrack} SentTrack
 * @typedef {import('./protocol.js').ReceivedTrack} ReceivedTrack
 * @typedef {import('./protocol.js').PathKind} PathKind
 * @typedef {'good' | 'fair' | 'poor'} NetworkLevel
 *
 * @typedef {object} Sample own figures, averaged, as the pages show them
 * @property {number | null} rttMs
 * @property {number | null} lossUpPercent
 * @property {number | null} lossDownPercent
 * @property {number | null} jitterMs
 * @property {number | null} concealedPercent
 * @property {number | null} freezeSecondsPerMinute
 * @property {number} bitrateUp bits per second
 * @property {number} bitrateDown bits per second
 * @property {number | null} availableUp bits per second
 * @property {VideoFigures | null} sending
 * @property {VideoFigures | null} receiving
 * @property {string | null} audioCodec
 * @property {PathKind | null} path
 * @property {import('./protocol.js').QualityLevel} level
 *
 * @typedef {{ width: number, height: number, fps: number, codec: string | null }} VideoFigures
 *
 * @typedef {object} Context
 * @property {number} now
 * @property {Map<string, { slot: number | null, source: TrackSource }>} mids which line of the layout a track is
 * @property {Record<TrackSource, boolean>} on whether the person has it switched on
 *
 * @typedef {object} Reading the figures between two looks
 * @property {number} spanMs
 * @property {number | null} rttMs
 * @property {number | null} availableUp
 * @property {PathKind | null} path
 * @property {number | null} lossUpPercent
 * @property {SentTrack[]} sent
 * @property {ReceivedTrack[]} received
 */

/** What counters were at the last look, by id of the statistics entry. @typedef {Map<string, Record<string, number>>} Counters */

/** Turns looks at the statistics into figures between two of them. Two of these at different paces do not disturb each other. */
export class Meter {
  /** @type {Counters} */
  #before = new Map();
  /** @type {number | null} */
  #at = null;
  /** Level of the microphone, and since when it has not moved. */
  #level = { value: -1, since: 0 };

  /**
   * @param {readonly any[]} entries the values of an RTCStatsReport
   * @param {Context} context
   * @returns {Reading}
   */
  read(entries, { now, mids, on }) {
    const byId = new Map(entries.map((entry) => [entry.id, entry]));
    const isFirst = this.#at === null;
    const spanMs = this.#at === null ? 0 : Math.max(0, Math.round(now - this.#at));
    this.#at = now;
    /** @type {Counters} */
    const after = new Map();
    const delta = (/** @type {any} */ entry, /** @type {string} */ name) => {
      const value = entry[name];
      if (typeof value !== 'number') return null;
      const counters = after.get(entry.id) ?? {};
      counters[name] = value;
      after.set(entry.id, counters);
      // What has appeared since the last look has counted from zero.
      const before = this.#before.get(entry.id)?.[name] ?? (isFirst ? undefined : 0);
      return before === undefined ? null : value - before;
    };
    const line = (/** @type {any} */ entry) => mids.get(entry.mid)
      ?? { slot: entry.type === 'inbound-rtp' ? 0 : null, source: /** @type {TrackSource} */ (entry.kind === 'audio' ? 'microphone' : 'camera') };
    const codec = (/** @type {any} */ entry) => word(byId.get(entry.codecId)?.mimeType?.split('/')[1]);
    /** @type {Reading} */
    const reading = { spanMs, rttMs: null, availableUp: null, path: null, lossUpPercent: null, sent: [], received: [] };

    for (const entry of entries) {
      if (entry.type === 'outbound-rtp') {
        const { source } = line(entry);
        const bytes = delta(entry, 'bytesSent');
        const isOn = on[source];
        // Layers and lines that never sent anything are no tracks.
        if (!entry.bytesSent || (entry.kind === 'video' && entry.active === false && bytes === 0)) continue;
        reading.sent.push(clean({
          source, on: isOn, bitrate: perSecond(bytes, spanMs), codec: codec(entry),
          ...(entry.kind === 'video' ? {
            fps: whole(entry.framesPerSecond), width: whole(entry.frameWidth), height: whole(entry.frameHeight),
            limited_by: LIMITS.has(entry.qualityLimitationReason) ? entry.qualityLimitationReason : null,
          } : {}),
          ...(source === 'microphone' ? this.#soundOf(byId.get(entry.mediaSourceId), isOn, now) : {}),
        }));
      } else if (entry.type === 'inbound-rtp') {
        const { slot, source } = line(entry);
        const figures = received(entry, delta, spanMs);
        if (!entry.packetsReceived) continue;
        reading.received.push(clean({ slot: slot ?? 0, source, codec: codec(entry), ...figures }));
      } else if (entry.type === 'remote-inbound-rtp') {
        if (typeof entry.fractionLost === 'number') {
          reading.lossUpPercent = Math.max(reading.lossUpPercent ?? 0, entry.fractionLost * 100);
        }
      }
    }
    const pair = selectedPair(entries, byId);
    if (pair) {
      reading.rttMs = typeof pair.currentRoundTripTime === 'number' ? pair.currentRoundTripTime * 1000 : null;
      reading.availableUp = whole(pair.availableOutgoingBitrate);
      const local = byId.get(pair.localCandidateId);
      if (local) reading.path = local.candidateType === 'relay' ? 'relay' : local.protocol === 'tcp' ? 'tcp' : 'direct';
    }
    this.#before = after;
    return reading;
  }

  /**
   * The figures as `media.report` has them; `null` at the first look, which has nothing to compare with.
   *
   * @param {readonly any[]} entries
   * @param {Context} context
   * @returns {import('./protocol.js').MediaReport | null}
   */
  report(entries, context) {
    const { spanMs, rttMs, availableUp, path, sent, received: got } = this.read(entries, context);
    if (spanMs < 1 || spanMs > MAX_SPAN_MS) return null;
    return clean({
      span_ms: spanMs, rtt_ms: whole(rttMs), available_up: availableUp, path,
      sent: sent.slice(0, MAX_TRACKS), received: got.slice(0, MAX_TRACKS),
    });
  }

  /** @param {any} source the `media-source` entry of the microphone @param {boolean} isOn @param {number} now */
  #soundOf(source, isOn, now) {
    const level = source?.audioLevel;
    if (typeof level !== 'number') return {};
    const moved = Math.abs(level - this.#level.value) > LEVEL_STEP || level > SILENT_LEVEL;
    if (moved || !isOn) this.#level = { value: level, since: now };
    return { level: share(level, 1), still_ms: Math.round(now - this.#level.since) };
  }
}

/** @param {any} entry @param {(entry: any, name: string) => number | null} delta @param {number} spanMs */
function received(entry, delta, spanMs) {
  const [packets, lost] = [delta(entry, 'packetsReceived'), delta(entry, 'packetsLost')];
  const expected = (packets ?? 0) + Math.max(0, lost ?? 0);
  const [delay, emitted] = [delta(entry, 'jitterBufferDelay'), delta(entry, 'jitterBufferEmittedCount')];
  const figures = {
    bitrate: perSecond(delta(entry, 'bytesReceived'), spanMs),
    loss_percent: packets === null || lost === null || expected === 0 ? null : share((100 * Math.max(0, lost)) / expected, 100),
    jitter_ms: typeof entry.jitter === 'number' ? whole(entry.jitter * 1000) : null,
    buffer_ms: delay === null || !emitted ? null : whole((1000 * delay) / emitted),
  };
  if (entry.kind === 'audio') {
    const [concealed, silent, total] = ['concealedSamples', 'silentConcealedSamples', 'totalSamplesReceived']
      .map((name) => delta(entry, name));
    return {
      ...figures,
      concealed_percent: total === null || total === undefined || total <= 0 || concealed === null || concealed === undefined ? null
        : share((100 * Math.max(0, concealed - (silent ?? 0))) / total, 100),
      level: typeof entry.audioLevel === 'number' ? share(entry.audioLevel, 1) : null,
    };
  }
  const [decoded, dropped, frozen] = ['framesDecoded', 'framesDropped', 'totalFreezesDuration'].map((name) => delta(entry, name));
  return {
    ...figures,
    fps: whole(entry.framesPerSecond), width: whole(entry.frameWidth), height: whole(entry.frameHeight),
    freeze_ms: frozen === null || frozen === undefined ? null : whole(Math.max(0, frozen) * 1000),
    dropped_percent: decoded && decoded > 0 && dropped !== null && dropped !== undefined
      ? share((100 * Math.max(0, dropped)) / decoded, 100) : null,
  };
}

const LIMITS = new Set(['none', 'cpu', 'bandwidth', 'other']);

/** @param {readonly any[]} entries @param {Map<string, any>} byId */
function selectedPair(entries, byId) {
  const transport = entries.find((entry) => entry.type === 'transport' && entry.selectedCandidatePairId);
  if (transport) return byId.get(transport.selectedCandidatePairId);
  const pairs = entries.filter((entry) => entry.type === 'candidate-pair' && entry.state === 'succeeded');
  return pairs.find((pair) => pair.selected) ?? pairs.find((pair) => pair.nominated);
}

/** @param {number | null} bytes @param {number} spanMs */
function perSecond(bytes, spanMs) {
  return bytes === null || spanMs === 0 ? null : Math.max(0, Math.round((bytes * 8000) / spanMs));
}

/** @param {unknown} value */
function whole(value) {
  return typeof value === 'number' && Number.isFinite(value) ? Math.max(0, Math.round(value)) : null;
}

/** @param {number} value @param {number} most */
function share(value, most) {
  return Number.isFinite(value) ? Math.round(Math.min(most, Math.max(0, value)) * 1000) / 1000 : null;
}

/** Names of codecs as the protocol takes them. @param {unknown} text */
function word(text) {
  return typeof text === 'string' && /^[A-Za-z0-9.-]{1,16}$/.test(text) ? text : null;
}

/** Without what is not known. @template {object} T @param {T} figures @returns {any} */
function clean(figures) {
  return Object.fromEntries(Object.entries(figures).filter(([, value]) => value !== null && value !== undefined));
}

/** A value that follows its input over about ten seconds; what is not known leaves it as it is. */
class Average {
  /** @type {number | null} */
  value = null;

  /** @param {number | null} input @param {number} elapsedMs */
  next(input, elapsedMs) {
    if (input === null) return this.value;
    if (this.value === null) this.value = input;
    else this.value += (input - this.value) * (1 - Math.exp(-elapsedMs / AVERAGE_MS));
    return this.value;
  }
}

/** The own side's figures and level over the time of a call. */
export class Quality {
  #averages = {
    rttMs: new Average(), lossUpPercent: new Average(), lossDownPercent: new Average(), jitterMs: new Average(),
    concealedPercent: new Average(), freezeSecondsPerMinute: new Average(), fps: new Average(),
  };
  #levels = new LevelFilter();
  /** @type {number | null} */
  #busySince = null;

  /**
   * @param {Reading} reading
   * @param {number} now
   * @param {{ videoPaused?: boolean }} [seen]
   * @returns {Sample}
   */
  next(reading, now, { videoPaused = false } = {}) {
    const { sent, received: got, spanMs } = reading;
    const averages = this.#averages;
    const voices = got.filter((track) => track.source === 'microphone');
    const pictures = got.filter((track) => track.source === 'camera' && (track.bitrate ?? 0) > 0);
    const worst = (/** @type {readonly (number | null | undefined)[]} */ values) => {
      const known = values.filter((value) => value !== null && value !== undefined);
      return known.length > 0 ? Math.max(.../** @type {number[]} */ (known)) : null;
    };
    const freezes = worst(pictures.map((track) => track.freeze_ms));
    const slowest = pictures.map((track) => track.fps ?? 30);
    const figures = {
      rttMs: averages.rttMs.next(reading.rttMs, spanMs),
      lossUpPercent: averages.lossUpPercent.next(reading.lossUpPercent, spanMs),
      lossDownPercent: averages.lossDownPercent.next(worst(got.map((track) => track.loss_percent)), spanMs),
      jitterMs: averages.jitterMs.next(worst(voices.map((track) => track.jitter_ms)), spanMs),
      concealedPercent: averages.concealedPercent.next(worst(voices.map((track) => track.concealed_percent)), spanMs),
      freezeSecondsPerMinute: averages.freezeSecondsPerMinute.next(
        freezes === null || spanMs === 0 ? null : (freezes / spanMs) * 60, spanMs),
    };
    const fps = averages.fps.next(slowest.length > 0 ? Math.min(...slowest) : null, spanMs);
    const network = this.#levels.next(levelOf({ ...figures, fps }));
    return Object.freeze({
      ...figures,
      bitrateUp: sum(sent), bitrateDown: sum(got), availableUp: reading.availableUp,
      sending: largest(sent), receiving: largest(got),
      audioCodec: [...sent, ...got].find((track) => track.source === 'microphone')?.codec ?? null,
      path: reading.path,
      level: this.#special(sent, now) ?? (videoPaused ? 'video_paused' : network),
    });
  }

  /** What is wrong with this computer rather than with its line. @param {readonly SentTrack[]} sent @param {number} now */
  #special(sent, now) {
    const busy = sent.some((track) => track.on && track.limited_by === 'cpu');
    this.#busySince = busy ? this.#busySince ?? now : null;
    if (sent.some((track) => track.on && (track.still_ms ?? 0) >= NO_SOUND_MS)) return 'no_sound';
    return this.#busySince !== null && now - this.#busySince >= BUSY_MS ? 'local_cpu' : null;
  }
}

/** @param {readonly (SentTrack | ReceivedTrack)[]} tracks */
function sum(tracks) {
  return tracks.reduce((total, track) => total + (track.bitrate ?? 0), 0);
}

/** @param {readonly (SentTrack | ReceivedTrack)[]} tracks @returns {VideoFigures | null} */
function largest(tracks) {
  /** @type {VideoFigures | null} */
  let best = null;
  for (const { width, height, fps, codec } of tracks) {
    if (!width || !height || !fps) continue;
    if (!best || width * height > best.width * best.height) best = { width, height, fps, codec: codec ?? null };
  }
  return best;
}

/**
 * The worst figure decides; what is not known does not count. Thresholds: docs/quality.md.
 *
 * @param {{ rttMs?: number | null, lossUpPercent?: number | null, lossDownPercent?: number | null, jitterMs?: number | null,
 *   concealedPercent?: number | null, freezeSecondsPerMinute?: number | null, fps?: number | null }} figures
 * @returns {NetworkLevel}
 */
export function levelOf({ rttMs, lossUpPercent, lossDownPercent, jitterMs, concealedPercent, freezeSecondsPerMinute, fps }) {
  const loss = Math.max(lossUpPercent ?? 0, lossDownPercent ?? 0);
  const [rtt, jitter, concealed] = [rttMs ?? 0, jitterMs ?? 0, concealedPercent ?? 0];
  if (loss > 8 || rtt > 600 || concealed > 5 || (freezeSecondsPerMinute ?? 0) > 6) return 'poor';
  if (loss >= 3 || rtt >= 300 || jitter >= 30 || concealed >= 2 || (fps ?? 30) < 12) return 'fair';
  return 'good';
}

/** Samples in a row before a level is shown: quick to warn, slow to praise, so that the sign does not flicker. */
const WORSE_AFTER = 2;
const BETTER_AFTER = 5;
const ORDER = { good: 0, fair: 1, poor: 2 };

/** Steadies the level over samples taken every 2 s. */
export class LevelFilter {
  /** @type {NetworkLevel} */
  #level = 'good';
  #worse = 0;
  #better = 0;

  /** @param {NetworkLevel} level @returns {NetworkLevel} */
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
