// Devices and connections in memory: enough of the WebRTC objects to test who calls what, when.

/** A track that can be stopped, switched and ended. */
export class FakeTrack {
  enabled = true;
  /** @type {'live' | 'ended'} */
  readyState = 'live';
  /** @type {(() => void) | null} */
  onended = null;
  contentHint = '';

  /** @param {'audio' | 'video'} kind @param {string} label */
  constructor(kind, label = `fake ${kind}`) {
    this.kind = kind;
    this.label = label;
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

  /** @param {number} number */
  constructor(number) {
    this.number = number;
  }

  /** @param {string} kind @param {any} init */
  addTransceiver(kind, init) {
    const transceiver = {
      kind, direction: init.direction, sendEncodings: init.sendEncodings ?? [],
      sender: {
        track: /** @type {any} */ (null),
        /** @param {any} track */
        async replaceTrack(track) {
          this.track = track;
        },
        getParameters: () => ({ encodings: transceiver.sendEncodings.map((/** @type {any} */ encoding) => ({ ...encoding })) }),
        /** @param {any} parameters */
        async setParameters(parameters) {
          transceiver.sendEncodings = parameters.encodings;
        },
      },
      receiver: { track: new FakeTrack(/** @type {'audio' | 'video'} */ (kind)) },
    };
    this.transceivers.push(transceiver);
    return transceiver;
  }

  async createOffer() {
    return { type: 'offer', sdp: `offer ${this.number}` };
  }

  /** @param {any} description */
  async setLocalDescription(description) {
    this.localDescription = description;
  }

  /** @param {any} description */
  async setRemoteDescription(description) {
    this.remoteDescription = description;
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
  /** @type {any} */
  const environment = {
    now: clock.now, setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout,
    createPeerConnection: () => {
      const peer = new FakePeerConnection(peers.length + 1);
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
        return new FakeStream([
          ...(constraints.audio ? [new FakeTrack('audio')] : []), ...(constraints.video ? [new FakeTrack('video')] : []),
        ]);
      },
    },
  };
  return { environment, peers, asked, failures };
}

/** @param {string} name */
export function domError(name) {
  return Object.assign(new Error(name), { name });
}
