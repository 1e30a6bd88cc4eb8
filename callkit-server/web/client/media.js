// Sole owner of RTCPeerConnection and of the captured tracks. One negotiation lays out everything
// (ARCHITECTURE.md: zero renegotiation); afterwards only replaceTrack and signaling messages are needed.
// A connection that is beyond repair is replaced by a new one with the same tracks.

import { openCamera, openCapture, captureError } from './devices.js';
import { Emitter } from './emitter.js';
import { CallkitError } from './errors.js';
import { LevelFilter, summarise } from './stats.js';

/** Receiving slots: at most two other people are in a call. */
export const SLOTS = 2;
/** `disconnected` often heals by itself; after this long it is taken for lost, milliseconds. */
const DISCONNECT_GRACE_MS = 4000;
/** A new connection that is not up by then is given up, milliseconds. */
const CONNECT_TIMEOUT_MS = 8000;
/** Waits before the tries of a full reconnection, milliseconds; the last one repeats. */
const RETRY_MS = [0, 500, 1000, 2000, 4000];
/** An offer made in advance is used up to this age; the machine's addresses may have changed since, milliseconds. */
const PREPARED_FOR_MS = 60_000;

/**
 * Layers of the camera, lowest first: the order that both Chromium and Firefox take. Only the full one sends until
 * the server asks for others.
 *
 * @returns {RTCRtpEncodingParameters[]}
 */
const cameraEncodings = () => [
  { rid: 'l', active: false, scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'm', active: false, scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'h', active: true, scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
];

/**
 * Switches the layers as the layout has them: an answer that does not repeat what the offer paused (RFC 8853,
 * section 5.2) switches every layer on.
 *
 * @param {RTCRtpSender} camera
 */
async function applyLayers(camera) {
  const parameters = camera.getParameters();
  const wanted = new Map(cameraEncodings().map(({ rid, active }) => [rid, active]));
  let changed = false;
  for (const encoding of parameters.encodings ?? []) {
    const active = wanted.get(encoding.rid);
    if (active === undefined || encoding.active === active) continue;
    encoding.active = active;
    changed = true;
  }
  // A connection that is closed meanwhile refuses; there is nothing to switch then.
  if (changed) await camera.setParameters(parameters).catch(() => {});
}

/**
 * @typedef {'idle' | 'connecting' | 'connected' | 'reconnecting' | 'failed'} MediaPhase
 * @typedef {object} MediaInfo
 * @property {MediaPhase} phase
 * @property {boolean} microphone on
 * @property {boolean} camera on
 * @property {boolean} screen shared
 * @property {boolean} hasCamera
 * @property {boolean} hasMicrophone
 * @property {{ microphone: string | null, camera: string | null }} devices names of what is in use
 *
 * @typedef {{ camera: MediaStream, screen: MediaStream, voice: MediaStream, screenAudio: MediaStream }} Slot
 *
 * @typedef {object} Peer
 * @property {RTCPeerConnection} pc
 * @property {RTCRtpSender} microphone
 * @property {RTCRtpSender} camera
 * @property {RTCRtpSender} screen
 * @property {RTCRtpSender} screenAudio
 * @property {Slot[]} slots
 * @property {Promise<string>} offer
 * @property {number} madeAt
 *
 * @typedef {object} MediaEnvironment
 * @property {() => number} now
 * @property {(callback: () => void, ms: number) => unknown} setTimeout
 * @property {(id: any) => void} clearTimeout
 * @property {() => RTCPeerConnection} createPeerConnection
 * @property {(tracks: MediaStreamTrack[]) => MediaStream} createStream
 * @property {import('./devices.js').Devices} [devices]
 *
 * @typedef {{ change: MediaInfo, slots: readonly Slot[], 'capture-failure': CallkitError, failure: CallkitError }} MediaEvents
 */

/** @returns {MediaEnvironment} */
export function browserMedia() {
  return {
    now: () => performance.now(),
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (id) => clearTimeout(id),
    createPeerConnection: () => new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' }),
    createStream: (tracks) => new MediaStream(tracks),
  };
}

/** @extends {Emitter<MediaEvents>} */
export class MediaSession extends Emitter {
  #env;
  #negotiate;
  #raw;
  /** @type {MediaPhase} */
  #phase = 'idle';
  #wanted = { microphone: true, camera: true };
  /** @type {Record<'microphone' | 'camera' | 'screen' | 'screenAudio', MediaStreamTrack | null>} */
  #local = { microphone: null, camera: null, screen: null, screenAudio: null };
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Peer | null} */
  #prepared = null;
  /** @type {string | null} */
  #call = null;
  #attempt = 0;
  #wasConnected = false;
  /** Grows with each attempt, so that late answers of earlier ones are ignored. */
  #generation = 0;
  /** @type {unknown} */
  #timer = null;
  /** @type {unknown} */
  #graceTimer = null;
  /** @type {import('./stats.js').Totals | null} */
  #totals = null;
  #levels = new LevelFilter();
  #cameraWork = 0;
  /** Grows with each release. */
  #captureRound = 0;
  /** @type {Promise<{ cameraProblem: CallkitError | null }> | null} */
  #opening = null;
  /** Ends the negotiation of the present attempt. */
  #abort = new AbortController();

  /**
   * @param {{ negotiate: (call: string, sdp: string, signal: AbortSignal) => Promise<string>, environment: MediaEnvironment, raw?: boolean }} options
   *   `negotiate` brings the offer to the server and gives its answer
   */
  constructor(options) {
    super();
    this.#negotiate = options.negotiate;
    this.#env = options.environment;
    this.#raw = options.raw ?? false;
  }

  /** @returns {MediaInfo} */
  get info() {
    const { microphone, camera, screen } = this.#local;
    return Object.freeze({
      phase: this.#phase,
      microphone: microphone !== null && this.#wanted.microphone,
      camera: camera !== null && this.#wanted.camera,
      screen: screen !== null,
      hasMicrophone: microphone !== null,
      hasCamera: camera !== null,
      devices: Object.freeze({ microphone: microphone?.label ?? null, camera: camera?.label ?? null }),
    });
  }

  /** Streams of what arrives, by slot; empty before the first connection. @returns {readonly Slot[]} */
  get slots() {
    return this.#peer?.slots ?? [];
  }

  /** The connection in use, for measurements. */
  get peerConnection() {
    return this.#peer?.pc ?? null;
  }

  /** @param {'microphone' | 'camera' | 'screen'} source */
  localTrack(source) {
    return this.#local[source];
  }

  // --- capture

  /**
   * Opens the devices unless they are open.
   *
   * @param {{ video?: boolean }} [options]
   * @returns {Promise<{ cameraProblem: CallkitError | null }>}
   * @throws {CallkitError} the microphone cannot be used; `closed`: released meanwhile
   */
  async acquire({ video = true } = {}) {
    if (isLive(this.#local.microphone)) return { cameraProblem: null };
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
    const round = this.#captureRound;
    const devices = this.#env.devices;
    const capture = await openCapture({ video, raw: this.#raw, ...(devices ? { devices } : {}) });
    if (round !== this.#captureRound) {
      // Released while the person was still being asked.
      capture.microphone?.stop();
      capture.camera?.stop();
      throw new CallkitError('closed');
    }
    this.#use('microphone', capture.microphone);
    this.#use('camera', capture.camera);
    this.#changed();
    return { cameraProblem: capture.cameraProblem };
  }

  /** Closes the devices: the browser's recording light goes off. */
  release() {
    this.#captureRound++;
    this.#opening = null;
    this.#cameraWork++;
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen', 'screenAudio'])) this.#use(source, null);
    this.#wanted = { microphone: true, camera: true };
    this.#changed();
  }

  /** Takes effect at once; telling the others is up to the listener of `change`. @param {boolean} on */
  setMicrophone(on) {
    this.#wanted.microphone = on;
    if (this.#local.microphone) this.#local.microphone.enabled = on;
    this.#changed();
  }

  /** @param {boolean} on @throws {CallkitError} the camera cannot be opened */
  async setCamera(on) {
    const work = ++this.#cameraWork;
    if (on && !isLive(this.#local.camera)) {
      const devices = this.#env.devices;
      const track = await openCamera(devices ? { devices } : {});
      if (work !== this.#cameraWork) {
        track.stop();
        return;
      }
      this.#use('camera', track);
    }
    this.#wanted.camera = on;
    if (this.#local.camera) this.#local.camera.enabled = on;
    this.#changed();
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

  // --- connection

  /**
   * Makes the offer before it is needed, which saves its time when the call is answered. Needs no device: the layout
   * is the same with and without tracks.
   */
  prepare() {
    if (this.#peer || this.#call) return;
    if (this.#prepared && this.#env.now() - this.#prepared.madeAt < PREPARED_FOR_MS) return;
    this.#discardPrepared();
    this.#prepared = this.#build();
  }

  /** Connects to the call and stays connected until {@link disconnect}. @param {string} call */
  connect(call) {
    if (this.#call === call) return;
    if (this.#call) this.disconnect();
    this.#call = call;
    this.#attempt = 0;
    this.#wasConnected = false;
    this.#start();
  }

  disconnect() {
    this.#generation++;
    this.#abort.abort();
    this.#clearTimers();
    this.#closePeer();
    this.#discardPrepared();
    this.#call = null;
    this.#totals = null;
    this.#levels = new LevelFilter();
    this.#set('idle');
  }

  /** Replaces the connection: the server has lost it, or its process is a new one. */
  reconnect() {
    if (!this.#call) return;
    this.#attempt = 0;
    this.#start();
  }

  /** The server does not get our media: unless an attempt is on its way, replace the connection. */
  serverLostUs() {
    if (!this.#call || this.#phase !== 'connected') return;
    if (this.#peer?.pc.connectionState === 'connected') return;
    this.reconnect();
  }

  /** @returns {Promise<import('./stats.js').Sample | null>} */
  async sample() {
    const pc = this.#peer?.pc;
    if (!pc || this.#phase !== 'connected') return null;
    const report = await pc.getStats();
    if (this.#peer?.pc !== pc) return null;
    const { sample, totals } = summarise(/** @type {any} */ (report).values(), this.#totals);
    this.#totals = totals;
    return { ...sample, level: this.#levels.next(sample.level) };
  }

  async #start() {
    const call = /** @type {string} */ (this.#call);
    const generation = ++this.#generation;
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#clearTimers();
    this.#closePeer();
    this.#totals = null;
    this.#set(this.#wasConnected ? 'reconnecting' : 'connecting');
    this.#timer = this.#env.setTimeout(() => this.#retry(generation), CONNECT_TIMEOUT_MS);
    const fresh = this.#prepared && this.#env.now() - this.#prepared.madeAt < PREPARED_FOR_MS;
    if (!fresh) this.#discardPrepared();
    const peer = this.#prepared ?? this.#build();
    this.#prepared = null;
    this.#peer = peer;
    this.emit('slots', peer.slots);
    this.#attach(peer);
    peer.pc.onconnectionstatechange = () => {
      if (generation === this.#generation) this.#connectionChanged(peer.pc.connectionState, generation);
    };
    try {
      const offer = await peer.offer;
      if (generation !== this.#generation) return;
      const answer = await this.#negotiate(call, offer, signal);
      if (generation !== this.#generation) return;
      await peer.pc.setRemoteDescription({ type: 'answer', sdp: answer });
      await applyLayers(peer.camera);
    } catch (error) {
      if (generation !== this.#generation) return;
      const failure = CallkitError.from(error, 'media_failed');
      if (failure.retryable) {
        this.#retry(generation);
      } else {
        this.#clearTimers();
        this.#set('failed');
        this.emit('failure', failure);
      }
    }
  }

  /** @param {number} generation */
  #retry(generation) {
    if (generation !== this.#generation || !this.#call) return;
    this.#clearTimers();
    const wait = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)] ?? 0;
    this.#attempt++;
    this.#set(this.#wasConnected ? 'reconnecting' : 'connecting');
    this.#timer = this.#env.setTimeout(() => {
      if (generation === this.#generation && this.#call) this.#start();
    }, wait);
  }

  /** @param {RTCPeerConnectionState} state @param {number} generation */
  #connectionChanged(state, generation) {
    if (state === 'connected') {
      this.#clearTimers();
      this.#attempt = 0;
      this.#wasConnected = true;
      this.#set('connected');
    } else if (state === 'failed') {
      this.#retry(generation);
    } else if (state === 'disconnected' && this.#graceTimer === null) {
      this.#graceTimer = this.#env.setTimeout(() => {
        this.#graceTimer = null;
        if (this.#peer?.pc.connectionState !== 'connected') this.#retry(generation);
      }, DISCONNECT_GRACE_MS);
    }
  }

  /** The layout of docs/protocol.md: four m-lines to send, four for each slot. @returns {Peer} */
  #build() {
    const pc = this.#env.createPeerConnection();
    const send = (/** @type {'audio' | 'video'} */ kind, /** @type {RTCRtpEncodingParameters[]} */ sendEncodings = []) =>
      pc.addTransceiver(kind, { direction: 'sendonly', ...(sendEncodings.length > 0 ? { sendEncodings } : {}) }).sender;
    const receive = (/** @type {'audio' | 'video'} */ kind) =>
      pc.addTransceiver(kind, { direction: 'recvonly' }).receiver.track;

    const microphone = send('audio');
    const camera = send('video', cameraEncodings());
    const screen = send('video', [{ maxBitrate: 2_500_000 }]);
    const screenAudio = send('audio');
    /** @type {Slot[]} */
    const slots = [];
    for (let index = 0; index < SLOTS; index++) {
      const voice = receive('audio');
      const face = receive('video');
      const shared = receive('video');
      const sound = receive('audio');
      slots.push({
        // The voice goes along with the picture so that a player can keep them in step.
        camera: this.#env.createStream([face, voice]),
        screen: this.#env.createStream([shared]),
        voice: this.#env.createStream([voice]),
        screenAudio: this.#env.createStream([sound]),
      });
    }
    const offer = pc.createOffer().then(async (description) => {
      await pc.setLocalDescription(description);
      return pc.localDescription?.sdp ?? description.sdp ?? '';
    });
    offer.catch(() => {});
    return { pc, microphone, camera, screen, screenAudio, slots, offer, madeAt: this.#env.now() };
  }

  /** @param {Peer} peer */
  #attach(peer) {
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen', 'screenAudio'])) {
      const track = this.#local[source];
      if (track) peer[source].replaceTrack(track).catch(() => {});
    }
  }

  /**
   * @param {'microphone' | 'camera' | 'screen' | 'screenAudio'} source
   * @param {MediaStreamTrack | null} track
   */
  #use(source, track) {
    const before = this.#local[source];
    if (before === track) return;
    if (before) {
      before.onended = null;
      before.stop();
    }
    this.#local[source] = track;
    this.#peer?.[source].replaceTrack(track).catch(() => {});
    if (!track) return;
    if (source === 'microphone' || source === 'camera') track.enabled = this.#wanted[source];
    track.onended = () => this.#ended(source, track);
  }

  /**
   * The browser ended a track: unplugged, taken by the system, or the person pressed the browser's own "stop sharing".
   *
   * @param {'microphone' | 'camera' | 'screen' | 'screenAudio'} source
   * @param {MediaStreamTrack} track
   */
  #ended(source, track) {
    if (this.#local[source] !== track) return;
    if (source === 'screen') {
      this.stopScreen();
      return;
    }
    this.#use(source, null);
    this.#changed();
    if (source === 'microphone') this.#reopen();
    else if (source === 'camera') this.emit('capture-failure', new CallkitError('camera_ended', { retryable: true }));
  }

  /** The microphone is gone: take the default one; muted stays muted. */
  async #reopen() {
    try {
      const devices = this.#env.devices;
      const capture = await openCapture({ video: false, raw: this.#raw, ...(devices ? { devices } : {}) });
      if (this.#local.microphone) capture.microphone?.stop();
      else this.#use('microphone', capture.microphone);
      this.#changed();
    } catch (error) {
      this.emit('capture-failure', CallkitError.from(error, 'capture_failed'));
    }
  }

  #closePeer() {
    if (!this.#peer) return;
    this.#peer.pc.onconnectionstatechange = null;
    this.#peer.pc.close();
    this.#peer = null;
  }

  #discardPrepared() {
    this.#prepared?.pc.close();
    this.#prepared = null;
  }

  #clearTimers() {
    this.#env.clearTimeout(this.#timer);
    this.#env.clearTimeout(this.#graceTimer);
    this.#timer = this.#graceTimer = null;
  }

  /** @param {MediaPhase} phase */
  #set(phase) {
    if (this.#phase === phase) return;
    this.#phase = phase;
    this.#changed();
  }

  #changed() {
    this.emit('change', this.info);
  }
}

/** @param {MediaStreamTrack | null} track */
function isLive(track) {
  return track !== null && track.readyState === 'live';
}

/**
 * Asks for a screen. Has to be called first thing in a click handler.
 *
 * @returns {Promise<MediaStream | null>} `null` if the person thought better of it
 * @throws {CallkitError}
 */
export function pickScreen() {
  return navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true }).catch((error) => {
    const failure = captureError(error);
    if (failure.code === 'permission_denied') return null;
    throw failure;
  });
}
