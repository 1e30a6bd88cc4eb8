// Sole owner of the captured tracks: opens, switches and closes the devices, notices when one goes away, is silenced by
// the system or comes back, and keeps what the person wanted over all of it. Muted stays muted.

import { DeviceBook, browserBook } from './device-book.js';
import { openCapture, openOne } from './devices.js';
import { Emitter } from './emitter.js';
import { CallkitError } from './errors.js';

/** A track that the system mutes for longer than this is told about, milliseconds; shorter ones are hiccups. */
const SYSTEM_MUTE_MS = 3000;

/**
 * @typedef {'microphone' | 'camera'} DeviceKind
 * @typedef {DeviceKind | 'screen' | 'screenAudio'} Source
 * @typedef {import('./protocol.js').DeviceState} DeviceState
 * @typedef {import('./device-book.js').Entry} Entry
 *
 * @typedef {object} CaptureEnvironment
 * @property {(callback: () => void, ms: number) => unknown} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {import('./devices.js').Devices} [devices]
 * @property {import('./device-book.js').BookEnvironment} [book]
 *
 * @typedef {object} LostDevice
 * @property {DeviceKind} kind
 * @property {Entry} device what went away
 * @property {string | null} using name of what is used in its place; `null`: there is nothing else
 *
 * @typedef {{ kind: DeviceKind, device: Entry, inUse: boolean }} ReturnedDevice
 *   `inUse`: there was nothing else, so it is used again
 *
 * @typedef {{ track: { source: Source, track: MediaStreamTrack | null }, change: null, failure: CallkitError,
 *   'device-lost': LostDevice, 'device-back': ReturnedDevice }} CaptureEvents
 */

/** @extends {Emitter<CaptureEvents>} */
export class Capture extends Emitter {
  #env;
  #raw;
  #book;
  /** @type {Record<Source, MediaStreamTrack | null>} */
  #tracks = { microphone: null, camera: null, screen: null, screenAudio: null };
  #wanted = { microphone: true, camera: true };
  #silenced = { microphone: false, camera: false };
  /** @type {Record<DeviceKind, unknown>} */
  #muteTimers = { microphone: null, camera: null };
  /** Devices that went away while they were in use. @type {Record<DeviceKind, Entry | null>} */
  #gone = { microphone: null, camera: null };
  /** Grows with each change of that device, so that an earlier one that is still opening gives way. */
  #work = { microphone: 0, camera: 0 };
  /** Devices for which something else is being opened. @type {Set<DeviceKind>} */
  #replacing = new Set();
  /** Between {@link acquire} and {@link release}. */
  #active = false;
  /** Grows with each release. */
  #round = 0;
  /** @type {Promise<{ cameraProblem: CallkitError | null }> | null} */
  #opening = null;

  /** @param {{ environment: CaptureEnvironment, raw?: boolean }} options */
  constructor({ environment, raw = false }) {
    super();
    this.#env = environment;
    this.#raw = raw;
    this.#book = new DeviceBook(environment.book ?? browserBook());
    this.#book.on('change', () => this.#devicesChanged());
  }

  /** What devices there are, and which are preferred. */
  get book() {
    return this.#book;
  }

  /** @param {Source} source */
  track(source) {
    return this.#tracks[source];
  }

  /** Whether the person has it switched on. @param {DeviceKind} kind */
  isOn(kind) {
    return this.#tracks[kind] !== null && this.#wanted[kind];
  }

  /** What the others are told about the device. @param {DeviceKind} kind @returns {DeviceState} */
  state(kind) {
    if (!this.#wanted[kind]) return 'off';
    if (this.#tracks[kind] === null) return 'missing';
    return this.#silenced[kind] ? 'muted_by_system' : 'on';
  }

  /** The device in use. @param {DeviceKind} kind @returns {Entry | null} */
  inUse(kind) {
    const track = this.#tracks[kind];
    return track ? { id: idOf(track), label: track.label } : null;
  }

  /**
   * Opens the devices unless they are open.
   *
   * @param {{ video?: boolean }} [options]
   * @returns {Promise<{ cameraProblem: CallkitError | null }>}
   * @throws {CallkitError} the microphone cannot be used; `closed`: released meanwhile
   */
  async acquire({ video = true } = {}) {
    if (isLive(this.#tracks.microphone)) return { cameraProblem: null };
    if (this.#opening) return this.#opening;
    const opening = this.#open(video);
    this.#opening = opening;
    const done = () => {
      if (this.#opening === opening) this.#opening = null;
    };
    opening.then(done, done);
    return opening;
  }

  /** @param {boolean} video */
  async #open(video) {
    const round = this.#round;
    this.#active = true;
    const [microphone, camera] = [this.#book.resolve('microphone'), this.#book.resolve('camera')];
    const capture = await openCapture({
      video, ...this.#around(), chosen: { ...(microphone ? { microphone } : {}), ...(camera ? { camera } : {}) },
    });
    if (round !== this.#round) {
      // Released while the person was still being asked.
      capture.microphone?.stop();
      capture.camera?.stop();
      throw new CallkitError('closed');
    }
    this.#use('microphone', capture.microphone);
    this.#use('camera', capture.camera);
    this.#changed();
    // The names of the devices are told from now on.
    this.#book.refresh();
    return { cameraProblem: capture.cameraProblem };
  }

  /** Closes the devices: the browser's recording light goes off. */
  release() {
    this.#round++;
    this.#active = false;
    this.#opening = null;
    this.#work.microphone++;
    this.#work.camera++;
    this.#gone = { microphone: null, camera: null };
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen', 'screenAudio'])) this.#use(source, null);
    this.#wanted = { microphone: true, camera: true };
    this.#changed();
  }

  /** Takes effect at once. A microphone that is missing is looked for again. @param {boolean} on */
  setMicrophone(on) {
    this.#wanted.microphone = on;
    if (this.#tracks.microphone) this.#tracks.microphone.enabled = on;
    else if (on && this.#active) this.#reopen('microphone').catch((error) => this.#failed(error, 'microphone'));
    this.#changed();
  }

  /** @param {boolean} on @throws {CallkitError} the camera cannot be opened */
  async setCamera(on) {
    if (on && !isLive(this.#tracks.camera)) {
      const opened = await this.#reopen('camera');
      if (!opened) return;
    } else {
      this.#work.camera++;
    }
    this.#wanted.camera = on;
    if (this.#tracks.camera) this.#tracks.camera.enabled = on;
    this.#changed();
  }

  /**
   * Uses another device, in mid-call as well: the track is replaced, nothing is negotiated, and what was switched off
   * stays off.
   *
   * @param {DeviceKind} kind
   * @param {string} id empty: what the system takes
   * @param {{ remember?: boolean }} [options] whether it is the person's preference from now on
   * @throws {CallkitError} it cannot be opened; the former one is used further if it can be
   */
  async select(kind, id, { remember = true } = {}) {
    if (remember) this.#book.prefer(kind, id);
    this.#gone[kind] = null;
    if (!this.#active) return;
    // A camera that is off and closed is opened when it is switched on.
    if (kind === 'camera' && !this.#wanted.camera && !isLive(this.#tracks.camera)) return;
    await this.#swap(kind, id);
  }

  /**
   * Shares what the person picked. `getDisplayMedia` itself has to be the first statement of the click handler
   * (transient activation), so the stream is made there.
   *
   * @param {MediaStream} stream
   */
  startScreen(stream) {
    const video = stream.getVideoTracks()[0] ?? null;
    if (video && 'contentHint' in video) video.contentHint = 'detail';
    this.#use('screen', video);
    this.#use('screenAudio', stream.getAudioTracks()[0] ?? null);
    this.#changed();
  }

  stopScreen() {
    this.#use('screen', null);
    this.#use('screenAudio', null);
    this.#changed();
  }

  /** The page is back from sleep or from the background: devices that were taken away meanwhile are opened again. */
  revive() {
    if (!this.#active) return;
    this.#book.refresh();
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) {
      const track = this.#tracks[kind];
      if (!track || !this.#wanted[kind]) continue;
      if (!isLive(track)) this.#lost(kind, track);
      else if (this.#silenced[kind]) this.#swap(kind, idOf(track)).catch(() => {});
    }
  }

  /** Opens the preferred device; `false` if something newer was asked for meanwhile. @param {DeviceKind} kind */
  async #reopen(kind) {
    return this.#swap(kind, this.#book.resolve(kind) ?? '', { exact: false });
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} id empty: what the system takes
   * @param {{ exact?: boolean }} [options]
   */
  async #swap(kind, id, { exact = id !== '' } = {}) {
    const work = ++this.#work[kind];
    const before = this.#tracks[kind];
    const which = id === '' ? {} : { id, exact };
    /** @type {MediaStreamTrack} */
    let track;
    try {
      track = await openOne(kind, { ...this.#around(), ...which });
    } catch (error) {
      if (!(error instanceof CallkitError) || error.code !== 'in_use' || !before || work !== this.#work[kind]) throw error;
      // Some systems open one device of a kind at a time: close the former one first.
      const former = idOf(before);
      this.#use(kind, null);
      try {
        track = await openOne(kind, { ...this.#around(), ...which });
      } catch (again) {
        const back = await openOne(kind, { ...this.#around(), ...(former ? { id: former } : {}) }).catch(() => null);
        if (work === this.#work[kind]) this.#use(kind, back);
        else back?.stop();
        this.#changed();
        throw again;
      }
    }
    if (work !== this.#work[kind]) {
      track.stop();
      return false;
    }
    this.#use(kind, track);
    this.#changed();
    return true;
  }

  #around() {
    const { devices } = this.#env;
    return { raw: this.#raw, ...(devices ? { devices } : {}) };
  }

  /** @param {Source} source @param {MediaStreamTrack | null} track */
  #use(source, track) {
    const before = this.#tracks[source];
    if (before === track) return;
    if (before) {
      before.onended = before.onmute = before.onunmute = null;
      before.stop();
    }
    this.#tracks[source] = track;
    if (source === 'microphone' || source === 'camera') this.#watchMute(source, track);
    if (track) {
      if (source === 'microphone' || source === 'camera') track.enabled = this.#wanted[source];
      track.onended = () => this.#ended(source, track);
    }
    this.emit('track', { source, track });
  }

  /** @param {DeviceKind} kind @param {MediaStreamTrack | null} track */
  #watchMute(kind, track) {
    const stopWaiting = () => {
      this.#env.clearTimeout(this.#muteTimers[kind]);
      this.#muteTimers[kind] = null;
    };
    const set = (/** @type {boolean} */ silenced) => {
      if (this.#silenced[kind] === silenced) return;
      this.#silenced[kind] = silenced;
      this.#changed();
    };
    stopWaiting();
    this.#silenced[kind] = false;
    if (!track) return;
    const wait = () => {
      stopWaiting();
      this.#muteTimers[kind] = this.#env.setTimeout(() => set(true), SYSTEM_MUTE_MS);
    };
    track.onmute = wait;
    track.onunmute = () => {
      stopWaiting();
      set(false);
    };
    if (track.muted) wait();
  }

  /**
   * The browser ended a track: unplugged, taken by the system, or the person pressed the browser's own "stop sharing".
   *
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  #ended(source, track) {
    if (this.#tracks[source] !== track) return;
    if (source === 'screen') this.stopScreen();
    else if (source === 'screenAudio') this.#use('screenAudio', null);
    else this.#lost(source, track);
  }

  /** A device went away: take what the system has in its place. @param {DeviceKind} kind @param {MediaStreamTrack} track */
  async #lost(kind, track) {
    const device = { id: idOf(track), label: track.label };
    this.#gone[kind] = device;
    this.#use(kind, null);
    this.#changed();
    this.#book.refresh();
    // Nobody's camera is opened for a picture that was switched off.
    if (kind === 'camera' && !this.#wanted.camera) return;
    this.#replacing.add(kind);
    try {
      if (!(await this.#swap(kind, ''))) return;
      this.emit('device-lost', { kind, device, using: this.#tracks[kind]?.label ?? null });
    } catch (error) {
      const failure = CallkitError.from(error, 'capture_failed');
      if (failure.code === 'not_found') this.emit('device-lost', { kind, device, using: null });
      else this.#failed(failure, kind);
    } finally {
      this.#replacing.delete(kind);
    }
  }

  /** Something was plugged in or out, or names became known. */
  #devicesChanged() {
    if (!this.#active) return;
    const { list } = this.#book;
    for (const kind of /** @type {const} */ (['microphone', 'camera'])) {
      const track = this.#tracks[kind];
      const here = list[kind];
      // Not every system ends the track of a device that was pulled out.
      const id = track ? idOf(track) : '';
      if (track && here.length > 0 && isDevice(id) && !here.some((device) => device.id === id)) {
        track.onended = null;
        this.#lost(kind, track);
        continue;
      }
      if (this.#replacing.has(kind)) continue;
      const gone = this.#gone[kind];
      const back = gone ? this.#book.find(kind, gone) : null;
      if (back && (!track || idOf(track) !== back.id)) this.#back(kind, back);
      // Better any microphone than none. Cameras are left to the person: who knows what another one shows.
      else if (kind === 'microphone' && gone && !track && here.length > 0) this.#reopen(kind).catch(() => {});
    }
  }

  /** @param {DeviceKind} kind @param {Entry} device */
  async #back(kind, device) {
    if (this.#tracks[kind]) {
      this.#gone[kind] = null;
      this.emit('device-back', { kind, device, inUse: false });
      return;
    }
    if (!this.#wanted[kind]) return;
    try {
      if (await this.#swap(kind, device.id)) {
        this.#gone[kind] = null;
        this.emit('device-back', { kind, device, inUse: true });
      }
    } catch {
      // It is still starting: the next change of the devices tries again.
    }
  }

  /** @param {unknown} error @param {DeviceKind} kind */
  #failed(error, kind) {
    const failure = CallkitError.from(error, 'capture_failed');
    this.emit('failure', failure.device ? failure
      : new CallkitError(failure.code, { retryable: failure.retryable, cause: failure, message: failure.message, device: kind }));
  }

  #changed() {
    this.emit('change', null);
  }
}

/** @param {MediaStreamTrack} track */
function idOf(track) {
  return track.getSettings?.().deviceId ?? '';
}

/** @param {string} id Chromium's `default` and `communications` are choices, not devices */
function isDevice(id) {
  return id !== '' && id !== 'default' && id !== 'communications';
}

/** @param {MediaStreamTrack | null} track */
export function isLive(track) {
  return track !== null && track.readyState === 'live';
}
