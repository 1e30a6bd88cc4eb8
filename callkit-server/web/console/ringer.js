// What makes an operator look up: the ring tone, the blinking title, the dot in the tab, the system notification.
// The tone is synthesised, so there is no file to load and no player that could be refused.

import { t } from '../i18n/index.js';

/** Ring: two soft notes, 1 s of every 5 s, the cadence of a telephone. */
const NOTES = [{ hertz: 660, at: 0 }, { hertz: 880, at: 0.42 }];
const NOTE_S = 0.36;
const PERIOD_S = 5;
const RINGS_AHEAD = 30;
const VOLUME = 0.16;
/** Blinking at 1 Hz at most (WCAG 2.2, 2.3.1). */
const BLINK_MS = 1000;

export class Ringer {
  /** @type {AudioContext | null} */
  #context = null;
  /** @type {GainNode | null} */
  #ringing = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #blink;
  /** @type {Notification | null} */
  #notification = null;
  #title = document.title;
  #onChange;

  /** @param {() => void} onChange the sound was unlocked or taken away */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Whether a ring would be heard. */
  get audible() {
    return this.#context?.state === 'running';
  }

  /** Gets the sound ready; has to be called in a click. @param {{ test?: boolean }} [options] `test`: a soft tone to hear it by */
  unlock({ test = false } = {}) {
    if (!this.#context) {
      this.#context = new AudioContext();
      this.#context.onstatechange = () => this.#onChange();
    }
    // Not awaited: without a sound card the promise never settles in some browsers.
    void this.#context.resume().then(() => this.#onChange(), () => {});
    if (test) this.#tone(this.#context, this.#context.destination, 740, this.#context.currentTime + 0.05, VOLUME / 3);
  }

  /** Makes the context without a gesture, to learn whether sound is allowed. */
  probe() {
    if (this.#context) return;
    this.#context = new AudioContext();
    this.#context.onstatechange = () => this.#onChange();
  }

  /**
   * @param {{ id: string, name: string, queue: string }} offer
   */
  start({ id, name, queue }) {
    this.stop();
    this.#ring();
    this.#title = document.title;
    const ringing = t('offer-title', { name });
    document.title = ringing;
    this.#blink = setInterval(() => {
      document.title = document.title === ringing ? this.#title : ringing;
    }, BLINK_MS);
    setFavicon('/web/styles/icon-ringing.svg');
    if (document.visibilityState === 'hidden') this.#notify(id, name, queue);
  }

  /** Silences the tone; the other signs stay. */
  mute() {
    if (!this.#ringing || !this.#context) return;
    this.#ringing.gain.setTargetAtTime(0, this.#context.currentTime, 0.01);
    this.#ringing.disconnect();
    this.#ringing = null;
  }

  stop() {
    this.mute();
    if (this.#blink !== undefined) {
      clearInterval(this.#blink);
      this.#blink = undefined;
      document.title = this.#title;
      setFavicon('/web/styles/icon.svg');
    }
    this.#notification?.close();
    this.#notification = null;
  }

  #ring() {
    const context = this.#context;
    if (!context || context.state !== 'running') return;
    const gain = new GainNode(context, { gain: 1 });
    gain.connect(context.destination);
    this.#ringing = gain;
    // All rings are handed to the audio clock at once: it keeps time in a hidden page, timers do not.
    for (let ring = 0; ring < RINGS_AHEAD; ring++) {
      for (const note of NOTES) this.#tone(context, gain, note.hertz, context.currentTime + 0.03 + ring * PERIOD_S + note.at, VOLUME);
    }
  }

  /** @param {AudioContext} context @param {AudioNode} to @param {number} hertz @param {number} at @param {number} volume */
  #tone(context, to, hertz, at, volume) {
    const oscillator = new OscillatorNode(context, { frequency: hertz, type: 'sine' });
    const envelope = new GainNode(context, { gain: 0 });
    envelope.gain.setValueAtTime(0, at);
    envelope.gain.linearRampToValueAtTime(volume, at + 0.02);
    envelope.gain.exponentialRampToValueAtTime(0.001, at + NOTE_S);
    oscillator.connect(envelope).connect(to);
    oscillator.start(at);
    oscillator.stop(at + NOTE_S + 0.05);
  }

  /** @param {string} id @param {string} name @param {string} queue */
  #notify(id, name, queue) {
    if (!('Notification' in window) || Notification.permission !== 'granted') return;
    try {
      this.#notification = new Notification(t('offer-heading'), { body: `${name} · ${queue}`, tag: id, silent: true, requireInteraction: true });
      // A click brings the console to the front; it never answers.
      this.#notification.onclick = () => window.focus();
    } catch {
      // Some platforms allow notifications from service workers only.
    }
  }
}

/** Asks once, in a click. */
export function askForNotifications() {
  if ('Notification' in window && Notification.permission === 'default') {
    Notification.requestPermission().catch(() => {});
  }
}

/** @param {string} href */
function setFavicon(href) {
  document.getElementById('favicon')?.setAttribute('href', href);
}
