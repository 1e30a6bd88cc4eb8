// Sound for the device dialog: the level of a microphone, and a test sound on a chosen speaker.

/** Below this a level counts as silence, decibels of full scale; the meter shows from here to 0. */
const FLOOR_DB = -60;
/** Notes of the test sound, hertz, and how long each sounds, seconds. */
const NOTES = [523.25, 659.25, 783.99];
const NOTE_SECONDS = 0.22;

/** Whether a page may say where its sound goes: not in older Safari. */
export function canChooseSpeaker() {
  return typeof HTMLMediaElement !== 'undefined' && 'setSinkId' in HTMLMediaElement.prototype;
}

/** Whether the browser asks the person itself (Firefox): it lists no speaker before. */
export function canPickSpeaker() {
  return typeof (/** @type {any} */ (navigator.mediaDevices)?.selectAudioOutput) === 'function';
}

/** Shows the level of a track while it is watched. */
export class LevelMeter {
  #show;
  /** @type {MediaStreamTrack | null} */
  #track = null;
  /** @type {AudioContext | null} */
  #context = null;
  /** Grows with each track. */
  #round = 0;

  /** @param {(level: number) => void} show called with 0 to 1, some times per second */
  constructor(show) {
    this.#show = show;
  }

  /** @param {MediaStreamTrack | null} track */
  watch(track) {
    if (this.#track === track) return;
    this.#track = track;
    const round = ++this.#round;
    this.#context?.close().catch(() => {});
    this.#context = null;
    this.#show(0);
    if (!track || typeof AudioContext !== 'function') return;
    const context = new AudioContext();
    this.#context = context;
    // The dialog was opened by a click, which is what a context needs to run.
    context.resume().catch(() => {});
    const analyser = context.createAnalyser();
    analyser.fftSize = 1024;
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const look = () => {
      if (round !== this.#round) return;
      analyser.getFloatTimeDomainData(samples);
      this.#show(levelOf(samples));
      setTimeout(() => requestAnimationFrame(look), 50);
    };
    look();
  }
}

/** Loudness from 0 (silence) to 1 (full scale). @param {ArrayLike<number>} samples */
export function levelOf(samples) {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += (samples[i] ?? 0) ** 2;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  const db = rms > 0 ? 20 * Math.log10(rms) : FLOOR_DB;
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}

/**
 * Plays three notes. Through an element rather than the context's own output, because only elements can be sent to a
 * chosen speaker in every browser that has the choice.
 *
 * @param {string} speaker empty: what the system takes
 */
export async function playTestSound(speaker) {
  const context = new AudioContext();
  try {
    const out = context.createMediaStreamDestination();
    const gain = context.createGain();
    gain.connect(out);
    NOTES.forEach((hertz, index) => {
      const start = context.currentTime + 0.05 + index * NOTE_SECONDS;
      const tone = new OscillatorNode(context, { frequency: hertz, type: 'triangle' });
      tone.connect(gain);
      tone.start(start);
      tone.stop(start + NOTE_SECONDS);
      gain.gain.setValueAtTime(0, start);
      gain.gain.linearRampToValueAtTime(0.35, start + 0.02);
      gain.gain.linearRampToValueAtTime(0, start + NOTE_SECONDS);
    });
    const player = new Audio();
    player.srcObject = out.stream;
    if (speaker !== '' && canChooseSpeaker()) await player.setSinkId(speaker).catch(() => {});
    await player.play();
    await new Promise((resolve) => setTimeout(resolve, NOTES.length * NOTE_SECONDS * 1000 + 250));
    player.srcObject = null;
  } catch {
    // A speaker that does not play is heard by not being heard; the page has nothing to add.
  } finally {
    await context.close().catch(() => {});
  }
}
