// Devices and connections in memory: enough of the WebRTC objects to test who calls what, when.

/** A track that can be stopped, switched and ended. */
export class FakeTrack {
  enabled = true;
  /** @type {'live' | 'ended'} */
  readyState = 'live';
  /** @type {(() => void) | null} */
  onended = null;
  /** @type {(() => void) | null} */
  onmute = null;
  /** @type {(() => void) | null} */
  onunmute = null;
  muted = false;
  contentHint = '';

  /** @param {'audio' | 'video'} kind @param {string} label @param {string} deviceId */
  constructor(kind, label = `fake ${kind}`, deviceId = '') {
    this.kind = kind;
    this.label = label;
    this.deviceId = deviceId;
  }

  getSettings() {
    return this.deviceId === '' ? {} : { deviceId: this.deviceId };
  }

  /** As when the system or a switch on the device silences it. @param {boolean} muted */
  silence(muted) {
    this.muted = muted;
    (muted ? this.onmute : this.onunmute)?.();
  }

  stop() {
    this.readyState = 'ended';
  }

  /** As when the device is unplugged. */
  end() {
    this.readyState = 'ended';
    this.onended?.();
  }
}

export class FakeStream {
  /** @param {FakeTrack[]} tracks */
  constructor(tracks) {
    this.tracks = tracks;
  }

  getTracks() {
    return this.tracks;
  }

  getAudioTracks() {
    return this.tracks.filter((track) => track.kind === 'audio');
  }

  getVideoTracks() {
    return this.tracks.filter((track) => track.kind === 'video');
  }
}

/** A connection whose state the test sets. */
export class FakePeerConnection {
  /** @type {{ kind: string, direction: string, sendEncodings: any[], sender: any, receiver: any }[]} */
  transceivers = [];
  connectionState = 'new';
  /** @type {(() => void) | null} */
  onconnectionstatechange = null;
  /** @type {any} */
  localDescription = null;
  /** @type {any} */
  remoteDescription = null;
  signalingState = 'stable';
  /** Parameters set on senders, in order, and how many were being set at the same time at most. */
  set = { at: 0, most: 0 };
  /** Bytes that came through the connection, for its statistics. */
  bytesReceived = 0;
  #restarts = 0;

  /** @param {number} number @param {any} configuration */
  constructor(number, configuration = {}) {
    this.number = number;
    this.configuration = configuration;
  }

  getConfiguration() {
    return this.configuration;
  }

  /** @param {any} configuration */
  setConfiguration(configuration) {
    this.configuration = configuration;
  }

  /** @param {string} kind @param {any} init */
  addTransceiver(kind, init) {
    const transceiver = {
      kind, direction: init.direction, sendEncodings: init.sendEncodings ?? [], mid: String(this.transceivers.length),
      sender: {
        getStats: async () => new Map([['pair', { id: 'pair', type: 'candidate-pair', bytesReceived: this.bytesReceived }]]),
        track: /** @type {any} */ (null),
        /** @param {any} track */
        async replaceTrack(track) {
          this.track = track;
        },
        getParameters: () => ({ encodings: transceiver.sendEncodings.map((/** @type {any} */ encoding) => ({ ...encoding })) }),
        /** @param {any} parameters */
        setParameters: async (parameters) => {
          this.set.most = Math.max(this.set.most, ++this.set.at);
          await Promise.resolve();
          await Promise.resolve();
          this.set.at--;
          if (this.connectionState === 'closed') throw Object.assign(new Error('closed'), { name: 'InvalidStateError' });
          transceiver.sendEncodings = parameters.encodings;
        },
      },
      receiver: { track: new FakeTrack(/** @type {'audio' | 'video'} */ (kind)) },
    };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  /** @param {any} [options] */
  async createOffer(options) {
    if (this.connectionState === 'closed') throw new Error('closed');
    return { type: 'offer', sdp: options?.iceRestart ? `restart ${this.number}.${++this.#restarts}` : `offer ${this.number}` };
  }

  /** @param {any} description */
  async setLocalDescription(description) {
    this.signalingState = description.type === 'rollback' ? 'stable' : 'have-local-offer';
    if (description.type !== 'rollback') this.localDescription = description;
  }

  /** @param {any} description */
  async setRemoteDescription(description) {
    if (this.connectionState === 'closed') throw new Error('closed');
    this.signalingState = 'stable';
    const first = this.remoteDescription === null;
    this.remoteDescription = description;
    if (!first) return;
    // As browsers do with an answer that pauses no layer.
    for (const { sendEncodings } of this.transceivers) for (const encoding of sendEncodings) encoding.active = true;
  }

  async getStats() {
    return new Map();
  }

  close() {
    this.connectionState = 'closed';
  }

  /** @param {string} state */
  become(state) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

/** A {@link import('../media.js').MediaEnvironment} on fakes. @param {import('./fake-clock.js').FakeClock} clock */
export function fakeMedia(clock) {
  /** @type {FakePeerConnection[]} */
  const peers = [];
  /** @type {any[]} */
  const asked = [];
  /** Failures of getUserMedia by kind; a DOMException-like error to throw. @type {{ audio: Error | null, video: Error | null }} */
  const failures = { audio: null, video: null };
  /** Devices of the computer; while there are none in the list, opening gives tracks without a device. @type {{ kind: string, deviceId: string, label: string }[]} */
  const plugged = [];
  /** Ids of devices that another program holds. @type {Set<string>} */
  const busy = new Set();
  /** @type {FakeTrack[]} */
  const opened = [];
  /** @type {(() => void)[]} */
  const listeners = [];
  /** @type {Map<string, string>} */
  const storage = new Map();
  /** @type {any} */
  const environment = {
    now: clock.now, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout,
    createPeerConnection: (/** @type {any} */ configuration) => {
      const peer = new FakePeerConnection(peers.length + 1, configuration);
      peers.push(peer);
      return peer;
    },
    createStream: (/** @type {FakeTrack[]} */ tracks) => new FakeStream(tracks),
    devices: {
      /** @param {any} constraints */
      async getUserMedia(constraints) {
        asked.push(constraints);
        if (constraints.audio && failures.audio) throw failures.audio;
        if (constraints.video && failures.video) throw failures.video;
        const tracks = /** @type {const} */ (['audio', 'video']).filter((kind) => constraints[kind]).map((kind) => open(kind, constraints[kind]));
        for (const track of tracks) opened.push(track);
        return new FakeStream(tracks);
      },
    },
    book: {
      list: async () => plugged.map((device) => ({ ...device })),
      onChange: (/** @type {() => void} */ callback) => listeners.push(callback),
      storage: {
        getItem: (/** @type {string} */ key) => storage.get(key) ?? null,
        setItem: (/** @type {string} */ key, /** @type {string} */ value) => storage.set(key, value),
      },
    },
  };
  /** @param {'audio' | 'video'} kind @param {any} wanted */
  const open = (kind, wanted) => {
    if (plugged.length === 0) return new FakeTrack(kind);
    const here = plugged.filter((device) => device.kind === `${kind}input`);
    const { exact, ideal } = wanted.deviceId ?? {};
    const device = here.find((one) => one.deviceId === (exact ?? ideal)) ?? (exact ? null : here[0]);
    if (!device) throw domError(exact ? 'OverconstrainedError' : 'NotFoundError');
    if (busy.has(device.deviceId)) throw domError('NotReadableError');
    return new FakeTrack(kind, device.label, device.deviceId);
  };
  return {
    environment, peers, asked, failures, opened, storage, busy,
    /** Plugs devices in: `[kind, id, label]`. @param {...[string, string, string]} devices */
    plug(...devices) {
      for (const [kind, deviceId, label] of devices) plugged.push({ kind, deviceId, label });
      for (const callback of listeners) callback();
    },
    /** Pulls one out. @param {string} deviceId @param {{ endsTracks?: boolean }} [options] */
    unplug(deviceId, { endsTracks = true } = {}) {
      plugged.splice(plugged.findIndex((device) => device.deviceId === deviceId), 1);
      if (endsTracks) for (const track of opened) if (track.deviceId === deviceId && track.readyState === 'live') track.end();
      for (const callback of listeners) callback();
    },
  };
}

/** @param {string} name @param {string} [message] */
export function domError(name, message = name) {
  return Object.assign(new Error(message), { name });
}
