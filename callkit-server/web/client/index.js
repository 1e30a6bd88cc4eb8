// The client SDK: signaling, media and state of one person, behind one object. Needs no DOM.

import { CallStore } from './call-store.js';
import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import { browserEnvironment } from './environment.js';
import { CallkitError } from './errors.js';
import { CLIENT_EVENTS } from './events.js';
import { MediaSession, browserMedia } from './media.js';
import { MAX_CHAT_CHARS } from './protocol.js';

export { CallkitError } from './errors.js';
export { CLIENT_EVENTS } from './events.js';
export { pickScreen } from './devices.js';

const CLIENT_INFO = { name: 'callkit-web', version: '0.1.0' };
/** Own measurements are taken this often, milliseconds. */
const SAMPLE_MS = 2000;
/** The server is told of every so many measurements: every four seconds. */
const REPORT_EVERY = 2;
/**
 * The ticker comes once per second; this much later by the time of day, the computer slept, milliseconds. A computer
 * that is merely busy is late as well, by some seconds.
 */
const SLEPT_MS = 15_000;
/** Pause before a line of chat that was one too many is sent again, milliseconds. */
const CHAT_PAUSE_MS = 500;

/**
 * @typedef {import('./call-store.js').State} State
 * @typedef {import('./protocol.js').PresenceChoice} PresenceChoice
 *
 * @typedef {object} ClientOptions
 * @property {string} url the signaling WebSocket, `ws:` or `wss:`
 * @property {(why: { reason: import('./connection.js').TokenReason }) => Promise<string>} getToken
 * @property {boolean} [raw] capture sound unprocessed
 * @property {boolean} [relayOnly] connect through TURN only, for tests of relays
 * @property {import('./environment.js').Environment} [environment]
 * @property {import('./media.js').MediaEnvironment} [media]
 *
 * @typedef {{ change: State, 'connection-change': import('./connection.js').ConnectionInfo,
 *   offer: import('./call-store.js').OfferState, 'offer-closed': { offer: string, outcome: string, cause: string | null },
 *   'call-end': { call: string, reason: string, talkedMs: number },
 *   'slots-change': readonly import('./media.js').Slot[], 'capture-failure': CallkitError,
 *   'device-lost': import('./capture.js').LostDevice, 'device-back': import('./capture.js').ReturnedDevice,
 *   message: import('./protocol.js').ChatView }} ClientEvents
 */

/** @param {ClientOptions} options */
export function createClient(options) {
  return new Client(options);
}

/** @extends {Emitter<ClientEvents>} */
export class Client extends Emitter {
  #env;
  #connection;
  #media;
  #store;
  /** What the others were told last. */
  #reported = '';
  /** @type {unknown} */
  #sampleTimer = null;
  #samples = 0;
  /** @type {(() => void)[]} */
  #stops = [];

  /** @param {ClientOptions} options */
  constructor(options) {
    super();
    this.#env = options.environment ?? browserEnvironment();
    this.#connection = new Connection({
      url: options.url, getToken: options.getToken, client: CLIENT_INFO, environment: this.#env,
    });
    const negotiate = (/** @type {'media.offer' | 'media.restart'} */ type) =>
      async (/** @type {string} */ call, /** @type {string} */ sdp, /** @type {AbortSignal} */ signal) => {
        const { sdp: answer } = await this.#connection.request({ type, call, sdp }, { signal });
        if (!answer) throw new CallkitError('malformed', { message: 'an answer without SDP' });
        return answer;
      };
    this.#media = new MediaSession({
      environment: options.media ?? browserMedia(), raw: options.raw ?? false, relayOnly: options.relayOnly ?? false,
      negotiate: negotiate('media.offer'), restart: negotiate('media.restart'),
      askServers: () => this.#connection.request({ type: 'media.servers' }),
      isSignaling: () => this.#connection.info.state === 'connected',
    });
    this.#store = new CallStore(this.#media.info);
    this.#wire();
  }

  /** Capture and connection of this person's media. */
  get media() {
    return this.#media;
  }

  getState() {
    return this.#store.getState();
  }

  /**
   * @param {(state: State, before: State) => void} listener
   * @param {{ signal?: AbortSignal }} [options]
   */
  subscribe(listener, options) {
    return this.#store.subscribe(listener, options);
  }

  /** Local monotonic time, the clock of all `...Since` and `...At` values of the state, milliseconds. */
  now() {
    return this.#env.now();
  }

  connect() {
    this.#connection.open();
    if (this.#stops.length > 0) return;
    this.#stops.push(this.#watchSleep(), this.#env.onWake((why) => {
      if (why === 'visible') this.#media.capture.revive();
      else this.#media.networkChanged();
    }));
  }

  close() {
    for (const stop of this.#stops.splice(0)) stop();
    this.#connection.close();
    this.#media.disconnect();
    this.#media.release();
    this.#media.forgetServers();
    this.#stopSampling();
    this.#store.dispatch({ type: 'closed' });
  }

  calls = Object.freeze({
    /**
     * Customer: enters the queue; gives the open call if there is one.
     *
     * @param {{ queue: string }} options
     */
    start: async ({ queue }) => {
      const { call } = await this.#connection.request({ type: 'call.start', queue });
      if (!call) throw new CallkitError('malformed', { message: 'call.start without a call' });
      this.#store.dispatch({ type: 'call', call, now: this.#env.now() });
      return call;
    },

    /** Ends the call, or leaves the queue. */
    hangUp: async () => {
      const call = this.#openCall();
      if (call) await this.#connection.request({ type: 'call.hangup', call });
    },

    /**
     * Writes a line of chat. It is on the page at once, marked as pending, and is kept by the server exactly once,
     * however often the connection is lost on the way.
     *
     * @param {string} text
     */
    sendMessage: async (text) => {
      const { call, you } = this.getState();
      const trimmed = text.trim();
      if (!call || call.phase === 'ended' || trimmed === '') return;
      const clientId = this.#env.uniqueId();
      const line = { clientId, text: [...trimmed].slice(0, MAX_CHAT_CHARS).join(''), from: you?.role ?? 'customer', atMs: Date.now() };
      this.#store.dispatch({ type: 'chat-written', line });
      await this.#deliver(call.id, clientId, line.text);
    },

    /** Tries a line again that could not be delivered. @param {string} clientId */
    retryMessage: async (clientId) => {
      const { call, chat } = this.getState();
      const line = chat.find((other) => other.clientId === clientId && other.status === 'failed');
      if (!call || !line) return;
      this.#store.dispatch({ type: 'chat-retried', clientId });
      await this.#deliver(call.id, clientId, line.text);
    },
  });

  operator = Object.freeze({
    /** Takes the offered call. @param {string} offer @throws {CallkitError} `offer_closed`: too late */
    accept: async (offer) => {
      await this.#connection.request({ type: 'offer.accept', offer });
    },

    /** @param {string} offer */
    decline: async (offer) => {
      await this.#connection.request({ type: 'offer.decline', offer });
    },

    /** @param {PresenceChoice} choice */
    setPresence: async (choice) => {
      await this.#connection.request({ type: 'presence.set', ...choice });
    },
  });

  supervisor = Object.freeze({
    /**
     * Becomes the third in a talk, or goes on in another mode; done when the mode is in force. Opening and closing
     * the devices is the caller's.
     *
     * @param {string} call
     * @param {{ mode: import('./protocol.js').SuperviseMode }} options
     * @throws {CallkitError} `room_full`: there are three in it; `wrong_phase`: nobody talks in it, or one is busy
     */
    join: async (call, { mode }) => {
      await this.#connection.request({ type: 'supervise.join', call, mode });
    },

    /** Leaves; the call goes on. */
    leave: async () => {
      const call = this.#openCall();
      if (call) await this.#connection.request({ type: 'supervise.leave', call });
    },
  });

  /** Tries everything that waits at once: the signaling connection, and a media connection that is lost. */
  tryNow() {
    this.#connection.wake();
    const { phase, lostSince } = this.#media.info;
    if (phase === 'reconnecting' || phase === 'failed' || lostSince !== null) this.#media.reconnect();
  }

  /** Cuts the signaling socket, for tests. @param {{ forMs?: number }} [options] */
  debugDropSocket({ forMs = 0 } = {}) {
    this.#connection.drop(forMs);
  }

  /** Lets a socket that was cut for some time come back at once, for tests. */
  debugRestoreSocket() {
    this.#connection.restore();
  }

  #openCall() {
    const { call } = this.getState();
    return call && call.phase !== 'ended' ? call.id : null;
  }

  /** @param {string} call @param {string} clientId @param {string} text */
  async #deliver(call, clientId, text) {
    try {
      const { message } = await this.#connection.request({ type: 'chat.send', call, client_id: clientId, text });
      if (message) this.#store.dispatch({ type: 'chat', message: { ...message, mine: true, client_id: clientId } });
    } catch (error) {
      if (CallkitError.from(error).code === 'rate_limited') {
        // Many lines were written while the connection was away: the same line again, a little later.
        this.#env.setTimeout(() => this.#deliver(call, clientId, text), CHAT_PAUSE_MS);
        return;
      }
      this.#store.dispatch({ type: 'chat-failed', clientId });
    }
  }

  #wire() {
    const store = this.#store;
    this.#connection.on('state', (connection) => {
      store.dispatch({ type: 'connection', connection });
      // Another page has the call; its media and ours would take the place from each other for ever.
      if (connection.state === 'disconnected' && connection.reason === 'replaced') this.#media.disconnect();
      this.emit(CLIENT_EVENTS.connectionChange, connection);
    });
    this.#connection.on('welcome', ({ snapshot, restarted }) => {
      // The others learn the state of our devices anew: the server may have forgotten it.
      this.#reported = '';
      store.dispatch({ type: 'welcome', snapshot, now: this.#env.now() });
      if (restarted) this.#media.forgetServers();
      // A customer has no use for them, and no right to them, before there is a call.
      if (snapshot.you.role !== 'customer') this.#media.refreshServers();
      // A new server process has none of our media; a call that is only being connected is just as new to it.
      if (restarted) this.#media.reconnect();
      this.#reportMedia();
    });
    this.#connection.on('event', (event) => {
      store.dispatch({ type: 'event', event, now: this.#env.now() });
      if (event.kind === 'offer.closed') {
        this.emit(CLIENT_EVENTS.offerClosed, { offer: event.offer, outcome: event.outcome, cause: event.cause ?? null });
      } else if (event.kind === 'chat' && !event.message.mine) {
        this.emit(CLIENT_EVENTS.message, event.message);
      } else if (event.kind === 'media.demand' && event.call === this.#openCall()) {
        this.#media.setDemand(event);
      }
    });
    this.#media.on('change', (media) => {
      store.dispatch({ type: 'media', media });
      this.#reportMedia();
    });
    this.#media.on('slots', (slots) => this.emit(CLIENT_EVENTS.slotsChange, slots));
    this.#media.on('capture-failure', (error) => this.emit(CLIENT_EVENTS.captureFailure, error));
    this.#media.on('device-lost', (lost) => this.emit(CLIENT_EVENTS.deviceLost, lost));
    this.#media.on('device-back', (back) => this.emit(CLIENT_EVENTS.deviceBack, back));
    store.subscribe((state, before) => {
      if (state.call !== before.call) this.#followCall(state.call, before.call);
      if (state.offer && state.offer !== before.offer && state.offer.id !== before.offer?.id) {
        this.#media.prepare();
        this.emit(CLIENT_EVENTS.offer, state.offer);
      }
      this.emit(CLIENT_EVENTS.change, state);
    });
  }

  /**
   * Media follows the call.
   *
   * @param {import('./call-store.js').CallState | null} call
   * @param {import('./call-store.js').CallState | null} before
   */
  #followCall(call, before) {
    if (!call) return;
    if (call.phase === 'queued') {
      // Back in the queue: the room is closed. The next operator gets a connection of his own, and no screen
      // that was shown to another.
      if (this.#media.info.phase !== 'idle') {
        this.#media.stopScreen();
        this.#media.disconnect();
        this.#stopSampling();
      }
      this.#media.refreshServers();
      this.#media.prepare();
    } else if (call.phase === 'connecting' || call.phase === 'active') {
      this.#media.connect(call.id);
      this.#startSampling();
      const me = call.participants.find((participant) => participant.you);
      if (me?.link === 'reconnecting') this.#media.serverLostUs();
      this.#reportMedia();
    } else if (before?.id !== call.id || before.phase !== 'ended') {
      this.#media.disconnect();
      this.#media.release();
      this.#stopSampling();
      this.emit(CLIENT_EVENTS.callEnd, {
        call: call.id, reason: call.reason ?? 'unknown', talkedMs: call.talked_ms ?? 0,
      });
    }
  }

  /** Tells the others what is switched on, once per change. */
  #reportMedia() {
    const { call, media } = this.getState();
    if (!call || (call.phase !== 'connecting' && call.phase !== 'active')) {
      this.#reported = '';
      return;
    }
    const { microphone, camera, screen, microphoneState, cameraState } = media;
    const state = { microphone, camera, screen, microphone_state: microphoneState, camera_state: cameraState };
    const report = JSON.stringify([call.id, state]);
    if (report === this.#reported) return;
    this.#reported = report;
    this.#connection.request({ type: 'media.state', call: call.id, ...state }).catch(() => {
      if (this.#reported === report) this.#reported = '';
    });
  }

  #startSampling() {
    if (this.#sampleTimer !== null) return;
    const take = async () => {
      const report = ++this.#samples % REPORT_EVERY === 0;
      const measured = await this.#media.measure({ report }).catch(() => null);
      if (this.#sampleTimer === null) return;
      this.#store.dispatch({ type: 'sample', sample: measured?.sample ?? null });
      const call = this.#openCall();
      // A report is about now: one that would have to wait is not worth sending.
      if (call && measured?.report && this.#connection.info.state === 'connected') {
        this.#connection.request({ type: 'media.report', call, report: measured.report }).catch(() => {});
      }
      this.#sampleTimer = this.#env.setTimeout(take, SAMPLE_MS);
    };
    this.#sampleTimer = this.#env.setTimeout(take, SAMPLE_MS);
  }

  /** Timers stand still while the computer sleeps, the time of day does not. */
  #watchSleep() {
    let last = this.#env.wallNow();
    return this.#env.startTicker(() => {
      const now = this.#env.wallNow();
      const late = now - last;
      last = now;
      if (late < SLEPT_MS) return;
      this.#connection.wake();
      this.#media.woke();
    });
  }

  #stopSampling() {
    this.#env.clearTimeout(this.#sampleTimer);
    this.#sampleTimer = null;
    this.#store.dispatch({ type: 'sample', sample: null });
  }
}
