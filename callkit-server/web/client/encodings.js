// What the camera and the screen send: layers on and off and their bitrates, as the server asks (`media.demand`).
// Pure plans, and a queue that carries them out: browsers refuse a setParameters beside another one.

/** Layers of the camera, lowest first: the order that both Chromium and Firefox take. Bits per second. */
export const CAMERA_LAYERS = Object.freeze([
  Object.freeze({ rid: 'l', scale: 4, bitrate: 150_000 }),
  Object.freeze({ rid: 'm', scale: 2, bitrate: 500_000 }),
  Object.freeze({ rid: 'h', scale: 1, bitrate: 2_000_000 }),
]);
/** Most that a shared screen takes, bits per second. */
const SCREEN_BITRATE = 2_500_000;
/** Below this no encoder makes a picture of a layer, bits per second. */
const LEAST_BITRATE = 50_000;

/**
 * @typedef {import('./protocol.js').Demand} Demand
 * @typedef {{ active: boolean, maxBitrate: number }} Encoding
 * @typedef {Readonly<Record<string, Encoding>>} Plan by rid; the empty rid stands for a sender with a single encoding
 */

/** What is sent until the server asks for something: the full layer, as a call of two needs it. @type {Plan} */
export const FIRST_CAMERA = plan(['h'], Number.POSITIVE_INFINITY);
/** @type {Plan} */
export const FIRST_SCREEN = Object.freeze({ '': { active: true, maxBitrate: SCREEN_BITRATE } });

/** @returns {RTCRtpEncodingParameters[]} */
export function cameraEncodings() {
  return CAMERA_LAYERS.map(({ rid, scale }) => ({ rid, scaleResolutionDownBy: scale, .../** @type {Encoding} */ (FIRST_CAMERA[rid]) }));
}

/** @returns {RTCRtpEncodingParameters[]} */
export function screenEncodings() {
  return [{ maxBitrate: SCREEN_BITRATE }];
}

/** @param {Demand['camera']} demand @returns {Plan} */
export function cameraPlan({ layers, max_bitrate: total }) {
  return plan(layers, total);
}

/** @param {Demand['screen']} demand @returns {Plan} */
export function screenPlan({ send, max_bitrate: most }) {
  return Object.freeze({ '': { active: send, maxBitrate: within(most, SCREEN_BITRATE) } });
}

/**
 * Lower layers take what they need, the highest one what is left of the total.
 *
 * @param {readonly string[]} layers
 * @param {number} total
 * @returns {Plan}
 */
function plan(layers, total) {
  let left = total;
  /** @type {Record<string, Encoding>} */
  const planned = {};
  const highest = CAMERA_LAYERS.findLast(({ rid }) => layers.includes(rid));
  for (const layer of CAMERA_LAYERS) {
    const active = layers.includes(layer.rid);
    const maxBitrate = active && layer === highest ? within(left, layer.bitrate) : layer.bitrate;
    if (active) left -= maxBitrate;
    planned[layer.rid] = { active, maxBitrate };
  }
  return Object.freeze(planned);
}

/** @param {number} wanted @param {number} most */
function within(wanted, most) {
  return Math.round(Math.min(most, Math.max(LEAST_BITRATE, wanted)));
}

/** Brings a sender to the latest plan, one step at a time. */
export class EncodingQueue {
  #sender;
  /** @type {Plan} */
  #plan;
  #ready = false;
  #running = false;
  #dirty = false;

  /** @param {Pick<RTCRtpSender, 'getParameters' | 'setParameters'>} sender @param {Plan} first */
  constructor(sender, first) {
    this.#sender = sender;
    this.#plan = first;
  }

  /** The plan in force or on its way. */
  get plan() {
    return this.#plan;
  }

  /** The answer is in place: from here on the browser takes parameters. Returns when the sender has the plan. */
  async start() {
    this.#ready = true;
    await this.#run();
  }

  /** The latest plan wins; before {@link start} it is kept. @param {Plan} next */
  set(next) {
    this.#plan = next;
    this.#run();
  }

  async #run() {
    this.#dirty = true;
    if (!this.#ready || this.#running) return;
    this.#running = true;
    try {
      // Bounded: a sender that never takes what it is given is left as it is.
      for (let tries = 0; this.#dirty && tries < 10; tries++) {
        this.#dirty = false;
        const parameters = this.#sender.getParameters();
        if (!apply(parameters, this.#plan)) continue;
        try {
          await this.#sender.setParameters(parameters);
        } catch (error) {
          const name = /** @type {any} */ (error)?.name;
          // The parameters changed between reading and setting; anything else is a connection that is closed.
          if (name !== 'InvalidModificationError' && name !== 'InvalidStateError') return;
          this.#dirty = tries < 3;
        }
      }
    } finally {
      this.#running = false;
    }
  }
}

/** @param {RTCRtpSendParameters} parameters @param {Plan} plan @returns {boolean} whether anything changed */
function apply(parameters, plan) {
  let changed = false;
  for (const encoding of parameters.encodings ?? []) {
    const wanted = plan[encoding.rid ?? ''] ?? (parameters.encodings.length === 1 ? single(plan) : undefined);
    if (!wanted) continue;
    if (encoding.active !== wanted.active) {
      encoding.active = wanted.active;
      changed = true;
    }
    if (encoding.maxBitrate !== wanted.maxBitrate) {
      encoding.maxBitrate = wanted.maxBitrate;
      changed = true;
    }
  }
  return changed;
}

/** For a browser that took one encoding of the three. @param {Plan} plan */
function single(plan) {
  const active = Object.values(plan).filter((encoding) => encoding.active);
  return active.at(-1) ?? Object.values(plan).at(-1);
}
