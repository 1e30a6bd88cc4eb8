// The media connection of a call, and the way back after a loss. One negotiation lays out everything (ARCHITECTURE.md:
// zero renegotiation); afterwards only replaceTrack and signaling messages are needed. A lost way is looked for again
// by an ICE restart on the same connection; what cannot be restarted is replaced by a new connection with the same
// tracks. Every state has a deadline: there is none in which nothing happens any more.

import { Capture } from './capture.js';
import { Emitter } from './emitter.js';
import { CallkitError } from './errors.js';
import { IceServers } from './ice-servers.js';
import { Peer } from './peer.js';
import { Pulse, bytesIn } from './pulse.js';
import { Meter, Quality } from './stats.js';

export { SLOTS } from './peer.js';

/** `disconnected` often heals by itself; after this long another way is looked for, milliseconds. */
const DISCONNECT_GRACE_MS = 1000;
/** A restart that has not connected by then is given up for a new connection, milliseconds. */
const RESTART_TIMEOUT_MS = 4000;
/** How often a restart that waits for signaling is looked at, milliseconds. */
const RESTART_LOOK_MS = 500;
/** A connection that works is restarted at most this often on a hint that the network changed, milliseconds. */
const RESTART_EVERY_MS = 5000;
/** A new connection that is not up by then is given up, milliseconds. */
const CONNECT_TIMEOUT_MS = 8000;
/** Waits before the tries of a full reconnection, milliseconds; the last one repeats. */
const RETRY_MS = [0, 500, 1000, 2000, 4000];
/** An offer made in advance is used up to this age; the machine's addresses may have changed since, milliseconds. */
const PREPARED_FOR_MS = 60_000;
/** How long a first connection waits for servers that are being asked for, milliseconds. */
const SERVERS_WAIT_MS = 300;
/** How often the connection is looked after, milliseconds. */
const WATCH_MS = 200;
/**
 * Silence of a steady stream after which another way is looked for although the browser still calls it connected: twenty
 * packets of sound in a row. What works is not given up for it, so a false alarm costs one exchange of messages.
 * Milliseconds.
 */
const QUIET_RESTART_MS = 400;

/**
 * @typedef {'idle' | 'connecting' | 'connected' | 'reconnecting' | 'failed'} MediaPhase
 * @typedef {object} MediaInfo
 * @property {MediaPhase} phase
 * @property {number | null} lostSince since when nothing arrives, on the local clock; also before `phase` says so
 * @property {boolean} microphone on
 * @property {boolean} camera on
 * @property {boolean} screen shared
 * @property {boolean} hasCamera
 * @property {boolean} hasMicrophone
 * @property {import('./protocol.js').DeviceState} microphoneState
 * @property {import('./protocol.js').DeviceState} cameraState
 * @property {{ microphone: string | null, camera: string | null }} devices names of what is in use
 *
 * @typedef {import('./peer.js').Slot} Slot
 *
 * @typedef {import('./capture.js').CaptureEnvironment & import('./peer.js').PeerEnvironment} MediaEnvironment
 *
 * @typedef {(call: string, sdp: string, signal: AbortSignal) => Promise<string>} Negotiate
 *
 * @typedef {object} MediaOptions
 * @property {Negotiate} negotiate brings the offer of a new connection to the server and gives its answer
 * @property {Negotiate} restart brings the offer of an ICE restart to the server and gives its answer
 * @property {() => Promise<import('./protocol.js').OkFrame>} askServers asks for STUN and TURN servers
 * @property {() => boolean} isSignaling whether requests get through at present
 * @property {MediaEnvironment} environment
 * @property {boolean} [raw] sound as it is
 * @property {boolean} [relayOnly] nothing but TURN, for tests of relays
 *
 * @typedef {{ change: MediaInfo, slots: readonly Slot[], 'capture-failure': CallkitError, failure: CallkitError,
 *   'device-lost': import('./capture.js').LostDevice, 'device-back': import('./capture.js').ReturnedDevice }} MediaEvents
 */

/** @returns {MediaEnvironment} */
export function browserMedia() {
  return {
    now: () => performance.now(),
    setTimeout: (callback, ms) => setTimeout(callback, ms),
    clearTimeout: (id) => clearTimeout(id),
    createPeerConnection: (configuration) =>
      new RTCPeerConnection({ bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require', ...configuration }),
    createStream: (tracks) => new MediaStream(tracks),
  };
}

/** @extends {Emitter<MediaEvents>} */
export class MediaSession extends Emitter {
  #env;
  #options;
  #capture;
  #servers;
  /** @type {MediaPhase} */
  #phase = 'idle';
  /** @type {number | null} */
  #lostSince = null;
  /** @type {Peer | null} */
  #peer = null;
  /** @type {Peer | null} */
  #prepared = null;
  /** @type {string | null} */
  #call = null;
  /** What the server asked for last, for the connection after the next one as well. @type {import('./protocol.js').Demand | null} */
  #demand = null;
  #attempt = 0;
  /** Whether media was up in this call. */
  #wasConnected = false;
  /** Whether the present connection was up. */
  #wasUp = false;
  /** Grows with each attempt, so that late answers of earlier ones are ignored. */
  #generation = 0;
  #restarting = false;
  /** Between two attempts. */
  #waiting = false;
  /** Grows with each restart. */
  #restartRound = 0;
  #restartedAt = Number.NEGATIVE_INFINITY;
  /** @type {unknown} */
  #timer = null;
  /** @type {unknown} */
  #graceTimer = null;
  /** @type {unknown} */
  #watchTimer = null;
  #pulse = new Pulse({ now: 0, everyMs: WATCH_MS });
  #sampleMeter = new Meter();
  #reportMeter = new Meter();
  #quality = new Quality();
  /** Ends the negotiation of the present attempt. */
  #abort = new AbortController();
  #abortRestart = new AbortController();

  /** @param {MediaOptions} options */
  constructor(options) {
    super();
    this.#options = options;
    this.#env = options.environment;
    this.#capture = new Capture({ environment: options.environment, raw: options.raw ?? false });
    this.#servers = new IceServers({ ask: options.askServers, now: options.environment.now });
    this.#capture.on('track', ({ source, track }) => {
      this.#peer?.senders[source].replaceTrack(track).catch(() => {});
    });
    this.#capture.on('change', () => this.#changed());
    this.#capture.on('failure', (error) => this.emit('capture-failure', error));
    this.#capture.on('device-lost', (lost) => this.emit('device-lost', lost));
    this.#capture.on('device-back', (back) => this.emit('device-back', back));
  }

  /** @returns {MediaInfo} */
  get info() {
    const capture = this.#capture;
    return Object.freeze({
      phase: this.#phase,
      lostSince: this.#lostSince,
      microphone: capture.isOn('microphone'),
      camera: capture.isOn('camera'),
      screen: capture.track('screen') !== null,
      hasMicrophone: capture.track('microphone') !== null,
      hasCamera: capture.track('camera') !== null,
      microphoneState: capture.state('microphone'),
      cameraState: capture.state('camera'),
      devices: Object.freeze({
        microphone: capture.inUse('microphone')?.label ?? null, camera: capture.inUse('camera')?.label ?? null,
      }),
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

  /** The devices of this computer and what is captured from them. */
  get capture() {
    return this.#capture;
  }

  /** @param {'microphone' | 'camera' | 'screen'} source */
  localTrack(source) {
    return this.#capture.track(source);
  }

  /**
   * Opens the devices unless they are open.
   *
   * @param {{ video?: boolean }} [options]
   * @throws {CallkitError} the microphone cannot be used; `closed`: released meanwhile
   */
  acquire(options) {
    return this.#capture.acquire(options);
  }

  /** Closes the devices: the browser's recording light goes off. */
  release() {
    this.#capture.release();
  }

  /** Takes effect at once; telling the others is up to the listener of `change`. @param {boolean} on */
  setMicrophone(on) {
    this.#capture.setMicrophone(on);
  }

  /** @param {boolean} on @throws {CallkitError} the camera cannot be opened */
  setCamera(on) {
    return this.#capture.setCamera(on);
  }

  /** Shares what the person picked (`pickScreen` of devices.js). @param {MediaStream} stream */
  startScreen(stream) {
    this.#capture.startScreen(stream);
  }

  stopScreen() {
    this.#capture.stopScreen();
  }

  // --- connection

  /** Asks for STUN and TURN servers if those that are known are not fresh. */
  async refreshServers() {
    if (!(await this.#servers.refresh())) return;
    if (!this.#prepared) return;
    // What was made in advance does not know them.
    this.#discardPrepared();
    this.prepare();
  }

  /** The servers that are known are those of another process or person. */
  forgetServers() {
    this.#servers.forget();
  }

  /**
   * Makes the offer before it is needed, which saves its time when the call is answered. Needs no device: the layout
   * is the same with and without tracks.
   */
  prepare() {
    if (this.#peer || this.#call) return;
    if (this.#isPreparedFresh()) return;
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
    this.#watch();
  }

  disconnect() {
    this.#generation++;
    this.#abort.abort();
    this.#abortRestart.abort();
    this.#clearTimers();
    this.#env.clearTimeout(this.#watchTimer);
    this.#watchTimer = null;
    this.#closePeer();
    this.#discardPrepared();
    this.#call = null;
    this.#demand = null;
    this.#lostSince = null;
    this.#quality = new Quality();
    this.#set('idle');
  }

  /** Replaces the connection: the server has lost it, or its process is a new one, or the person asks for it. */
  reconnect() {
    if (!this.#call) return;
    this.#attempt = 0;
    this.#start();
  }

  /** The server does not get our media: replace the connection, or look for another way if it seems to work. */
  serverLostUs() {
    if (!this.#call || this.#phase !== 'connected') return;
    if (this.#peer?.pc.connectionState === 'connected') this.networkChanged();
    else this.#recover(this.#generation);
  }

  /** The network may be another one, or the computer slept: what works is checked, what waits is tried at once. */
  networkChanged() {
    if (!this.#call) return;
    if (this.#phase === 'connected') {
      if (this.#env.now() - this.#restartedAt >= RESTART_EVERY_MS) this.#recover(this.#generation);
    } else if (this.#waiting) {
      this.reconnect();
    }
  }

  /** The page woke up: connection and devices are checked. */
  woke() {
    this.#capture.revive();
    this.networkChanged();
  }

  /** What the receivers of our media can use. @param {import('./protocol.js').Demand} demand */
  setDemand(demand) {
    this.#demand = demand;
    this.#peer?.demand(demand);
  }

  /**
   * Measures.
   *
   * @param {{ report?: boolean }} [options] whether to make a report for the server as well
   * @returns {Promise<{ sample: import('./stats.js').Sample, report: import('./protocol.js').MediaReport | null } | null>}
   */
  async measure({ report: wanted = false } = {}) {
    const peer = this.#peer;
    if (!peer || this.#phase !== 'connected') return null;
    const stats = [.../** @type {any} */ (await peer.pc.getStats()).values()];
    if (this.#peer !== peer) return null;
    const now = this.#env.now();
    const capture = this.#capture;
    const context = {
      now, mids: peer.mids(),
      on: { microphone: capture.isOn('microphone'), camera: capture.isOn('camera'), screen: true, screen_audio: true },
    };
    const reading = this.#sampleMeter.read(stats, context);
    const idle = this.#demand !== null && this.#demand.camera.layers.length === 0;
    const sample = this.#quality.next(reading, now, { videoPaused: capture.isOn('camera') && idle });
    return { sample, report: wanted ? this.#reportMeter.report(stats, context) : null };
  }

  // --- the machine

  async #start() {
    const call = /** @type {string} */ (this.#call);
    const generation = ++this.#generation;
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#abortRestart.abort();
    const { signal } = this.#abort;
    this.#clearTimers();
    this.#closePeer();
    if (this.#wasConnected) this.#lostSince ??= this.#env.now();
    this.#set(this.#wasConnected ? 'reconnecting' : 'connecting');
    this.#timer = this.#env.setTimeout(() => this.#retry(generation), CONNECT_TIMEOUT_MS);
    if (!this.#isPreparedFresh()) {
      this.#discardPrepared();
      await this.#awaitServers();
      if (generation !== this.#generation) return;
    }
    const peer = this.#prepared ?? this.#build();
    this.#prepared = null;
    this.#peer = peer;
    if (this.#demand) peer.demand(this.#demand);
    this.emit('slots', peer.slots);
    this.#attach(peer);
    peer.pc.onconnectionstatechange = () => {
      if (generation === this.#generation) this.#connectionChanged(peer.pc.connectionState, generation);
    };
    try {
      const offer = await peer.offer;
      if (generation !== this.#generation) return;
      const answer = await this.#options.negotiate(call, offer, signal);
      if (generation !== this.#generation) return;
      await peer.answer(answer);
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

  /** Nothing is known yet, and the answer is on its way: a connection without relays may be one that fails. */
  async #awaitServers() {
    if (this.#servers.fresh) return;
    const asked = this.#servers.refresh();
    if (this.#servers.list.length > 0) return;
    await new Promise((resolve) => {
      const timer = this.#env.setTimeout(() => resolve(null), SERVERS_WAIT_MS);
      asked.then(() => {
        this.#env.clearTimeout(timer);
        resolve(null);
      });
    });
  }

  /** @param {number} generation */
  #retry(generation) {
    if (generation !== this.#generation || !this.#call) return;
    this.#abortRestart.abort();
    this.#clearTimers();
    const wait = RETRY_MS[Math.min(this.#attempt, RETRY_MS.length - 1)] ?? 0;
    this.#attempt++;
    if (this.#wasConnected) this.#lostSince ??= this.#env.now();
    this.#set(this.#wasConnected ? 'reconnecting' : 'connecting');
    this.#waiting = true;
    this.#timer = this.#env.setTimeout(() => {
      if (generation === this.#generation && this.#call) this.#start();
    }, wait);
  }

  /** @param {RTCPeerConnectionState} state @param {number} generation */
  #connectionChanged(state, generation) {
    if (state === 'connected') {
      this.#up();
    } else if (state === 'failed' || state === 'closed') {
      this.#recover(generation);
    } else if (state === 'disconnected') {
      this.#grace(generation);
    }
  }

  /** Gives a connection a moment to heal. @param {number} generation */
  #grace(generation) {
    if (this.#graceTimer !== null || this.#restarting) return;
    this.#lostSince ??= this.#env.now();
    this.#changed();
    this.#graceTimer = this.#env.setTimeout(() => {
      this.#graceTimer = null;
      if (generation === this.#generation && this.#peer?.pc.connectionState !== 'connected') this.#recover(generation);
    }, DISCONNECT_GRACE_MS);
  }

  /** @param {Pulse} [pulse] what has been felt so far still counts */
  #up(pulse = new Pulse({ now: this.#env.now(), everyMs: WATCH_MS })) {
    this.#clearTimers();
    this.#attempt = 0;
    this.#wasConnected = this.#wasUp = true;
    this.#lostSince = null;
    this.#pulse = pulse;
    if (this.#phase === 'connected') this.#changed();
    else this.#set('connected');
  }

  /** The way to the server is lost, or may be: by a restart if there is something to restart. @param {number} generation */
  #recover(generation) {
    if (generation !== this.#generation || !this.#call || this.#restarting) return;
    const state = this.#peer?.pc.connectionState;
    if (this.#peer && this.#wasUp && state !== 'closed') this.#restart(this.#peer, generation);
    else this.#retry(generation);
  }

  /** @param {Peer} peer @param {number} generation */
  async #restart(peer, generation) {
    const call = /** @type {string} */ (this.#call);
    const round = ++this.#restartRound;
    const isStale = () => generation !== this.#generation || round !== this.#restartRound;
    this.#abortRestart.abort();
    this.#abortRestart = new AbortController();
    const { signal } = this.#abortRestart;
    this.#clearTimers();
    this.#restarting = true;
    this.#restartedAt = this.#env.now();
    if (peer.pc.connectionState !== 'connected' || this.#lostSince !== null) {
      this.#lostSince ??= this.#env.now();
      this.#set('reconnecting');
    }
    this.#armRestart(peer, generation);
    this.#servers.refresh();
    try {
      const offer = await peer.restart(this.#servers.list);
      if (isStale()) return;
      const answer = await this.#options.restart(call, offer, signal);
      if (isStale()) return;
      await peer.pc.setRemoteDescription({ type: 'answer', sdp: answer });
      if (isStale()) return;
      // A connection that never left `connected` says nothing any more; one that had gone silent says it with packets.
      if (peer.pc.connectionState === 'connected' && this.#lostSince === null) this.#up(this.#pulse);
    } catch {
      if (!isStale()) await this.#giveUpRestart(peer, generation);
    }
  }

  /**
   * The server cannot continue the connection, or does not answer in time: a new one at once, unless this one works.
   *
   * @param {Peer} peer
   * @param {number} generation
   */
  async #giveUpRestart(peer, generation) {
    this.#restartRound++;
    this.#abortRestart.abort();
    const works = peer.pc.connectionState === 'connected' && this.#lostSince === null;
    const kept = works && (await peer.rollback());
    if (generation !== this.#generation) return;
    if (kept) this.#up();
    else this.#retry(generation);
  }

  /**
   * Gives a restart its time, counted from when signaling works: without it a new connection has no better chance than
   * the present one, which may still heal.
   *
   * @param {Peer} peer
   * @param {number} generation
   * @param {number} [deadline]
   */
  #armRestart(peer, generation, deadline = this.#env.now() + RESTART_TIMEOUT_MS) {
    this.#timer = this.#env.setTimeout(() => {
      if (generation !== this.#generation) return;
      const now = this.#env.now();
      const isSignaling = this.#options.isSignaling() || peer.pc.connectionState === 'closed';
      if (isSignaling && now >= deadline) this.#giveUpRestart(peer, generation);
      else this.#armRestart(peer, generation, isSignaling ? deadline : now + RESTART_TIMEOUT_MS);
    }, Math.min(RESTART_LOOK_MS, Math.max(0, deadline - this.#env.now())));
  }

  /** Looks after the connection all the time, so that no state is without a way out. */
  #watch() {
    this.#env.clearTimeout(this.#watchTimer);
    this.#watchTimer = this.#env.setTimeout(() => {
      this.#watch();
      this.#check();
    }, WATCH_MS);
  }

  #check() {
    const peer = this.#peer;
    if (this.#phase === 'reconnecting' && peer?.pc.connectionState === 'connected') {
      this.#feelPulse(peer);
    } else if (this.#phase === 'connected' && peer) {
      const state = peer.pc.connectionState;
      if (this.#restarting) this.#feelPulse(peer);
      else if (state === 'failed' || state === 'closed') this.#recover(this.#generation);
      else if (state !== 'connected') this.#grace(this.#generation);
      else this.#feelPulse(peer);
    } else if ((this.#phase === 'connecting' || this.#phase === 'reconnecting') && this.#timer === null && this.#graceTimer === null) {
      this.#retry(this.#generation);
    }
  }

  /** @param {Peer} peer */
  async #feelPulse(peer) {
    const generation = this.#generation;
    /** @type {any} */
    const stats = await peer.senders.microphone.getStats?.().catch(() => null);
    if (!stats || generation !== this.#generation || this.#peer !== peer || this.#phase === 'failed') return;
    const now = this.#env.now();
    const { arriving, quietSince, quietMs } = this.#pulse.feel(bytesIn(stats.values()), now);
    if (arriving) {
      if (this.#lostSince !== null && peer.pc.connectionState === 'connected') this.#up();
      return;
    }
    if (quietSince !== null && this.#lostSince === null) {
      this.#lostSince = quietSince;
      if (this.#restarting) this.#set('reconnecting');
      this.#changed();
    }
    if (quietMs >= QUIET_RESTART_MS && now - this.#restartedAt >= RESTART_EVERY_MS) this.#recover(generation);
  }

  #build() {
    const iceServers = this.#servers.list;
    return new Peer(this.#env, {
      ...(iceServers.length > 0 ? { iceServers } : {}),
      ...(this.#options.relayOnly ? { iceTransportPolicy: /** @type {const} */ ('relay') } : {}),
    });
  }

  #isPreparedFresh() {
    return this.#prepared !== null && this.#env.now() - this.#prepared.madeAt < PREPARED_FOR_MS;
  }

  /** @param {Peer} peer */
  #attach(peer) {
    for (const source of /** @type {const} */ (['microphone', 'camera', 'screen', 'screenAudio'])) {
      const track = this.#capture.track(source);
      if (track) peer.senders[source].replaceTrack(track).catch(() => {});
    }
  }

  #closePeer() {
    this.#wasUp = false;
    this.#sampleMeter = new Meter();
    this.#reportMeter = new Meter();
    this.#peer?.close();
    this.#peer = null;
  }

  #discardPrepared() {
    this.#prepared?.close();
    this.#prepared = null;
  }

  /** Ends what is waited for; a restart that is waited for no longer is not one. */
  #clearTimers() {
    this.#env.clearTimeout(this.#timer);
    this.#env.clearTimeout(this.#graceTimer);
    this.#timer = this.#graceTimer = null;
    this.#restarting = this.#waiting = false;
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
