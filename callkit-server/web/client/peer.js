// One RTCPeerConnection in the fixed layout of docs/protocol.md: four lines to send, four for each receiving slot.

import { EncodingQueue, FIRST_CAMERA, FIRST_SCREEN, cameraEncodings, cameraPlan, screenEncodings, screenPlan } from './encodings.js';

/** Receiving slots: at most two other people are in a call. */
export const SLOTS = 2;
/** Lines of a slot, in their order. */
const SLOT_SOURCES = /** @type {const} */ (['microphone', 'camera', 'screen', 'screen_audio']);

/**
 * @typedef {{ camera: MediaStream, screen: MediaStream, voice: MediaStream, screenAudio: MediaStream }} Slot
 * @typedef {import('./protocol.js').TrackSource} TrackSource
 * @typedef {'microphone' | 'camera' | 'screen' | 'screenAudio'} Source
 *
 * @typedef {object} PeerEnvironment
 * @property {() => number} now
 * @property {(configuration: RTCConfiguration) => RTCPeerConnection} createPeerConnection
 * @property {(tracks: MediaStreamTrack[]) => MediaStream} createStream
 */

export class Peer {
  /** @type {RTCPeerConnection} */
  pc;
  /** @type {Slot[]} */
  slots = [];
  /** @type {Record<Source, RTCRtpSender>} */
  senders;
  /** SDP of the first offer. @type {Promise<string>} */
  offer;
  madeAt;
  /** Servers it was made with, to see whether there are newer ones. */
  servers;
  /** @type {RTCRtpTransceiver[]} */
  #lines = [];
  #camera;
  #screen;

  /** @param {PeerEnvironment} environment @param {RTCConfiguration} configuration */
  constructor(environment, configuration) {
    this.madeAt = environment.now();
    this.servers = JSON.stringify(configuration.iceServers ?? []);
    const pc = environment.createPeerConnection(configuration);
    this.pc = pc;
    const send = (/** @type {'audio' | 'video'} */ kind, /** @type {RTCRtpEncodingParameters[]} */ sendEncodings = []) => {
      const line = pc.addTransceiver(kind, { direction: 'sendonly', ...(sendEncodings.length > 0 ? { sendEncodings } : {}) });
      this.#lines.push(line);
      return line.sender;
    };
    const receive = (/** @type {'audio' | 'video'} */ kind) => {
      const line = pc.addTransceiver(kind, { direction: 'recvonly' });
      this.#lines.push(line);
      return line.receiver.track;
    };
    this.senders = {
      microphone: send('audio'), camera: send('video', cameraEncodings()), screen: send('video', screenEncodings()), screenAudio: send('audio'),
    };
    this.#camera = new EncodingQueue(this.senders.camera, FIRST_CAMERA);
    this.#screen = new EncodingQueue(this.senders.screen, FIRST_SCREEN);
    for (let index = 0; index < SLOTS; index++) {
      const voice = receive('audio');
      const face = receive('video');
      const shared = receive('video');
      const sound = receive('audio');
      this.slots.push({
        // The voice goes along with the picture so that a player can keep them in step.
        camera: environment.createStream([face, voice]),
        screen: environment.createStream([shared]),
        voice: environment.createStream([voice]),
        screenAudio: environment.createStream([sound]),
      });
    }
    this.offer = this.#describe();
    this.offer.catch(() => {});
  }

  /** @param {RTCOfferOptions} [options] */
  async #describe(options) {
    const description = await this.pc.createOffer(options);
    await this.pc.setLocalDescription(description);
    return this.pc.localDescription?.sdp ?? description.sdp ?? '';
  }

  /** The first answer; from then on the encodings can be changed. @param {string} sdp */
  async answer(sdp) {
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    // Browsers switch on every layer that an answer does not pause, and forget bitrates: the plan says what is sent.
    await Promise.all([this.#camera.start(), this.#screen.start()]);
  }

  /** An offer that looks for a new way to the server. @param {readonly RTCIceServer[]} servers */
  async restart(servers) {
    try {
      if (servers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: [...servers] });
    } catch {
      // A browser that cannot: the servers that it has will do.
    }
    return this.#describe({ iceRestart: true });
  }

  /** Takes back a restart that the server would not do; false if the connection is not what it was. */
  async rollback() {
    try {
      if (this.pc.signalingState === 'have-local-offer') await this.pc.setLocalDescription({ type: 'rollback' });
      return this.pc.signalingState === 'stable';
    } catch {
      return false;
    }
  }

  /** @param {import('./protocol.js').Demand} demand */
  demand(demand) {
    this.#camera.set(cameraPlan(demand.camera));
    this.#screen.set(screenPlan(demand.screen));
  }

  /** Which track a line of the statistics is about: by `mid`. @returns {Map<string, { slot: number | null, source: TrackSource }>} */
  mids() {
    /** @type {Map<string, { slot: number | null, source: TrackSource }>} */
    const found = new Map();
    this.#lines.forEach(({ mid }, index) => {
      const source = SLOT_SOURCES[index % SLOT_SOURCES.length];
      if (mid === null || mid === undefined || !source) return;
      found.set(mid, { slot: index < SLOT_SOURCES.length ? null : Math.floor(index / SLOT_SOURCES.length) - 1, source });
    });
    return found;
  }

  close() {
    this.pc.onconnectionstatechange = null;
    this.pc.close();
  }
}
