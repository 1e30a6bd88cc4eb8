// What runs inside the pages under test: finds elements through open shadow roots, reads back the colours and the
// tone that arrive, and gives Firefox a camera and a microphone with content. Installed before the page's own scripts.
// Everything here is serialised: no imports, no closures over this module.

/**
 * @param {{ colours: Record<string, number[]>, camera?: { quadrants: string[], tone: number }, screen?: string[] }} setup
 *   `camera`, `screen`: replace the browser's own devices
 */
export function install(setup) {
  if (window.ckTest) return;
  /** Every connection that the page made, oldest first. */
  const connections = [];
  if (typeof RTCPeerConnection === 'function') {
    const Native = RTCPeerConnection;
    window.RTCPeerConnection = class RTCPeerConnection extends Native {
      constructor(...args) {
        super(...args);
        connections.push(this);
      }
    };
  }

  /** All elements that match, also inside open shadow roots. */
  const deepAll = (selector, root = document) => {
    const found = [...root.querySelectorAll(selector)];
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) found.push(...deepAll(selector, element.shadowRoot));
    }
    return found;
  };
  const shown = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility !== 'hidden';
  };
  /** The shown element of that hook, else the first one there is. */
  const hook = (name) => {
    const all = deepAll(`[data-ck="${name}"]`);
    return all.find(shown) ?? all[0] ?? null;
  };
  const field = (element) =>
    element.matches('input, textarea, select') ? element : (deepAll('input, textarea', element.shadowRoot ?? element)[0] ?? element);
  const video = (name) => {
    const element = hook(name);
    if (!element) return null;
    return element.matches('video') ? element : (deepAll('video', element.shadowRoot ?? element)[0] ?? null);
  };

  const info = (name) => {
    const element = hook(name);
    if (!element) return null;
    const attributes = {};
    for (const { name: key, value } of element.attributes) attributes[key] = value;
    return {
      shown: shown(element),
      disabled: element.matches(':disabled') || element.getAttribute('aria-disabled') === 'true',
      text: (element.innerText ?? element.textContent ?? '').trim(),
      value: field(element).value ?? null,
      attributes,
    };
  };

  /** Where to click, or why it cannot be clicked. */
  const clickPoint = (name) => {
    const element = hook(name);
    if (!element) return { trouble: 'not there' };
    if (!shown(element)) return { trouble: 'not shown' };
    if (element.matches(':disabled') || element.getAttribute('aria-disabled') === 'true') return { trouble: 'disabled' };
    element.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    let hit = document.elementFromPoint(x, y);
    while (hit?.shadowRoot) {
      const inner = hit.shadowRoot.elementFromPoint(x, y);
      if (!inner || inner === hit) break;
      hit = inner;
    }
    for (let at = hit; at; at = at.parentNode ?? at.host) if (at === element) return { x, y };
    return { trouble: `covered by ${hit ? hit.outerHTML.slice(0, 80) : 'nothing'}` };
  };

  const canvas = document.createElement('canvas');
  const nearest = (rgb) => {
    let best = ['?', 1e9];
    for (const [name, want] of Object.entries(setup.colours)) {
      const distance = Math.hypot(rgb[0] - want[0], rgb[1] - want[1], rgb[2] - want[2]);
      if (distance < best[1]) best = [name, distance];
    }
    return best[1] < 90 ? best[0] : `rgb(${rgb.join(',')})`;
  };
  /** What the quadrants of a video element show, by name of colour. */
  const quadrantsOf = (element) => {
    if (!element || !element.videoWidth || element.readyState < 2) return null;
    canvas.width = element.videoWidth;
    canvas.height = element.videoHeight;
    const context = canvas.getContext('2d', { willReadFrequently: true });
    context.drawImage(element, 0, 0);
    return [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]].map(([fx, fy]) => {
      const { data } = context.getImageData(Math.floor(fx * canvas.width) - 2, Math.floor(fy * canvas.height) - 2, 5, 5);
      const sum = [0, 0, 0];
      for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
      return nearest(sum.map((value) => Math.round((value * 4) / data.length)));
    });
  };
  /** What the page shows in a video, and how many frames it has painted. */
  const picture = (name) => {
    const element = video(name);
    const quadrants = quadrantsOf(element);
    if (!quadrants) return null;
    return { quadrants, width: canvas.width, height: canvas.height, frames: frames(name), shown: shown(element) };
  };
  /** An element of our own on the track behind a video: what arrives, whatever the page shows of it. */
  let probe = null;
  const watch = async (name) => {
    const [track] = video(name)?.srcObject?.getVideoTracks() ?? [];
    if (!track) return false;
    probe = document.createElement('video');
    probe.muted = true;
    probe.srcObject = new MediaStream([track]);
    await probe.play();
    return true;
  };
  const watched = () => quadrantsOf(probe);
  /** Frames shown by the element since it was first asked about. */
  const counted = new WeakMap();
  const frames = (name) => {
    const element = video(name);
    if (!element) return 0;
    if (!counted.has(element)) {
      counted.set(element, 0);
      const count = () => {
        counted.set(element, counted.get(element) + 1);
        element.requestVideoFrameCallback(count);
      };
      element.requestVideoFrameCallback(count);
    }
    return counted.get(element);
  };

  let audio;
  /** The tracks that this page plays to its user. */
  const playedTracks = () =>
    deepAll('video, audio')
      .filter((element) => element.srcObject && !element.muted)
      .flatMap((element) => element.srcObject.getAudioTracks())
      .filter((track) => track.readyState === 'live');
  /** What `read` makes of a window of the sound that the page plays; `null` if it plays none. */
  const analyse = async (read) => {
    audio ??= new AudioContext();
    if (audio.state !== 'running') await audio.resume();
    const tracks = playedTracks();
    if (!tracks.length) return null;
    // A source takes one track of its stream only; who is heard may be any of them.
    const sources = tracks.map((track) => audio.createMediaStreamSource(new MediaStream([track])));
    const analyser = audio.createAnalyser();
    analyser.fftSize = 8192;
    analyser.smoothingTimeConstant = 0;
    for (const source of sources) source.connect(analyser);
    try {
      // The analyser needs one whole window of samples that came after it was connected.
      const start = audio.currentTime;
      while (audio.currentTime - start < (analyser.fftSize / audio.sampleRate) * 1.2) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const bins = new Float32Array(analyser.frequencyBinCount);
      const wave = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(wave);
      analyser.getFloatFrequencyData(bins);
      return read({ bins, wave, width: audio.sampleRate / analyser.fftSize, tracks: tracks.length });
    } finally {
      for (const source of sources) source.disconnect();
    }
  };
  /** The loudest frequency that the page plays over a quarter of a second, and how loud (0..1). */
  const tone = async () => {
    const heard = await analyse(({ bins, wave, width, tracks }) => {
      let power = 0;
      for (const sample of wave) power += sample * sample;
      let peak = 0;
      for (let i = 1; i < bins.length; i++) if (bins[i] > bins[peak]) peak = i;
      return { hertz: Math.round(peak * width), level: Math.sqrt(power / wave.length), tracks };
    });
    return heard ?? { hertz: 0, level: 0, tracks: 0 };
  };
  /** How loud each of these frequencies is in what the page plays, dB of full scale, the loudest of 5 bins. */
  const spectrum = (frequencies) => analyse(({ bins, width }) => frequencies.map((hertz) => {
    const at = Math.round(hertz / width);
    return Math.round(Math.max(...bins.slice(at - 2, at + 3)));
  }));

  const marks = () =>
    Object.fromEntries(performance.getEntriesByType('mark').map((m) => [m.name, performance.timeOrigin + m.startTime]));

  /** Sum of decoded frames over the connections that are alive, as the browser's statistics tell. */
  const inbound = async () => {
    const sum = { framesDecoded: 0, packetsLost: 0, audioPackets: 0 };
    for (const pc of connections) {
      if (pc.connectionState === 'closed') continue;
      for (const s of (await pc.getStats()).values()) {
        if (s.type !== 'inbound-rtp') continue;
        sum.packetsLost += s.packetsLost ?? 0;
        if (s.kind === 'video') sum.framesDecoded += s.framesDecoded ?? 0;
        else sum.audioPackets += s.packetsReceived ?? 0;
      }
    }
    return sum;
  };

  /** Streams of the connections that are alive, for evidence. */
  const streams = async () => {
    const keys = ['type', 'mid', 'rid', 'kind', 'active', 'packetsSent', 'bytesSent', 'framesEncoded', 'keyFramesEncoded',
      'frameWidth', 'packetsReceived', 'packetsLost', 'bytesReceived', 'framesReceived', 'framesDecoded',
      'keyFramesDecoded', 'pliCount', 'nackCount', 'qualityLimitationReason', 'targetBitrate'];
    const found = [];
    for (const [i, pc] of connections.entries()) {
      if (pc.connectionState === 'closed') continue;
      for (const s of (await pc.getStats()).values()) {
        if (s.type !== 'inbound-rtp' && s.type !== 'outbound-rtp') continue;
        found.push({ connection: i, ...Object.fromEntries(keys.filter((key) => s[key] !== undefined).map((key) => [key, s[key]])) });
      }
    }
    return found;
  };

  /** Watches the sound that arrives; the longest time without a packet since the start, milliseconds. */
  let listening = null;
  const listen = () => {
    listening?.stop();
    const state = { packets: -1, last: performance.now(), longest: 0, stopped: false };
    const look = async () => {
      while (!state.stopped) {
        const { audioPackets } = await inbound();
        const now = performance.now();
        if (audioPackets !== state.packets) {
          // A new connection counts anew: it has got something if it counts at all.
          if (audioPackets > 0) {
            if (state.packets >= 0) state.longest = Math.max(state.longest, now - state.last);
            state.last = now;
          }
          state.packets = audioPackets;
        }
        await new Promise((resolve) => setTimeout(resolve, 40));
      }
    };
    look();
    listening = { state, stop: () => (state.stopped = true) };
  };
  /** The longest gap so far, the present one included. */
  const longestSilence = () => {
    const { state } = listening;
    return Math.round(Math.max(state.longest, performance.now() - state.last));
  };

  /** The pair of addresses that carries media: protocol and type of the own candidate. */
  const route = async () => {
    for (const pc of connections) {
      if (pc.connectionState !== 'connected') continue;
      const report = await pc.getStats();
      const all = [...report.values()];
      const transport = all.find((s) => s.type === 'transport' && s.selectedCandidatePairId);
      const pair = transport ? report.get(transport.selectedCandidatePairId) : all.find((s) => s.type === 'candidate-pair' && s.nominated && s.state === 'succeeded');
      const local = pair && report.get(pair.localCandidateId);
      if (local) return { type: local.candidateType, protocol: local.protocol, relay: local.relayProtocol ?? null };
    }
    return null;
  };

  const state = () => ({
    state: document.documentElement.dataset.ckState ?? null,
    signal: document.documentElement.dataset.ckSignal ?? null,
    connections: connections.length,
    links: connections.map((pc) => pc.connectionState),
  });

  const lines = (name) =>
    deepAll('li', hook(name)?.shadowRoot ?? hook(name) ?? document.createElement('ul')).map((li) => ({
      text: (li.innerText ?? li.textContent).trim(),
      mine: li.hasAttribute('data-mine') && li.dataset.mine !== 'false',
      pending: li.hasAttribute('data-pending') && li.dataset.pending !== 'false',
    }));

  window.ckTest = { info, clickPoint, picture, watch, watched, frames, tone, spectrum, marks, inbound, listen, longestSilence, route, streams, state, lines, video, hook, field, connections };

  if (setup.camera && navigator.mediaDevices) {
    const { quadrants, tone: hertz } = setup.camera;
    // Firefox's own fake camera is one slowly changing colour and its fake microphone 1 kHz for everybody.
    const drawn = (colours, width, height) => {
      const screen = document.createElement('canvas');
      [screen.width, screen.height] = [width, height];
      const context = screen.getContext('2d');
      let tick = 0;
      const draw = () => {
        colours.forEach((colour, i) => {
          context.fillStyle = `rgb(${setup.colours[colour].join(',')})`;
          context.fillRect((i % 2) * (width / 2), i > 1 ? height / 2 : 0, width / 2, height / 2);
        });
        // A moving dot in the middle, where nothing is measured: each frame differs from the one before.
        context.fillStyle = 'black';
        context.fillRect(width / 2 - 10 + (tick++ % 10), height / 2 - 4, 8, 8);
      };
      draw();
      const stream = screen.captureStream(30);
      const [track] = stream.getVideoTracks();
      const timer = setInterval(() => (track.readyState === 'live' ? draw() : clearInterval(timer)), 33);
      return track;
    };
    const microphone = () => {
      const context = new AudioContext();
      void context.resume();
      const oscillator = new OscillatorNode(context, { frequency: hertz });
      const gain = new GainNode(context, { gain: 0.2 });
      const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
      oscillator.connect(gain).connect(out);
      oscillator.start();
      return out.stream.getAudioTracks()[0];
    };
    MediaDevices.prototype.getUserMedia = async function getUserMedia(constraints = {}) {
      return new MediaStream([...(constraints.audio ? [microphone()] : []), ...(constraints.video ? [drawn(quadrants, 640, 360)] : [])]);
    };
    // Without a display there is no screen to share.
    MediaDevices.prototype.getDisplayMedia = async function getDisplayMedia() {
      return new MediaStream([drawn(setup.screen, 800, 600)]);
    };
  }
}
